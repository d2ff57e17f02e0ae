"""How many images are scored at once: few calls, and a batch whose memory is known beforehand."""

PIXELS_PER_BATCH = 2**18


def images_scored_at_once(size_px: tuple[int, int]) -> int:
    """Return the images of a whole batch of validation: 256 of 32 px, 64 of 64 px, at least 1."""
    height, width = size_px
    return max(1, PIXELS_PER_BATCH // (height * width))

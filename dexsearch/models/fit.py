"""Do the networks of a configuration fit images of a given size?"""

from dexsearch.config.trial import TrialConfig
from dexsearch.models.discriminator import N_STRIDED, output_map_px
from dexsearch.models.padding import padded_size_px


def fits(config: TrialConfig, size_px: tuple[int, int]) -> None:
    """Return quietly where the networks fit images of `size_px` (height, width).

    Images are padded to multiples of `2 ** depth` (see padding.py).

    Raises:
        ValueError: if the bottleneck would be under 2 x 2 or the discriminator's map empty.
    """
    depth = config.generator.depth
    if min(size_px) <= 2**depth:  # padding then gives the bottleneck a second, mirrored pixel
        raise ValueError(
            f"generator.depth={depth} needs images of at least {2**depth + 1} px a side, "
            f"got {min(size_px)}; lower generator.depth or make larger images"
        )
    if config.loss.adversarial == "none":
        return
    patch_px = config.discriminator.patch_px
    if min(output_map_px(patch_px, *padded_size_px(size_px, depth=depth))) < 1:
        needed = 3 * 2 ** N_STRIDED[patch_px]
        raise ValueError(
            f"discriminator.patch_px={patch_px} needs images of at least {needed} px a side, "
            f"got {min(size_px)}; lower discriminator.patch_px or make larger images"
        )

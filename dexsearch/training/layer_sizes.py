"""The layers of both networks by their sizes alone: weights, outputs, what backward needs.

They mirror `models.generator` and `models.discriminator`; tests count on the built networks.
Needs no torch.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from dexsearch.config.trial import DiscriminatorConfig, GeneratorConfig, TrialConfig

_MOST_WIDENING = 8
_STRIDED = {16: 1, 34: 2, 70: 3, 142: 4, 286: 5}


@dataclass(frozen=True, slots=True)
class Layer:
    """One convolution with what follows it."""

    n_weights: int
    n_outputs: int
    """Values of one image."""

    n_kept: int
    """Values of one image that backward needs."""


def generator_layers(
    config: GeneratorConfig, n_targets: int, size: tuple[int, int]
) -> Iterator[Layer]:
    """Yield the layers of the U-Net, downwards, upwards, then the last one."""
    taps = config.kernel_px**2
    channels = [config.width * min(2**level, _MOST_WIDENING) for level in range(config.depth)]
    sizes = [size[0] * size[1] // 4 ** (level + 1) for level in range(config.depth)]
    n_in = 1
    for level, (n_out, n_pixels) in enumerate(zip(channels, sizes, strict=True)):
        yield _layer(taps, n_in, n_out, n_pixels, norm=level > 0 and config.norm != "none")
        n_in = n_out
    for level in reversed(range(1, config.depth)):
        n_out, n_pixels = channels[level - 1], sizes[level - 1]
        joined = 2 * n_out * n_pixels  # with the skip connection, for the next layer
        layer = _layer(taps, n_in, n_out, n_pixels, norm=config.norm != "none")
        yield Layer(layer.n_weights, layer.n_outputs + joined, layer.n_kept + joined)
        n_in = 2 * n_out
    yield Layer(taps * n_in * n_targets + n_targets, n_targets * size[0] * size[1], 0)


def adversary_layers(config: TrialConfig, size: tuple[int, int]) -> Iterator[Layer]:
    """Yield the layers of the discriminator; none without an adversarial loss."""
    if config.loss.adversarial == "none":
        return
    n_in = 1 + len(config.task.predicted)
    if config.discriminator.patch_px == 1:
        yield from _pixel_layers(config.discriminator, n_in, size[0] * size[1])
    else:
        yield from _patch_layers(config.discriminator, n_in, size)


def _pixel_layers(config: DiscriminatorConfig, n_in: int, n_pixels: int) -> Iterator[Layer]:
    wide = 2 * config.width
    yield _layer(1, n_in, config.width, n_pixels, norm=False)
    yield _layer(1, config.width, wide, n_pixels, norm=config.norm != "none")
    yield Layer(wide + 1, n_pixels, 0)


def _patch_layers(
    config: DiscriminatorConfig, n_in: int, size: tuple[int, int]
) -> Iterator[Layer]:
    height, width = size[0] // 2, size[1] // 2
    n_strided = _STRIDED[config.patch_px]
    yield _layer(16, n_in, config.width, height * width, norm=False)
    channels = config.width
    for level in range(1, n_strided + 1):
        wider = config.width * min(2**level, _MOST_WIDENING)
        strided = level < n_strided
        height = height // 2 if strided else max(0, height - 1)
        width = width // 2 if strided else max(0, width - 1)
        yield _layer(16, channels, wider, height * width, norm=config.norm != "none")
        channels = wider
    yield Layer(16 * channels + 1, max(0, height - 1) * max(0, width - 1), 0)


def _layer(taps: int, n_in: int, n_out: int, n_pixels: int, *, norm: bool) -> Layer:
    """Describe a convolution, its bias or normalisation, and the activation in place."""
    n_weights = taps * n_in * n_out + n_out * (2 if norm else 1)
    n_outputs = n_out * n_pixels
    return Layer(n_weights, n_outputs, n_outputs * (2 if norm else 1))


def level_values(config: GeneratorConfig, size: tuple[int, int]) -> list[int]:
    """Return the values of one image that each level downwards puts out; upwards as many."""
    channels = [config.width * min(2**level, _MOST_WIDENING) for level in range(config.depth)]
    return [n * (size[0] * size[1] // 4 ** (level + 1)) for level, n in enumerate(channels)]


def padded(size_px: tuple[int, int], depth: int) -> tuple[int, int]:
    """Return the size that the U-Net sees: a multiple of `2 ** depth`."""
    step = 2**depth
    height, width = (-(-side // step) * step for side in size_px)
    return height, width

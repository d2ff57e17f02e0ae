"""How much memory a training run needs on its device, from its configuration alone.

    weights, gradients, two Adam moments     16 bytes per parameter, moving average 4 more
    weights in the arithmetic of the step    2 bytes per parameter where that is bfloat16
    kept for backward                        of one generator pass and two discriminator passes
    gradients of activations, workspace      as much as the largest layer a few times, and cuDNN's
    images                                   as the dataset gave them, and prepared for training
    the CUDA context                         before anything is computed

A batch normalisation keeps its input and the activation behind it, so a normalised level counts
twice. Exact to a few percent for what is kept (a test counts it on the built networks); the
workspace is a margin. Needs no torch, so a search may ask it about thousands of configurations.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from dexsearch.config.trial import DiscriminatorConfig, GeneratorConfig, TrialConfig

_MOST_WIDENING = 8
_STRIDED = {16: 1, 34: 2, 70: 3, 142: 4, 286: 5}
_FLOAT_BYTES = 4
_BFLOAT_BYTES = 2
_BYTES_PER_PARAMETER = 4 * _FLOAT_BYTES  # weight, gradient, two moments of Adam
_CONTEXT_BYTES = 600 * 2**20  # CUDA context with the kernels of cuDNN and cuBLAS
_WORKSPACE_BYTES = 96 * 2**20  # cuDNN's and cuBLAS's own
_BLOCK_SHARE = 1.1  # an allocator works in blocks
_SCORED_AT_ONCE = 16  # images of a batch of validation
_MAPS_OF_SSIM = 12  # images of the same size while a score is computed


@dataclass(frozen=True, slots=True)
class Layer:
    """One convolution with what follows it."""

    n_weights: int
    n_outputs: int
    """Values of one image."""

    n_kept: int
    """Values of one image that backward needs."""


def training_memory_bytes(
    config: TrialConfig, size_px: tuple[int, int], *, n_images: int, device_type: str = "cuda"
) -> int:
    """Estimate the most memory that training a configuration takes on its device, in bytes.

    Args:
        config: networks, batch size and head.
        size_px: height and width of the images.
        n_images: training and validation images, which stay on the device.
        device_type: `cuda` computes in bfloat16 and has a context; anything else is taken for
            float32 without one, which is an upper bound where a CPU computes in bfloat16.

    Raises:
        ValueError: if an image has no pixels or there are fewer than none.
    """
    if min(size_px) < 1 or n_images < 0:
        raise ValueError(f"expected a size of 1 px or more, got {size_px!r}; {n_images!r} images")
    on_gpu = device_type == "cuda"
    element_bytes = _BFLOAT_BYTES if on_gpu else _FLOAT_BYTES
    kept = kept_bytes(config, size_px, element_bytes=element_bytes)
    generator, discriminator = parameter_counts(config)
    copies = _BFLOAT_BYTES if on_gpu else 0
    state = (generator + discriminator) * (_BYTES_PER_PARAMETER + copies)
    average = generator * _FLOAT_BYTES
    work = _backward_bytes(config, size_px, element_bytes) + _scoring_bytes(config, size_px)
    images = resident_bytes(config, size_px, n_images=n_images)
    constant = _CONTEXT_BYTES + _WORKSPACE_BYTES if on_gpu else 0
    return int((state + average + kept + work + images) * _BLOCK_SHARE) + constant


def parameter_counts(config: TrialConfig) -> tuple[int, int]:
    """Return the parameters of generator and discriminator; 0 without a discriminator."""
    n_targets = len(config.task.predicted)
    generator = sum(layer.n_weights for layer in _generator(config.generator, n_targets, (1, 1)))
    generator += 2 * n_targets if config.generator.output == "residual" else 0
    discriminator = sum(layer.n_weights for layer in _adversary(config, (1, 1)))
    return generator, discriminator


def kept_bytes(config: TrialConfig, size_px: tuple[int, int], *, element_bytes: int) -> int:
    """Return what autograd keeps between forward and backward, at its peak.

    The generator's pass is kept while the discriminator learns from truth and prediction.
    """
    height, width = _padded(size_px, config.generator.depth)
    n_pixels, n_targets = height * width, len(config.task.predicted)
    kept = n_pixels + sum(
        layer.n_kept for layer in _generator(config.generator, n_targets, (height, width))
    )
    judged = [layer.n_kept for layer in _adversary(config, (height, width))]
    if judged:
        kept += 2 * (n_pixels * (1 + n_targets) + sum(judged))
    exact = n_pixels * _FLOAT_BYTES if config.generator.output == "residual" else 0
    return config.batch_size * (kept * element_bytes + exact)


def resident_bytes(config: TrialConfig, size_px: tuple[int, int], *, n_images: int) -> int:
    """Return the bytes of the images: as the dataset gave them, and prepared for training."""
    height, width = size_px
    padded_height, padded_width = _padded(size_px, config.generator.depth)
    planes = 1 + len(config.task.targets)
    given = height * width * (planes * _FLOAT_BYTES + 1)
    if config.exposure.resample:
        given += height * width * 3 * 2  # two path lengths and the edges, as float16
    return n_images * (given + padded_height * padded_width * planes * _FLOAT_BYTES)


def _backward_bytes(config: TrialConfig, size_px: tuple[int, int], element_bytes: int) -> int:
    """Return the gradients of activations that live at once: those around the largest layer."""
    size = _padded(size_px, config.generator.depth)
    n_targets = len(config.task.predicted)
    layers = [*_generator(config.generator, n_targets, size), *_adversary(config, size)]
    losses = size[0] * size[1] * n_targets * _FLOAT_BYTES * 6
    largest = max(layer.n_outputs for layer in layers) * element_bytes
    return config.batch_size * (4 * largest + losses)


def _scoring_bytes(config: TrialConfig, size_px: tuple[int, int]) -> int:
    """Return what the maps of one batch of validation take."""
    n_values = size_px[0] * size_px[1] * len(config.task.targets) * _SCORED_AT_ONCE
    return n_values * _FLOAT_BYTES * _MAPS_OF_SSIM


def _generator(config: GeneratorConfig, n_targets: int, size: tuple[int, int]) -> Iterator[Layer]:
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


def _adversary(config: TrialConfig, size: tuple[int, int]) -> Iterator[Layer]:
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


def _padded(size_px: tuple[int, int], depth: int) -> tuple[int, int]:
    """Return the size that the U-Net sees: a multiple of `2 ** depth`."""
    step = 2**depth
    height, width = (-(-side // step) * step for side in size_px)
    return height, width

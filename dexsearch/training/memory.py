"""How much memory a training run needs on its device, from its configuration alone.

    weights, gradients, two Adam moments     16 bytes per parameter, moving average 4 more
    weights in the arithmetic of the step    2 bytes per parameter where that is bfloat16
    the larger of
      a step: kept for backward              of one generator pass and two discriminator passes,
              gradients of activations       as much as the largest layer a few times
      validation: forward in float32         of a batch of `scoring_batch`, or its score's maps
    workspace                                cuDNN's and cuBLAS's
    images                                   as the dataset gave them, and prepared for training
    the CUDA context                         before anything is computed

A batch normalisation keeps its input and the activation behind it, so a normalised level counts
twice. Exact to a few percent for what is kept and for the forward pass of validation (tests count
both on the built networks); the workspace is a margin. Needs no torch, so a search may ask it
about thousands of configurations.
"""

from dexsearch.config.trial import GeneratorConfig, TrialConfig
from dexsearch.training.layer_sizes import (
    adversary_layers,
    generator_layers,
    level_values,
    padded,
)
from dexsearch.training.scoring_batch import images_scored_at_once

_FLOAT_BYTES = 4
_BFLOAT_BYTES = 2
_BYTES_PER_PARAMETER = 4 * _FLOAT_BYTES  # weight, gradient, two moments of Adam
_CONTEXT_BYTES = 600 * 2**20  # CUDA context with the kernels of cuDNN and cuBLAS
_WORKSPACE_BYTES = 96 * 2**20  # cuDNN's and cuBLAS's own
_BLOCK_SHARE = 1.1  # an allocator works in blocks
_SCORE_MAPS = 20  # float32 images beside each scored one while the final epoch is scored,
_SCORE_MAPS_PER_TARGET = 17  # and for each target; SSIM alone takes fewer


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
    step = kept_bytes(config, size_px, element_bytes=element_bytes)
    step += _backward_bytes(config, size_px, element_bytes)
    scoring = scoring_bytes(config, size_px, n_images=n_images)
    generator, discriminator = parameter_counts(config)
    copies = _BFLOAT_BYTES if on_gpu else 0
    state = (generator + discriminator) * (_BYTES_PER_PARAMETER + copies)
    average = generator * _FLOAT_BYTES
    images = resident_bytes(config, size_px, n_images=n_images)
    constant = _CONTEXT_BYTES + _WORKSPACE_BYTES if on_gpu else 0
    return int((state + average + max(step, scoring) + images) * _BLOCK_SHARE) + constant


def parameter_counts(config: TrialConfig) -> tuple[int, int]:
    """Return the parameters of generator and discriminator; 0 without a discriminator."""
    n_targets = len(config.task.predicted)
    generator = sum(
        layer.n_weights for layer in generator_layers(config.generator, n_targets, (1, 1))
    )
    generator += 2 * n_targets if config.generator.output == "residual" else 0
    discriminator = sum(layer.n_weights for layer in adversary_layers(config, (1, 1)))
    return generator, discriminator


def kept_bytes(config: TrialConfig, size_px: tuple[int, int], *, element_bytes: int) -> int:
    """Return what autograd keeps between forward and backward, at its peak.

    The generator's pass is kept while the discriminator learns from truth and prediction.
    """
    height, width = padded(size_px, config.generator.depth)
    n_pixels, n_targets = height * width, len(config.task.predicted)
    kept = n_pixels + sum(
        layer.n_kept for layer in generator_layers(config.generator, n_targets, (height, width))
    )
    judged = [layer.n_kept for layer in adversary_layers(config, (height, width))]
    if judged:
        kept += 2 * (n_pixels * (1 + n_targets) + sum(judged))
    exact = n_pixels * _FLOAT_BYTES if config.generator.output == "residual" else 0
    return config.batch_size * (kept * element_bytes + exact)


def resident_bytes(config: TrialConfig, size_px: tuple[int, int], *, n_images: int) -> int:
    """Return the bytes of the images: as the dataset gave them, and prepared for training."""
    height, width = size_px
    padded_height, padded_width = padded(size_px, config.generator.depth)
    planes = 1 + len(config.task.targets)
    given = height * width * (planes * _FLOAT_BYTES + 1)
    if config.exposure.resample:
        given += height * width * 3 * 2  # two path lengths and the edges, as float16
    return n_images * (given + padded_height * padded_width * planes * _FLOAT_BYTES)


def scoring_bytes(config: TrialConfig, size_px: tuple[int, int], *, n_images: int) -> int:
    """Return the most that one batch of validation takes: its forward pass, then its scores.

    Args:
        config: generator and head; batch size and discriminator play no part.
        size_px: height and width of the images.
        n_images: images to score; more than a batch holds cost nothing.
    """
    height, width = size_px
    maps = _SCORE_MAPS + _SCORE_MAPS_PER_TARGET * len(config.task.targets)
    n_scored = min(n_images, images_scored_at_once(size_px))
    forward = _forward_bytes(config.generator, len(config.task.predicted), size_px, n_scored)
    return max(forward, n_scored * maps * height * width * _FLOAT_BYTES)


def _backward_bytes(config: TrialConfig, size_px: tuple[int, int], element_bytes: int) -> int:
    """Return the gradients of activations that live at once: those around the largest layer."""
    size = padded(size_px, config.generator.depth)
    n_targets = len(config.task.predicted)
    layers = [
        *generator_layers(config.generator, n_targets, size),
        *adversary_layers(config, size),
    ]
    losses = size[0] * size[1] * n_targets * _FLOAT_BYTES * 6
    largest = max(layer.n_outputs for layer in layers) * element_bytes
    return config.batch_size * (4 * largest + losses)


def _forward_bytes(
    config: GeneratorConfig, n_targets: int, size_px: tuple[int, int], n_images: int
) -> int:
    """Return the most that the generator's pass takes while nothing is kept for backward.

    Every level waits for its way up, and a convolution rearranges its kernel. The skip
    connections are copied where they are joined.
    """
    height, width = padded(size_px, config.depth)
    levels = level_values(config, (height, width))
    kernels = [layer.n_weights for layer in generator_layers(config, n_targets, (1, 1))]
    copies = 1 if config.norm == "none" else 2  # of the output: before and behind the norm
    moments = [
        n_images * (sum(levels[:level]) + copies * n) + kernels[level]
        for level, n in enumerate(levels)
    ]
    features = levels[-1]
    for level in reversed(range(config.depth - 1)):
        waiting, n = sum(levels[: level + 1]), levels[level]
        kernel = kernels[2 * config.depth - 2 - level]
        moments.append(n_images * (waiting + features + copies * n) + kernel)
        moments.append(n_images * (waiting + features + 3 * n))
        features = 2 * n
    # the output, and its affine part
    moments.append(n_images * (features + 3 * n_targets * height * width))
    return max(moments) * _FLOAT_BYTES

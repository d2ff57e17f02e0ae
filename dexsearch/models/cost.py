"""How much arithmetic a training step of a configuration needs, without doing any of it."""

from typing import Any

import torch
from torch import Tensor, nn

from dexsearch.config.trial import TrialConfig
from dexsearch.models.discriminator import Discriminator
from dexsearch.models.generator import Generator
from dexsearch.models.padding import padded_size_px

_GENERATOR_PASSES = 3  # forward, and backward for inputs and for weights
_DISCRIMINATOR_PASSES = 8  # truth and prediction, three each; then two for the generator's step


def step_multiply_adds(config: TrialConfig, size_px: tuple[int, int]) -> int:
    """Return the multiply-adds of convolutions for one image in one training step.

    Norms, losses and optimiser are left out, so it orders configurations by their cost; it does
    not tell how long they take.

    Args:
        config: must fit images of `size_px`.
        size_px: height and width before padding.
    """
    n_targets = len(config.task.predicted)
    height, width = padded_size_px(size_px, depth=config.generator.depth)
    with torch.device("meta"):
        x, y = torch.empty(1, 1, height, width), torch.empty(1, n_targets, height, width)
        generator = Generator(config.generator, n_targets=n_targets)
        total = _GENERATOR_PASSES * _forward_multiply_adds(generator, x)
        if config.loss.adversarial != "none":
            discriminator = Discriminator(config.discriminator, n_targets=n_targets)
            total += _DISCRIMINATOR_PASSES * _forward_multiply_adds(discriminator, x, y)
    return total


def _forward_multiply_adds(network: nn.Module, *inputs: Tensor) -> int:
    """Use each weight once per pixel of the smaller side, be it input or output."""
    counts: list[int] = []

    def count(layer: Any, given: tuple[Tensor, ...], made: Tensor) -> None:  # noqa: ANN401
        pixels = min(given[0].shape[-2:].numel(), made.shape[-2:].numel())
        counts.append(layer.weight.numel() * pixels)

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_hook(count)
    with torch.no_grad():
        network(*inputs)
    return sum(counts)

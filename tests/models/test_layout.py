"""The layout survives both networks: no copies between layouts on the way."""

import pytest
import torch
from torch import nn

from dexsearch.config.trial import DiscriminatorConfig, GeneratorConfig
from dexsearch.models.discriminator import build_discriminator
from dexsearch.models.generator import build_generator
from dexsearch.models.layout import channels_last


@pytest.mark.parametrize("channels", [1, 2])
def test_values_stay_and_strides_are_channels_last(channels: int) -> None:
    images = torch.randn(3, channels, 8, 6)
    moved = channels_last(images)
    assert torch.equal(moved, images)
    assert moved.stride() == (8 * 6 * channels, 1, 6 * channels, channels)


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_every_inner_layer_stays_channels_last(norm: str) -> None:
    generator = build_generator(GeneratorConfig(depth=3, width=8, norm=norm), n_targets=2)  # type: ignore[arg-type]
    discriminator = build_discriminator(DiscriminatorConfig(width=4, norm=norm), n_targets=2)  # type: ignore[arg-type]
    left: list[str] = []

    def watch(module: nn.Module, _: object, output: torch.Tensor) -> None:
        if output.shape[1] > 2 and not output.is_contiguous(memory_format=torch.channels_last):
            left.append(type(module).__name__)

    for network in (generator, discriminator):
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for module in network.modules():
            module.register_forward_hook(watch)
    x, y = channels_last(torch.randn(2, 1, 32, 32)), channels_last(torch.randn(2, 2, 32, 32))
    generator(x)
    discriminator(x, y)
    assert left == []

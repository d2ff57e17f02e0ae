"""The U-Net generator: one normalised image in, one image per target out.

Axes     B images, C targets, H rows, W columns; H and W are multiples of `2 ** depth`.
Levels   level i has `width * min(2 ** i, 8)` channels on images of 1 / 2 ** (i + 1) of the size.
Source   U-Net with skip connections as in pix2pix, arXiv:1611.07004.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dexsearch.config.trial import GeneratorConfig
from dexsearch.models.layers import Downsampling, Upsampling, norm_layer

_MOST_WIDENING = 8
_NEGATIVE_SLOPE = 0.2


class Generator(nn.Module):
    """U-Net whose output is in units of each target's data range.

    With `output="residual"` the U-Net predicts a correction to a learned affine copy of the
    input, `slope * x + offset` per target. Its last convolution starts at zero, so that an
    untrained generator is exactly the affine copy (see `init_affine`).
    """

    def __init__(self, config: GeneratorConfig, *, n_targets: int) -> None:
        super().__init__()
        channels = [config.width * min(2**i, _MOST_WIDENING) for i in range(config.depth)]
        self.depth = config.depth
        self.n_targets = n_targets
        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        for level, n_out in enumerate(channels):
            n_in = channels[level - 1] if level else 1
            self.down.append(_down_block(config, n_in, n_out, first=level == 0))
        for level in reversed(range(1, config.depth)):
            n_in = channels[level] * (1 if level == config.depth - 1 else 2)
            self.up.append(_up_block(config, n_in, channels[level - 1]))
        n_last = channels[0] * (1 if config.depth == 1 else 2)
        self.last = Upsampling(n_last, n_targets, config.kernel_px, bias=True)
        self.slope: nn.Parameter | None = None
        self.offset: nn.Parameter | None = None
        if config.output == "residual":
            self.slope = nn.Parameter(torch.zeros(n_targets, 1, 1))
            self.offset = nn.Parameter(torch.zeros(n_targets, 1, 1))

    def forward(self, x: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B C H W"]:
        """Predict the targets of a normalised input image."""
        skips: list[Tensor] = []
        features = x
        for block in self.down:
            features = block(features)
            skips.append(features)
        skips.pop()
        for block in self.up:
            features = torch.cat((block(features), skips.pop()), dim=1)
        output: Tensor = self.last(features)
        if self.slope is None or self.offset is None:
            return output
        return output + self.slope * x + self.offset

    @torch.no_grad()
    def init_affine(self, slopes: Sequence[float], offsets: Sequence[float]) -> None:
        """Set the affine copy of each target, in units of the data ranges; no-op when plain."""
        if self.slope is None or self.offset is None:
            return
        self.slope.copy_(self.slope.new_tensor(slopes).view(-1, 1, 1))
        self.offset.copy_(self.offset.new_tensor(offsets).view(-1, 1, 1))


def build_generator(
    config: GeneratorConfig, *, n_targets: int, rng: torch.Generator | None = None
) -> Generator:
    """Build a generator with weights drawn from `rng` (a fixed seed where it is None).

    Kaiming-normal weights; without normalisation layers they keep the signal alive where the
    N(0, 0.02) of pix2pix would let it fade.
    """
    generator = Generator(config, n_targets=n_targets)
    init_weights(generator, rng or torch.Generator().manual_seed(0))
    with torch.no_grad():  # begin near zero: targets are a fraction of their data range
        generator.last.weight.mul_(0.0 if config.output == "residual" else 0.1)
    return generator


def init_weights(network: nn.Module, rng: torch.Generator) -> None:
    """Draw every convolution's weights from `rng`; biases start at zero."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            taps = module.kernel_size[0] * module.kernel_size[1]
            if isinstance(module, nn.ConvTranspose2d):
                taps = max(1, taps // (module.stride[0] * module.stride[1]))
            gain = nn.init.calculate_gain("leaky_relu", _NEGATIVE_SLOPE)
            deviation = gain / (module.in_channels * taps) ** 0.5
            nn.init.normal_(module.weight, std=deviation, generator=rng)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _down_block(config: GeneratorConfig, n_in: int, n_out: int, *, first: bool) -> nn.Sequential:
    """Halve the size; the first level has no normalisation, as in pix2pix."""
    norm = None if first else norm_layer(config.norm, n_out)
    layers: list[nn.Module] = [Downsampling(n_in, n_out, config.kernel_px, bias=norm is None)]
    if norm is not None:
        layers.append(norm)
    return nn.Sequential(*layers, nn.LeakyReLU(_NEGATIVE_SLOPE, inplace=True))


def _up_block(config: GeneratorConfig, n_in: int, n_out: int) -> nn.Sequential:
    """Double the size."""
    norm = norm_layer(config.norm, n_out)
    layers: list[nn.Module] = [Upsampling(n_in, n_out, config.kernel_px, bias=norm is None)]
    if norm is not None:
        layers.append(norm)
    return nn.Sequential(*layers, nn.ReLU(inplace=True))

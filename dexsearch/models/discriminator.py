"""The PatchGAN discriminator: is this patch of (input, target) real?

Axes     B images, C targets, H rows, W columns; h, w the map of verdicts.
Layers   n strided 4x4 convolutions, then two unstrided ones: a receptive field of 16, 34, 70, 142
         or 286 px for n = 1 .. 5. A field of 1 px (PixelGAN) has three 1x1 convolutions.
Source   arXiv:1611.07004, appendix 6.1.2.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dexsearch.config.trial import DiscriminatorConfig
from dexsearch.models.generator import init_weights
from dexsearch.models.layers import Verdict, norm_layer
from dexsearch.models.spectral import normalize_spectra

N_STRIDED: dict[int, int] = {16: 1, 34: 2, 70: 3, 142: 4, 286: 5}
"""Receptive field in pixels -> number of strided layers."""

_KERNEL_PX = 4
_MOST_WIDENING = 8


class Discriminator(nn.Module):
    """PatchGAN on the input image and the real or predicted targets; returns logits."""

    def __init__(self, config: DiscriminatorConfig, *, n_targets: int) -> None:
        super().__init__()
        self.patch_px = config.patch_px
        n_in = 1 + n_targets
        if config.patch_px == 1:
            self.layers = _pixel_layers(config, n_in)
        else:
            self.layers = _patch_layers(config, n_in, N_STRIDED[config.patch_px])

    def forward(
        self, x: Float[Tensor, "B 1 H W"], y: Float[Tensor, "B C H W"]
    ) -> Float[Tensor, "B 1 h w"]:
        """Return one logit per patch; `x` normalised, `y` in units of the data ranges."""
        verdict: Tensor = self.layers(torch.cat((x, y), dim=1))
        return verdict

    @property
    def mixes_images(self) -> bool:
        """Whether an image's verdict depends on the other images of its batch."""
        return any(isinstance(layer, nn.BatchNorm2d) for layer in self.layers)


def build_discriminator(
    config: DiscriminatorConfig, *, n_targets: int, rng: torch.Generator | None = None
) -> Discriminator:
    """Build a discriminator with weights drawn from `rng` (a fixed seed where it is None)."""
    rng = rng or torch.Generator().manual_seed(1)
    discriminator = Discriminator(config, n_targets=n_targets)
    init_weights(discriminator, rng)
    if config.spectral_norm:
        normalize_spectra(discriminator, rng)
    return discriminator


def receptive_field_px(config: DiscriminatorConfig) -> int:
    """Compute the receptive field from the layers, last to first."""
    discriminator = Discriminator(config, n_targets=1)
    field = 1
    for layer in reversed(discriminator.layers):
        if isinstance(layer, nn.Conv2d):
            field = (field - 1) * layer.stride[0] + layer.kernel_size[0]
    return field


def output_map_px(patch_px: int, height_px: int, width_px: int) -> tuple[int, int]:
    """Return the size of the map of verdicts; 0 where the image is too small."""
    if patch_px == 1:
        return height_px, width_px
    shrink = 2 ** N_STRIDED[patch_px]
    return max(0, height_px // shrink - 2), max(0, width_px // shrink - 2)


def _pixel_layers(config: DiscriminatorConfig, n_in: int) -> nn.Sequential:
    """Three 1x1 convolutions."""
    wide = 2 * config.width
    norm = norm_layer(config.norm, wide)
    return nn.Sequential(
        nn.Conv2d(n_in, config.width, 1),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(config.width, wide, 1, bias=norm is None),
        *([] if norm is None else [norm]),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(wide, 1, 1),
    )


def _patch_layers(config: DiscriminatorConfig, n_in: int, n_strided: int) -> nn.Sequential:
    """`n_strided` halvings and two unstrided convolutions; no norm on the first and last."""
    layers: list[nn.Module] = [
        nn.Conv2d(n_in, config.width, _KERNEL_PX, stride=2, padding=1),
        nn.LeakyReLU(0.2, inplace=True),
    ]
    channels = config.width
    for level in range(1, n_strided + 1):
        wider = config.width * min(2**level, _MOST_WIDENING)
        stride = 2 if level < n_strided else 1
        norm = norm_layer(config.norm, wider)
        layers.append(
            nn.Conv2d(channels, wider, _KERNEL_PX, stride=stride, padding=1, bias=norm is None)
        )
        layers += [] if norm is None else [norm]
        layers.append(nn.LeakyReLU(0.2, inplace=True))
        channels = wider
    return nn.Sequential(*layers, Verdict(channels))

"""Layers that both networks share: exact halving and doubling, and the choice of norm."""

from typing import Literal

from torch import nn


class Downsampling(nn.Conv2d):
    """Strided convolution that halves an even height and width, for any kernel."""

    def __init__(self, n_in: int, n_out: int, kernel_px: int, *, bias: bool) -> None:
        super().__init__(n_in, n_out, kernel_px, stride=2, padding=(kernel_px - 1) // 2, bias=bias)


class Upsampling(nn.ConvTranspose2d):
    """Strided transposed convolution that doubles height and width, for any kernel."""

    def __init__(self, n_in: int, n_out: int, kernel_px: int, *, bias: bool) -> None:
        padding = (kernel_px - 1) // 2
        super().__init__(
            n_in,
            n_out,
            kernel_px,
            stride=2,
            padding=padding,
            output_padding=2 + 2 * padding - kernel_px,
            bias=bias,
        )


def norm_layer(kind: Literal["batch", "instance", "none"], channels: int) -> nn.Module | None:
    """Return a normalisation with learned scale and shift, or None for `none`."""
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    if kind == "instance":
        return nn.InstanceNorm2d(channels, affine=True)
    return None

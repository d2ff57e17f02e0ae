"""Layers that both networks share: exact halving and doubling, verdicts, the choice of norm.

On a CPU some of them take the ways of cpu_paths.py. When exported or compiled they are torch's
own layers.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from dexsearch.models.cpu_paths import (
    InstanceNormalized,
    convolved_by_taps,
    doubled_by_phases,
)

_FEW_CHANNELS = 2


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

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Double the image."""
        few = self.out_channels <= _FEW_CHANNELS and self.kernel_size == (4, 4)
        if few and _on_cpu(x):
            return doubled_by_phases(x, self.weight, self.bias)
        return super().forward(x, output_size)


class Verdict(nn.Conv2d):
    """Last layer of a PatchGAN: 4x4, unstrided, one channel."""

    def __init__(self, n_in: int) -> None:
        super().__init__(n_in, 1, 4, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return one logit per patch."""
        if _on_cpu(x):
            return convolved_by_taps(x, self.weight, self.bias)
        return super().forward(x)


class InstanceNorm(nn.InstanceNorm2d):
    """Instance norm with learned scale and shift."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each image and channel."""
        if self.training and _on_cpu(x) and x.dtype is torch.float32:
            normalized: Tensor = InstanceNormalized.apply(x, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
            return normalized
        return super().forward(x)


def _on_cpu(x: Tensor) -> bool:
    """Whether a CPU path applies: not where the network is being exported or compiled."""
    exported = torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export()
    return x.device.type == "cpu" and not exported


def norm_layer(kind: Literal["batch", "instance", "none"], channels: int) -> nn.Module | None:
    """Return a normalisation with learned scale and shift, or None for `none`."""
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    if kind == "instance":
        return InstanceNorm(channels)
    return None

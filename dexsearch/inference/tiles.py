"""A U-Net on an image of any size in bounded memory: tiles that agree with the whole image.

One output pixel of a U-Net depends on a limited neighbourhood of the input. A tile that is cut
at multiples of 2 ** depth and carries that much of its surroundings gives the numbers of the
whole image, to float rounding, so tiles lie side by side without a seam and nothing is blended.
Batch norm at work is a constant per channel and changes nothing about that.

Instance norm does: it scales a channel by its mean and deviation over the whole image, which no
tile knows. They are measured first, over the same tiles, one pass per norm layer as far as that
layer; then the tiles agree here, too. A U-Net of depth 4 then costs about 5 times as much, so an
image that fits into the bound is never tiled.

Axes     H rows, W columns; both are multiples of `2 ** depth`.
Symbols  window: what the network is given. core: the part of the output that is kept.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dexsearch.models.generator import Generator
from dexsearch.models.layers import InstanceNorm
from dexsearch.models.layout import channels_last

MEMORY_BYTES = 2**30
"""What the features of one window may take, roughly; a receptive field that is wider than such a
window takes more."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Span:
    """Rows, or columns, of one tile."""

    window: slice
    core: slice

    @property
    def inner(self) -> slice:
        """The core within the window."""
        first = self.window.start
        return slice(self.core.start - first, self.core.stop - first)


@dataclass(frozen=True, slots=True)
class FixedNorm:
    """An instance norm whose mean and deviation are known: a scale and a shift per channel."""

    scale: Float[Tensor, "C 1 1"]
    shift: Float[Tensor, "C 1 1"]

    def __call__(self, x: Float[Tensor, "1 C H W"]) -> Float[Tensor, "1 C H W"]:
        """Normalise."""
        return torch.addcmul(self.shift, x, self.scale)


FixedNorms = dict[nn.Module, FixedNorm]


def reach_px(depth: int, kernel_px: int) -> tuple[int, int]:
    """Return how far a U-Net looks beyond a tile: above or left, and below or right of it.

    Exact for tiles that begin and end at multiples of `2 ** depth`; other pixels have no effect.
    """
    padding = (kernel_px - 1) // 2
    first, last = 0, 2**depth - 1
    skipped: list[tuple[int, int]] = []
    for _ in range(depth):  # through the transposed convolutions: out = 2 in - padding + tap
        first, last = -((kernel_px - 1 - padding - first) // 2), (last + padding) // 2
        skipped.append((first, last))
    for level in reversed(range(depth)):  # through the convolutions: in = 2 out - padding + tap
        first, last = 2 * first - padding, 2 * last - padding + kernel_px - 1
        if level > 0:
            first, last = min(first, skipped[level - 1][0]), max(last, skipped[level - 1][1])
    return max(0, -first), max(0, last - 2**depth + 1)


def run_in_tiles(
    network: Generator,
    x: Float[Tensor, "1 1 H W"],
    *,
    memory_bytes: int = MEMORY_BYTES,
    progress: Progress = lambda done, total: None,
) -> Float[Tensor, "1 C H W"]:
    """Return `network(x)`, computed in tiles where its features would not fit into the memory.

    Args:
        network: in evaluation mode.
        x: one normalised and padded image.
        memory_bytes: for the features of a window; input and output come on top.
        progress: is called with the tiles that are done and their number, all passes counted.
    """
    tiles = _tiles(network, (int(x.shape[-2]), int(x.shape[-1])), memory_bytes)
    norms = [layer for layer in network.modules() if isinstance(layer, InstanceNorm)]
    passes = norms if len(tiles) > 1 else []
    total = len(tiles) * (1 + len(passes))
    fixed: FixedNorms = {}
    for number, norm in enumerate(passes):
        told = _counted_from(number * len(tiles), total, progress)
        fixed[norm] = _measured(network, x, tiles, norm, fixed, told)
    told = _counted_from(len(passes) * len(tiles), total, progress)
    output = x.new_empty((1, network.n_targets, *x.shape[-2:]))
    for number, (rows, columns) in enumerate(tiles, start=1):
        window = channels_last(x[..., rows.window, columns.window])
        tile = _last(_walk(network, window, fixed)) if fixed else network(window)
        output[..., rows.core, columns.core] = tile[..., rows.inner, columns.inner]
        told(number)
    return output


def _counted_from(done: int, total: int, progress: Progress) -> Callable[[int], None]:
    return lambda more: progress(done + more, total)


def _tiles(
    network: Generator, size: tuple[int, int], memory_bytes: int
) -> list[tuple[Span, Span]]:
    """Cut an image into tiles whose windows fit into the memory, if windows can be so small."""
    kernel_px, features = int(network.last.kernel_size[0]), network.last.in_channels
    n_pixels = memory_bytes / (4 * (0.65 * features + 2 * network.n_targets + 4))  # measured
    if size[0] * size[1] <= n_pixels:
        size_px: int = max(size)
    else:
        reach = reach_px(network.depth, kernel_px)
        size_px = max(math.isqrt(int(n_pixels)) - sum(reach), sum(reach))
    rows, columns = (_spans(n, size_px, network.depth, kernel_px) for n in size)
    return [(row, column) for row in rows for column in columns]


def _spans(n_px: int, core_px: int, depth: int, kernel_px: int) -> list[Span]:
    """Cut a side into cores of equal length, up to about `core_px`, with their surroundings."""
    step = 2**depth
    before, after = (-(-reach // step) * step for reach in reach_px(depth, kernel_px))
    n_cores = -(-n_px // max(step, core_px))
    length = -(-n_px // (n_cores * step)) * step
    return [
        Span(
            window=slice(max(0, first - before), min(n_px, first + length + after)),
            core=slice(first, min(n_px, first + length)),
        )
        for first in range(0, n_px, length)
    ]


def _measured(
    network: Generator,
    x: Float[Tensor, "1 1 H W"],
    tiles: list[tuple[Span, Span]],
    norm: InstanceNorm,
    fixed: FixedNorms,
    told: Callable[[int], None],
) -> FixedNorm:
    """Measure what one instance norm sees over the whole image, given those before it."""
    shape = (norm.num_features, 1, 1)
    total = torch.zeros(shape, dtype=torch.float64, device=x.device)
    squares, n_pixels = torch.zeros_like(total), 0
    for number, (rows, columns) in enumerate(tiles, start=1):
        window = channels_last(x[..., rows.window, columns.window])
        features = next(seen for layer, seen in _walk(network, window, fixed) if layer is norm)
        scale = window.shape[-1] // features.shape[-1]
        row, column = (
            slice(span.inner.start // scale, span.inner.stop // scale) for span in (rows, columns)
        )
        values = features[0, :, row, column]
        total += values.sum(dim=(1, 2), keepdim=True, dtype=torch.float64)
        lengths = torch.linalg.vector_norm(values, dim=(1, 2), keepdim=True, dtype=torch.float64)
        squares += lengths.square()
        n_pixels += values.shape[1] * values.shape[2]
        told(number)
    mean = total / n_pixels
    variance = (squares / n_pixels - mean.square()).clamp_min(0.0)
    slope = norm.weight.view(shape).double() * torch.rsqrt(variance + norm.eps)
    return FixedNorm(slope.float(), (norm.bias.view(shape).double() - mean * slope).float())


def _walk(
    network: Generator, x: Float[Tensor, "1 1 H W"], fixed: FixedNorms
) -> Iterator[tuple[nn.Module | None, Tensor]]:
    """Yield each instance norm with what enters it, and at last None with the output.

    Who stops early saves the layers behind. A norm that is passed has to be among the `fixed`.
    """
    skips: list[Tensor] = []
    features = x
    for number, block in enumerate((*network.down, *network.up)):
        if number > network.depth:
            features = torch.cat((features, skips.pop()), dim=1)
        for layer in block:
            if isinstance(layer, InstanceNorm):
                yield layer, features
                features = fixed[layer](features)
            else:
                features = layer(features)
        if number < network.depth - 1:
            skips.append(features)
    if skips:
        features = torch.cat((features, skips.pop()), dim=1)
    output: Tensor = network.last(features)
    if network.slope is not None and network.offset is not None:
        output = output + network.slope * x + network.offset
    yield None, output


def _last(walk: Iterator[tuple[nn.Module | None, Tensor]]) -> Tensor:
    *_, (_, output) = walk
    return output

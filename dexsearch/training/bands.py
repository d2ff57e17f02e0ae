"""Filter images along both axes with banded matrices: Gaussian windows as matrix products.

A one-channel convolution with tens of taps is slow everywhere. A product with the whole matrix
of an axis wastes what lies off its band, so on a processor the band is cut into blocks of outputs
with the inputs that they need; a GPU takes the whole matrix at once.
Axes       H rows, W columns, P planes: any number of images side by side.
Precision  That of the images, float32 or float64; never bfloat16 and never TF32 of cuDNN.
"""

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

Edges = Literal["mirror", "zero"]
"""What lies beyond an image: its mirror, the edge pixel repeated, or nothing."""

_SMALLEST_BLOCK_PX = 16
_WINDOWS_KEPT = 64


class Block(NamedTuple):
    """Some outputs of one axis, and the inputs that they are made of."""

    first: int
    last: int
    matrix: Tensor


def gaussian_filter(
    planes: Float[Tensor, "H P W"], *, sigma_px: float, radius_px: int, edges: Edges
) -> Float[Tensor, "H P W"]:
    """Filter every plane with a Gaussian of sum 1, cut at `radius_px`; differentiable.

    Rows come first, so that both products read memory as it lies.

    Raises:
        ValueError: if the images are to be mirrored and are smaller than the radius.
    """
    height, n_planes, width = planes.shape
    rows, columns = (
        _blocks(size, sigma_px, radius_px, edges, planes.device, planes.dtype)
        for size in (height, width)
    )
    with torch.autocast(planes.device.type, enabled=False):
        flat = planes.reshape(height, -1)
        down = _joined([block.matrix @ flat[block.first : block.last] for block in rows], dim=0)
        lines = down.view(-1, width)
        across = [lines[:, block.first : block.last] @ block.matrix.T for block in columns]
        return _joined(across, dim=1).view(height, n_planes, width)


def _joined(parts: list[Tensor], *, dim: int) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=dim)


@functools.lru_cache(maxsize=_WINDOWS_KEPT)
def _blocks(
    size_px: int,
    sigma_px: float,
    radius_px: int,
    edges: Edges,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[Block, ...]:
    """Cut the matrix of one axis into blocks; kept, because a run asks for the same few."""
    if edges == "mirror" and size_px < radius_px:
        raise ValueError(
            f"got images of {size_px} px for a window of radius {radius_px} px; mirrored images "
            "are at least as large as the radius"
        )
    with torch.inference_mode(mode=False):  # a kept inference tensor could not enter a loss
        matrix = _matrix(size_px, sigma_px, radius_px, edges).to(device, dtype)
        step = size_px if device.type == "cuda" else max(_SMALLEST_BLOCK_PX, radius_px)
        blocks = []
        for start in range(0, size_px, step):
            stop = min(start + step, size_px)
            first, last = max(0, start - radius_px), min(size_px, stop + radius_px)
            blocks.append(Block(first, last, matrix[start:stop, first:last].contiguous()))
    return tuple(blocks)


def _matrix(size_px: int, sigma_px: float, radius_px: int, edges: Edges) -> Tensor:
    """Return the matrix that filters one axis, float64."""
    offsets = torch.arange(-radius_px, radius_px + 1)
    weights = torch.exp(-0.5 * (offsets.double() / sigma_px) ** 2)
    weights = (weights / weights.sum()).expand(size_px, -1)
    source = torch.arange(size_px).view(-1, 1) + offsets
    source, kept = _BEYOND[edges](source, size_px)
    matrix = torch.zeros(size_px, size_px, dtype=torch.float64)
    return matrix.scatter_add_(1, source, torch.where(kept, weights, 0.0))


def _mirrored(source: Tensor, size_px: int) -> tuple[Tensor, Tensor]:
    source = torch.where(source < 0, -1 - source, source)
    source = torch.where(source >= size_px, 2 * size_px - 1 - source, source)
    return source, torch.ones_like(source, dtype=torch.bool)


def _cut(source: Tensor, size_px: int) -> tuple[Tensor, Tensor]:
    return source.clamp(0, size_px - 1), (source >= 0) & (source < size_px)


_BEYOND: dict[Edges, Callable[[Tensor, int], tuple[Tensor, Tensor]]] = {
    "mirror": _mirrored,
    "zero": _cut,
}

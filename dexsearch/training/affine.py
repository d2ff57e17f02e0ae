"""The least-squares line from input to target: a baseline, and where a generator starts."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dexsearch.models.generator import Generator

_BATCH = 16


@dataclass(frozen=True, slots=True)
class AffineFit:
    """A line from input to one target, and the mean that it was fitted around."""

    slope: float
    offset: float
    mean_target: float


def fit_affine(pairs: Iterable[tuple[Float[Tensor, " n"], Float[Tensor, " n"]]]) -> AffineFit:
    """Fit a line through all pixels of a stream of (input, target) pixels.

    Sums are kept in float64, one batch of `pairs` at a time. Inputs that are all equal give the
    slope 0.

    Raises:
        ValueError: if there is no pixel at all.
    """
    sums = [0.0] * 5
    for inputs, targets in pairs:
        x, y = inputs.double(), targets.double()
        batch = torch.stack((x.sum(), y.sum(), x @ x, x @ y)).tolist()
        sums = [a + b for a, b in zip(sums, [len(x), *batch], strict=True)]
    count, sum_x, sum_y, sum_xx, sum_xy = sums
    if count == 0:
        raise ValueError("got no pixel to fit a line through; are all body masks empty?")
    mean_x, mean_y = sum_x / count, sum_y / count
    variance = sum_xx / count - mean_x**2
    slope = (sum_xy / count - mean_x * mean_y) / variance if variance > 0 else 0.0
    return AffineFit(slope=slope, offset=mean_y - slope * mean_x, mean_target=mean_y)


def start_from_affine(
    generator: Generator,
    x: Float[Tensor, "N 1 H W"],
    y: Float[Tensor, "N C H W"],
    mask: Bool[Tensor, "N 1 H W"],
) -> None:
    """Set the generator's affine copy by least squares over the pixels of `mask`.

    Args:
        generator: left as it is when it has no affine copy.
        x: normalised inputs.
        y: targets in units of their data ranges.
        mask: body masks; where all are empty, every pixel is used.
    """
    if generator.slope is None:
        return
    everywhere = not bool(mask.any())

    def pixels(channel: int) -> Iterator[tuple[Tensor, Tensor]]:
        batches = [torch.split(part, _BATCH) for part in (x, y.narrow(1, channel, 1), mask)]
        for images, targets, bodies in zip(*batches, strict=True):
            inside = torch.ones_like(bodies) if everywhere else bodies
            yield images[inside], targets[inside]

    fits = [fit_affine(pixels(channel)) for channel in range(y.shape[1])]
    generator.init_affine([fit.slope for fit in fits], [fit.offset for fit in fits])

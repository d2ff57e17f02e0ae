"""Where a generator does worse than another: both predictions and their errors side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dexsearch.figures.canvas import (
    add_scale,
    display_window,
    show_errors,
    show_image,
)
from dexsearch.figures.gallery import write_gallery

_CELL_INCH = 1.9
_COLUMNS = ("input", "truth", "A", "B", "A - truth", "B - truth")


@dataclass(frozen=True, slots=True)
class Regression:
    """One target of one image as two generators see it; all images H x W.

    Attributes:
        label: whose image and which target, written at the left.
        unit: unit of the truth and of both predictions.
        ssim_a: masked SSIM of the first generator's prediction.
        ssim_b: masked SSIM of the second one's.
        input: single-energy image.
        truth: what the target really is.
        a: prediction of the first generator.
        b: prediction of the second one.
        mask: the body; grey scales are measured inside, errors are shown inside.
    """

    label: str
    unit: str
    ssim_a: float
    ssim_b: float
    input: NDArray[Any]
    truth: NDArray[Any]
    a: NDArray[Any]
    b: NDArray[Any]
    mask: NDArray[np.bool_]


def write_regressions(path: Path, rows: Sequence[Regression], *, heading: str) -> Path:
    """Write the gallery as a PNG.

    Truth and predictions of a row share one grey scale, taken from the truth; both errors share
    one scale too, red where a prediction is too high and blue where it is too low.

    Raises:
        ValueError: without any row.
    """
    return write_gallery(
        path, rows, _draw_row, columns=_COLUMNS, cell_inch=_CELL_INCH, heading=heading
    )


def _draw_row(figure: Figure, cells: list[Axes], row: Regression) -> None:
    window = display_window([row.truth], [row.mask])
    for axes, image in zip(cells[:3], (row.truth, row.a, row.b), strict=True):
        drawn = show_image(axes, image, window)
    add_scale(figure, drawn, [cells[2]], row.unit)
    for axes, score in ((cells[1], row.ssim_a), (cells[2], row.ssim_b)):
        axes.set_xlabel(f"SSIM {score:.3f}", fontsize=8)
    drawn = show_errors(cells[3:], [row.a - row.truth, row.b - row.truth], row.mask)
    add_scale(figure, drawn, [cells[4]], row.unit)

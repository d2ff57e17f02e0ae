"""Input, truth, prediction and their difference side by side, one row per image and target."""

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

_CELL_INCH = 2.1
_COLUMNS = ("input", "truth", "prediction", "prediction - truth")


@dataclass(frozen=True, slots=True)
class Comparison:
    """One row of a comparison: one target of one image, all H x W.

    Attributes:
        label: whose image and which target, written at the left, for example "subject-003 bone".
        unit: unit of truth and prediction.
        ssim: masked SSIM of this image and target.
        input: single-energy image.
        truth: what the target really is.
        prediction: what the generator made of the input.
        mask: the body; grey scales are measured inside, the difference is shown inside.
    """

    label: str
    unit: str
    ssim: float
    input: NDArray[Any]
    truth: NDArray[Any]
    prediction: NDArray[Any]
    mask: NDArray[np.bool_]


def write_comparison(path: Path, rows: Sequence[Comparison], *, heading: str) -> Path:
    """Write the comparison as a PNG.

    Truth and prediction of a row share one grey scale, taken from the truth. The difference is
    red where the prediction is too high and blue where it is too low.

    Raises:
        ValueError: without any row.
    """
    return write_gallery(
        path, rows, _draw_row, columns=_COLUMNS, cell_inch=_CELL_INCH, heading=heading
    )


def _draw_row(figure: Figure, cells: list[Axes], row: Comparison) -> None:
    window = display_window([row.truth], [row.mask])
    show_image(cells[0], row.truth, window)
    drawn = show_image(cells[1], row.prediction, window)
    cells[1].set_xlabel(f"SSIM {row.ssim:.3f}", fontsize=8)
    add_scale(figure, drawn, [cells[1]], row.unit)
    drawn = show_errors(cells[2:], [row.prediction - row.truth], row.mask)
    add_scale(figure, drawn, [cells[2]], row.unit)

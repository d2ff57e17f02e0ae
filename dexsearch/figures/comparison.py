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
    image_rows,
    save_figure,
    show_errors,
    show_image,
)

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
    if not rows:
        raise ValueError("got no rows to compare")
    height, width = rows[0].truth.shape
    figure, grid = image_rows(
        len(rows), _COLUMNS, (height, width), cell_inch=_CELL_INCH, heading=heading
    )
    for row, cells in zip(rows, grid, strict=True):
        _draw_row(figure, cells, row)
    return save_figure(figure, path)


def _draw_row(figure: Figure, cells: list[Axes], row: Comparison) -> None:
    show_image(cells[0], row.input, display_window([row.input], [row.mask]))
    cells[0].set_ylabel(row.label, fontsize=8, parse_math=False)
    window = display_window([row.truth], [row.mask])
    show_image(cells[1], row.truth, window)
    drawn = show_image(cells[2], row.prediction, window)
    cells[2].set_xlabel(f"SSIM {row.ssim:.3f}", fontsize=8)
    add_scale(figure, drawn, [cells[2]], row.unit)
    drawn = show_errors(cells[3:], [row.prediction - row.truth], row.mask)
    add_scale(figure, drawn, [cells[3]], row.unit)

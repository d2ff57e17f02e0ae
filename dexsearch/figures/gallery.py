"""Rows of images with one heading: input first, then whatever a gallery compares with it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dexsearch.figures.canvas import display_window, new_figure, save_figure, show_image


class GalleryRow(Protocol):
    """What every row has; all images H x W."""

    @property
    def label(self) -> str:
        """Whose image and which target, written at the left."""
        ...

    @property
    def input(self) -> NDArray[Any]:
        """Single-energy image."""
        ...

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The body; grey scales are measured inside."""
        ...


Row = TypeVar("Row", bound=GalleryRow)


def write_gallery(
    path: Path,
    rows: Sequence[Row],
    draw: Callable[[Figure, list[Axes], Row], None],
    *,
    columns: Sequence[str],
    cell_inch: float,
    heading: str,
) -> Path:
    """Write a gallery as a PNG.

    Args:
        path: the PNG.
        rows: all of one size.
        draw: draws what stands in the cells after the input.
        columns: what stands in each column, the input first.
        cell_inch: width of a cell.
        heading: above all of them, taken literally.

    Raises:
        ValueError: without any row.
    """
    if not rows:
        raise ValueError("got no rows to show")
    height, width = rows[0].input.shape
    figure, grid = _image_rows(
        len(rows), columns, (height, width), cell_inch=cell_inch, heading=heading
    )
    for row, cells in zip(rows, grid, strict=True):
        show_image(cells[0], row.input, display_window([row.input], [row.mask]))
        cells[0].set_ylabel(row.label, fontsize=8, parse_math=False)
        draw(figure, cells[1:], row)
    return save_figure(figure, path)


def _image_rows(
    n_rows: int,
    columns: Sequence[str],
    size_px: tuple[int, int],
    *,
    cell_inch: float,
    heading: str,
) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure of equal images, `columns` named above them, and its cells row by row.

    Args:
        n_rows: how many, at least 1.
        columns: what stands in each column.
        size_px: height and width of the images.
        cell_inch: width of a cell.
        heading: above all of them, taken literally.
    """
    height, width = size_px
    figure = new_figure(len(columns) * cell_inch + 2.2, n_rows * cell_inch * height / width + 1.0)
    figure.suptitle(heading, fontsize=10, parse_math=False)
    grid = figure.subplots(n_rows, len(columns), squeeze=False)
    for axes, title in zip(grid[0], columns, strict=True):
        axes.set_title(title, fontsize=9)
    return figure, [list(cells) for cells in grid]

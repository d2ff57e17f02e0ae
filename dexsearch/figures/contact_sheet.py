"""A contact sheet: the same views in columns, one kind of image per row."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dexsearch.figures.canvas import (
    add_scale,
    display_window,
    new_figure,
    save_figure,
    show_image,
)

_CELL_INCH = 1.7


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One row of a contact sheet, on one grey scale.

    Attributes:
        label: what the images are, written at the left.
        unit: unit of the scale at the right.
        images: one image per column.
    """

    label: str
    unit: str
    images: Sequence[NDArray[Any]]


def write_contact_sheet(
    path: Path,
    rows: Sequence[SheetRow],
    *,
    column_titles: Sequence[str],
    heading: str,
    masks: Sequence[NDArray[np.bool_]] | None = None,
) -> Path:
    """Write the sheet as a PNG; `masks` (one per column) say where the grey scale is measured.

    Raises:
        ValueError: if a row has another number of images than there are column titles.
    """
    n_columns = len(column_titles)
    for row in rows:
        if len(row.images) != n_columns:
            raise ValueError(
                f"row {row.label!r} has {len(row.images)} images for {n_columns} column titles"
            )
    height, width = rows[0].images[0].shape
    figure = new_figure(
        n_columns * _CELL_INCH + 1.1, len(rows) * _CELL_INCH * height / width + 0.9
    )
    figure.suptitle(heading, fontsize=10)
    grid = figure.subplots(len(rows), n_columns, squeeze=False)
    for row, cells in zip(rows, grid, strict=True):
        window = display_window(row.images, masks)
        for axes, image in zip(cells, row.images, strict=True):
            drawn = show_image(axes, image, window)
        cells[0].set_ylabel(row.label, fontsize=10)
        add_scale(figure, drawn, list(cells), row.unit)
    for axes, title in zip(grid[0], column_titles, strict=True):
        axes.set_title(title, fontsize=8)
    return save_figure(figure, path)

"""One exposure and what was predicted from it, side by side, to look at."""

from collections.abc import Mapping
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

_CELL_INCH = 4.0
_DPI = 150
_SHOWN_PX = int(_CELL_INCH * _DPI)


def write_side_by_side(
    path: Path,
    image: NDArray[Any],
    predicted: Mapping[str, NDArray[Any]],
    *,
    units: Mapping[str, str],
    heading: str,
) -> Path:
    """Write input and targets as one PNG with the disclaimer at its foot.

    Args:
        path: where to.
        image: the input, dense as high.
        predicted: one image per target, of the same size.
        units: of the targets; thickness in cm has 0 as black.
        heading: a line above.
    """
    height, width = image.shape
    figure = new_figure(
        (1 + len(predicted)) * (_CELL_INCH + 0.8), _CELL_INCH * height / width + 0.8
    )
    figure.suptitle(heading, fontsize=10, parse_math=False)
    first, *others = figure.subplots(1, 1 + len(predicted), squeeze=False)[0]
    first.set_title("input", fontsize=9)
    shown = shrunk(image)
    show_image(first, shown, display_window([shown]))
    for axes, (target, values) in zip(others, predicted.items(), strict=True):
        axes.set_title(f"{target}, predicted", fontsize=9, parse_math=False)
        shown, unit = shrunk(values), units.get(target, "")
        drawn = show_image(axes, shown, thickness_window(shown, unit))
        add_scale(figure, drawn, [axes], unit)
    return save_figure(figure, path, dpi=_DPI)


def thickness_window(image: NDArray[Any], unit: str) -> tuple[float, float]:
    """Return the values of black and of white: no material is black, where the unit is cm."""
    low, high = display_window([image])
    return (0.0, max(high, 0.1)) if unit == "cm" else (low, high)


def shrunk(image: NDArray[Any]) -> NDArray[np.float64]:
    """Average over blocks until the image is about as large as it is drawn."""
    block = max(1, max(image.shape) // _SHOWN_PX)
    rows, columns = (max(1, n // block) for n in image.shape)
    cut = np.asarray(image, dtype=np.float64)[: rows * block, : columns * block]
    if min(image.shape) < block:
        return cut
    means: NDArray[np.float64] = cut.reshape(rows, block, columns, block).mean(axis=(1, 3))
    return means

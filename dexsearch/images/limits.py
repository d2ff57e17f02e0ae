"""What no image may be, whatever its format: too large to be one, or without usable pixels."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dexsearch.errors import DataError

MAX_SIDE_PX = 8192
"""Longest side that is believed to be an image; detectors have up to about 4300 px."""


def refuse_bad_size(size_px: tuple[int, int], path: Path) -> None:
    """Raise DataError where rows or columns, as the header gives them, cannot be an image's."""
    if min(size_px) < 1:
        raise DataError(f"{path}: has no pixels (shape {size_px})")
    if max(size_px) > MAX_SIDE_PX:
        raise DataError(
            f"{path}: is {size_px[0]} x {size_px[1]} px; at most {MAX_SIDE_PX} a side are read",
            hint="check that the file is an image; crop or shrink it if it is",
        )


def refuse_bad_pixels(image: NDArray[np.float32], path: Path) -> None:
    """Raise DataError naming the first pixel that is NaN or infinite."""
    bad = ~np.isfinite(image)
    if bad.any():
        row, column = np.argwhere(bad)[0].tolist()
        raise DataError(
            f"{path}: {int(bad.sum())} of {image.size} pixels are NaN or infinite, the first in "
            f"row {row}, column {column}",
            hint="repair the image where it was made, for example log(0) at saturated pixels",
        )


def one_grey_channel(colours: NDArray[Any], path: Path) -> NDArray[Any]:
    """Return the one of H W C channels that stands for all of them, which must be equal."""
    if np.any(colours != colours[..., :1]):
        raise DataError(
            f"{path}: a colour picture; an X-ray image has grey levels only",
            hint="export the image in grey, without annotations or a colour map",
        )
    grey: NDArray[Any] = colours[..., 0]
    return grey

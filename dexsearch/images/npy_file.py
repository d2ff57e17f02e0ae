"""One image in a .npy file; nothing that is pickled is ever loaded."""

from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dexsearch.errors import DataError
from dexsearch.images.limits import refuse_bad_size
from dexsearch.wording import printable

_NPY_START = b"\x93NUMPY"
_PICKLE_START = b"\x80"


def open_npy(path: Path) -> NDArray[Any]:
    """Map the one array of rows and columns that the file holds, of any type of real numbers.

    Axes of length one around the two are dropped.

    Raises:
        DataError: if the file is not readable, pickled, an archive, of another type or shape.
    """
    try:
        stored: Any = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError, TokenError) as error:
        if "Python objects" in str(error) or _starts_with(path, _PICKLE_START):
            raise DataError(
                f"{path}: holds pickled Python objects, which are never loaded",
                hint="save it as plain numbers: numpy.save(path, array.astype('float32'))",
            ) from None
        raise DataError(
            f"{path}: not a readable .npy file"
            + (f" ({printable(str(error))})" if _starts_with(path, _NPY_START) else ""),
            hint="write or copy the file again",
        ) from None
    if not isinstance(stored, np.ndarray):
        stored.close()
        raise DataError(f"{path}: an archive of several arrays", hint="save one array per file")
    if stored.dtype.kind not in "fiub":
        raise DataError(
            f"{path}: holds {stored.dtype} values; an image holds real numbers",
            hint="save it as plain numbers: numpy.save(path, array.astype('float32'))",
        )
    return _two_dimensions(stored, path)


def _starts_with(path: Path, start: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(start)) == start


def _two_dimensions(array: NDArray[Any], path: Path) -> NDArray[Any]:
    """Drop axes of length one around the image."""
    sides = [n for n in array.shape if n != 1]
    if array.ndim < 2 or len(sides) > 2:
        raise DataError(
            f"{path}: has shape {array.shape}; an image has rows and columns",
            hint="save one image per file",
        )
    image = array
    while image.ndim > 2:
        image = image.squeeze(axis=image.shape.index(1))
    refuse_bad_size((image.shape[0], image.shape[1]), path)
    return image

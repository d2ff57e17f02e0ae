"""Read one image from a .npy or PNG file; whatever is wrong with it is said in one line."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dexsearch.errors import DataError

MAX_SIDE_PX = 8192
"""Longest side that is believed to be an image; detectors have up to about 4300 px."""

SUFFIXES = (".npy", ".png")

_NPY_START = b"\x93NUMPY"
_PICKLE_START = b"\x80"
_PNG_DEPTH, _PNG_COLOUR_TYPE = 24, 25
"""Offsets of the header's bit depth and colour type; the header is always the first chunk."""

_COLOUR_TYPES = {2: "RGB", 4: "grey with transparency", 6: "RGB with transparency"}
_GREY_MODES = ("1", "L", "LA", "I", "F", "I;16", "I;16B", "I;16L")


def read_image(path: Path) -> NDArray[np.float32]:
    """Return the image's rows and columns as float32, in the file's own unit.

    A .npy file may hold floats or integers, with axes of length one around the two; a PNG holds
    counts (0..255 or 0..65535), grey or in colour channels that are all equal. Several channels of
    16 bits are refused, because Pillow would silently cut them to 8.

    Raises:
        DataError: if the file is missing, unreadable, pickled, of another type, not an image of
            two dimensions, implausibly large, or holds NaN or infinite pixels.
    """
    if _checked_suffix(path) == ".png":
        image = _read_png(path)
    else:
        with np.errstate(over="ignore"):
            image = np.array(_open_npy(path), dtype=np.float32)
    _refuse_bad_pixels(image, path)
    return image


def read_image_size(path: Path) -> tuple[int, int]:
    """Return rows and columns from the header alone.

    Raises:
        DataError: as `read_image`, except for what only the pixels can tell.
    """
    if _checked_suffix(path) == ".png":
        with _opened_png(path) as picture:
            return picture.height, picture.width
    rows, columns = _open_npy(path).shape
    return rows, columns


def _checked_suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(
            f"{path}: cannot read {suffix or 'a file without a suffix'!r}; "
            f"known formats: {', '.join(SUFFIXES)}",
            hint="convert the image to .npy or .png",
        )
    if not path.is_file():
        raise DataError(f"{path}: {'is not a file' if path.exists() else 'does not exist'}")
    return suffix


def _open_npy(path: Path) -> NDArray[Any]:
    """Map the one array of rows and columns that the file holds."""
    try:
        stored: Any = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        if "Python objects" in str(error) or _starts_with(path, _PICKLE_START):
            raise DataError(
                f"{path}: holds pickled Python objects, which are never loaded",
                hint="save it as plain numbers: numpy.save(path, array.astype('float32'))",
            ) from None
        raise DataError(
            f"{path}: not a readable .npy file"
            + (f" ({error})" if _starts_with(path, _NPY_START) else ""),
            hint="write or copy the file again",
        ) from None
    if not isinstance(stored, np.ndarray):
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


@contextmanager
def _opened_png(path: Path) -> Iterator[Image.Image]:
    """Open a PNG and turn whatever goes wrong inside the block into a DataError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=["PNG"]) as picture:
                _refuse_bad_size((picture.height, picture.width), path)
                _refuse_cut_bits(path)
                yield picture
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path}: not a readable PNG ({error})", hint="write or copy the file again"
        ) from None


def _read_png(path: Path) -> NDArray[np.float32]:
    with _opened_png(path) as picture:
        if picture.mode in _GREY_MODES:
            grey = picture.convert("L") if picture.mode in ("1", "LA") else picture
            return np.array(grey, dtype=np.float32)
        colours = np.asarray(picture.convert("RGB"))
    if np.any(colours != colours[..., :1]):
        raise DataError(
            f"{path}: a colour picture; an X-ray image has grey levels only",
            hint="export the image in grey, without annotations or a colour map",
        )
    return colours[..., 0].astype(np.float32)


def _refuse_cut_bits(path: Path) -> None:
    """Refuse the PNGs with 16 bits a channel of which Pillow reads only 8."""
    with path.open("rb") as file:
        header = file.read(_PNG_COLOUR_TYPE + 1)
    kind = _COLOUR_TYPES.get(header[_PNG_COLOUR_TYPE])
    if header[_PNG_DEPTH] == 16 and kind is not None:
        raise DataError(
            f"{path}: a 16-bit PNG stored as {kind}, of which only 8 bits could be read",
            hint="save it as 16-bit greyscale",
        )


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
    _refuse_bad_size((image.shape[0], image.shape[1]), path)
    return image


def _refuse_bad_size(size_px: tuple[int, int], path: Path) -> None:
    if min(size_px) < 1:
        raise DataError(f"{path}: has no pixels (shape {size_px})")
    if max(size_px) > MAX_SIDE_PX:
        raise DataError(
            f"{path}: is {size_px[0]} x {size_px[1]} px; at most {MAX_SIDE_PX} a side are read",
            hint="check that the file is an image; crop or shrink it if it is",
        )


def _refuse_bad_pixels(image: NDArray[np.float32], path: Path) -> None:
    bad = ~np.isfinite(image)
    if bad.any():
        row, column = np.argwhere(bad)[0].tolist()
        raise DataError(
            f"{path}: {int(bad.sum())} of {image.size} pixels are NaN or infinite, the first in "
            f"row {row}, column {column}",
            hint="repair the image where it was made, for example log(0) at saturated pixels",
        )

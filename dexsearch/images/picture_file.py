"""One grey image in a PNG (8 or 16 bits) or TIFF (8, 16, 32 bits, float) file, by Pillow.

A TIFF that stores white as zero is turned round, so that bright is high in every file.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from dexsearch.errors import DataError
from dexsearch.images.limits import one_grey_channel, refuse_bad_size
from dexsearch.wording import printable

FORMATS = {".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF"}

_PNG_DEPTH, _PNG_COLOUR_TYPE = 24, 25
"""Offsets of the header's bit depth and colour type; the header is always the first chunk."""

_COLOUR_TYPES = {2: "RGB", 4: "grey with transparency", 6: "RGB with transparency"}
_GREY_MODES = ("1", "L", "LA", "I", "F", "I;16", "I;16B", "I;16L")

_TIFF_BITS, _TIFF_PHOTOMETRIC, _TIFF_CHANNELS, _TIFF_SAMPLE_FORMAT = 258, 262, 277, 339
_WHITE_IS_ZERO = 0
_UNSIGNED = 1


@contextmanager
def opened_picture(path: Path) -> Iterator[Image.Image]:
    """Open a picture without decoding it; whatever goes wrong in the block is a DataError."""
    kind = FORMATS[path.suffix.lower()]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # large or oddly tagged; judged here
            with Image.open(path, formats=[kind]) as picture:
                refuse_bad_size((picture.height, picture.width), path)
                _refuse_cut_bits(picture, path)
                yield picture
    except (OSError, ValueError, SyntaxError, KeyError, TypeError, RuntimeError,
            Image.DecompressionBombError) as error:  # fmt: skip
        raise DataError(
            f"{path}: not a readable {kind} ({printable(' '.join(str(error).split()))})",
            hint="write or copy the file again; TIFFs of 8, 16 or 32 bits or float32 are read",
        ) from None


def read_picture(path: Path) -> NDArray[np.float32]:
    """Return the grey levels of a picture; colour channels must be equal.

    Raises:
        DataError: if the file is not readable, has colours, several pages, or more bits than
            could be read.
    """
    with opened_picture(path) as picture:
        if picture.mode in _GREY_MODES:
            grey = picture.convert("L") if picture.mode in ("1", "LA") else picture
            values = np.array(grey, dtype=np.float32)
        else:
            colours = np.asarray(picture.convert("RGB"))
            values = one_grey_channel(colours, path).astype(np.float32)
        return _bright_is_high(values, picture, path)


def _refuse_cut_bits(picture: Image.Image, path: Path) -> None:
    """Refuse what Pillow would read only in part: further pages, 8 of 16 bits a channel."""
    if isinstance(picture, TiffImageFile):
        _refuse_pages(picture, path)
        bits, n_channels = _bits(picture), int(picture.tag_v2.get(_TIFF_CHANNELS, 1))
        stored_as = f"{n_channels} channels" if n_channels > 1 and bits == 16 else None
    else:
        with path.open("rb") as file:
            header = file.read(_PNG_COLOUR_TYPE + 1)
        bits, stored_as = header[_PNG_DEPTH], _COLOUR_TYPES.get(header[_PNG_COLOUR_TYPE])
    if bits == 16 and stored_as is not None:
        raise DataError(
            f"{path}: a 16-bit {picture.format} stored as {stored_as}, of which only 8 bits "
            "could be read",
            hint="save it as 16-bit greyscale",
        )


def _refuse_pages(picture: TiffImageFile, path: Path) -> None:
    try:
        picture.seek(1)
    except EOFError:
        picture.seek(0)
        return
    raise DataError(f"{path}: has several pages; an image is one", hint="save one image per file")


def _bits(picture: TiffImageFile) -> int:
    stored: Any = picture.tag_v2.get(_TIFF_BITS, 1)
    return int(max(stored) if isinstance(stored, tuple) else stored)


def _bright_is_high(
    values: NDArray[np.float32], picture: Image.Image, path: Path
) -> NDArray[np.float32]:
    """Turn a TIFF round whose zero is white; Pillow itself does so up to 8 bits only."""
    if not isinstance(picture, TiffImageFile):
        return values
    bits, tags = _bits(picture), picture.tag_v2
    sample_format: Any = tags.get(_TIFF_SAMPLE_FORMAT, (_UNSIGNED,))
    is_unsigned = int(np.ravel(sample_format)[0]) == _UNSIGNED
    if is_unsigned and bits == 32 and values.size and values.min() < 0:
        raise DataError(
            f"{path}: holds counts above {2**31 - 1}, which would be read as negative",
            hint="save it as float32",
        )
    if tags.get(_TIFF_PHOTOMETRIC) != _WHITE_IS_ZERO or bits <= 8:
        return values
    if not is_unsigned or bits != 16:
        raise DataError(
            f"{path}: a TIFF that calls zero white, but holds no counts of 8 or 16 bits",
            hint="save it with black as zero",
        )
    return np.float32(2**16 - 1) - values

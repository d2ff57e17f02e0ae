"""Read one image of any known format; whatever is wrong with it is said in one line.

The format is the suffix's; a file of another or no suffix is DICOM if it carries the DICOM mark.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dexsearch.errors import DataError
from dexsearch.images.dicom_file import read_dicom, read_dicom_facts
from dexsearch.images.limits import MAX_SIDE_PX, refuse_bad_pixels
from dexsearch.images.npy_file import open_npy
from dexsearch.images.picture_file import FORMATS, opened_picture, read_picture

__all__ = [
    "DICOM_SUFFIX",
    "MAX_SIDE_PX",
    "SUFFIXES",
    "ImageHeader",
    "image_suffix",
    "is_image",
    "read_header",
    "read_image",
    "read_image_size",
]

DICOM_SUFFIX = ".dcm"
SUFFIXES = (".npy", *FORMATS, DICOM_SUFFIX)

_DICOM_MARK, _DICOM_MARK_AT = b"DICM", 128


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What a file says about its image, without its pixels.

    Attributes:
        size_px: rows and columns.
        pixel_mm: pixel spacing, None where the file does not know it.
        patient: PatientID of a DICOM file, None where there is none.
        warnings: what makes the pixels doubtful as an X-ray image, one line each.
    """

    size_px: tuple[int, int]
    pixel_mm: float | None = None
    patient: str | None = None
    warnings: tuple[str, ...] = ()


def read_image(path: Path) -> NDArray[np.float32]:
    """Return the image's rows and columns as float32, in the file's own unit.

    A .npy file may hold floats or integers, with axes of length one around the two; a PNG or
    TIFF holds counts (0..255, 0..65535) or floats, grey or in 8-bit colour channels that are all
    equal. Several channels of 16 bits are refused, because Pillow would silently cut them to 8.
    DICOM images come out with dense as high, see `dicom_file`.

    Raises:
        DataError: if the file is missing, unreadable, pickled, of another type, not an image of
            two dimensions, implausibly large, or holds NaN or infinite pixels.
    """
    suffix = image_suffix(path)
    if suffix == DICOM_SUFFIX:
        image = read_dicom(path)
    elif suffix in FORMATS:
        image = read_picture(path)
    else:
        with np.errstate(over="ignore"):
            image = np.array(open_npy(path), dtype=np.float32)
    refuse_bad_pixels(image, path)
    return image


def read_header(path: Path) -> ImageHeader:
    """Return what the file says about its image, decoding no pixels.

    Raises:
        DataError: as `read_image`, except for what only the pixels can tell.
    """
    suffix = image_suffix(path)
    if suffix == DICOM_SUFFIX:
        facts = read_dicom_facts(path)
        return ImageHeader(facts.size_px, facts.pixel_mm, facts.patient, facts.warnings)
    if suffix in FORMATS:
        with opened_picture(path) as picture:
            return ImageHeader((picture.height, picture.width))
    rows, columns = open_npy(path).shape
    return ImageHeader((rows, columns))


def read_image_size(path: Path) -> tuple[int, int]:
    """Return rows and columns from the header alone; raises as `read_header`."""
    return read_header(path).size_px


def is_image(path: Path) -> bool:
    """Return whether a file's suffix, or its DICOM mark, says that it can be read here."""
    return path.suffix.lower() in SUFFIXES or _has_dicom_mark(path)


def image_suffix(path: Path) -> str:
    """Return the one of `SUFFIXES` that decides how a file is read.

    Raises:
        DataError: if the file is missing, or neither its name nor its content is known.
    """
    if not path.is_file():
        raise DataError(f"{path}: {'is not a file' if path.exists() else 'does not exist'}")
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return suffix
    if _has_dicom_mark(path):
        return DICOM_SUFFIX
    raise DataError(
        f"{path}: cannot read {suffix or 'a file without a suffix'!r}; "
        f"known formats: {', '.join(SUFFIXES)}",
        hint="convert the image to .npy, .png, .tif or .dcm",
    )


def _has_dicom_mark(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        file.seek(_DICOM_MARK_AT)
        return file.read(len(_DICOM_MARK)) == _DICOM_MARK

"""One radiograph in a DICOM file (CR, DX, secondary capture), with dense as high.

The pixels pass the modality LUT and are then turned round at most once: by
PixelIntensityRelationshipSign, which is physics, where it is given; else by MONOCHROME1, because
radiographs show dense bright. VOI windows and LUTs are choices of display and not applied. An
image FOR PROCESSING that is linear in the beam's intensity becomes -ln(intensity / full scale).

Source   DICOM PS3.3, C.7.6.3.1.2 (photometric interpretation), C.8.11.3.1.2 (sign), C.11.1.
"""

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.pixels.processing import apply_modality_lut
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from dexsearch.errors import DataError
from dexsearch.images.limits import refuse_bad_size
from dexsearch.wording import printable

_RADIOGRAPHS = ("CR", "DX", "RF", "XA", "RG", "MG", "IO", "PX", "OT", "SC", "RTIMAGE")
_PHOTOMETRIC = ("MONOCHROME1", "MONOCHROME2")
_SQUARE_TOLERANCE = 0.01  # of the spacing
_LONGEST_TEXT = 200

_UNREADABLE = (
    InvalidDicomError, BytesLengthException, OSError, EOFError, ValueError, TypeError, KeyError,
    IndexError, AttributeError, NotImplementedError, OverflowError, RecursionError, MemoryError,
    struct.error,
)  # fmt: skip
"""What pydicom raises on bad files."""


@dataclass(frozen=True, slots=True)
class DicomFacts:
    """What the header of a radiograph says; see `reading.ImageHeader`."""

    size_px: tuple[int, int]
    pixel_mm: float | None
    patient: str | None
    warnings: tuple[str, ...]


def read_dicom_facts(path: Path) -> DicomFacts:
    """Return size, spacing, patient and doubts of a radiograph without reading its pixels.

    Raises:
        DataError: if the file is no readable grey image of one frame, or implausibly large.
    """
    with _readable(path):
        header = _checked_header(path)
        size_px, patient = (int(header.Rows), int(header.Columns)), _text(header, "PatientID")
        return DicomFacts(size_px, _pixel_mm(header), patient or None, tuple(_warnings(header)))


def read_dicom(path: Path) -> NDArray[np.float32]:
    """Return the pixels of a radiograph after the modality LUT, with dense as high.

    Raises:
        DataError: as `read_dicom_facts`, and if the pixels are cut short or cannot be decoded.
    """
    with _readable(path):
        _checked_header(path)
        dataset = dcmread(path)
        stored = _decoded(dataset, path)
        values = np.asarray(apply_modality_lut(stored, dataset), dtype=np.float64)
        return _dense_as_high(values, dataset).astype(np.float32)


def read_dicom_header(path: Path) -> Dataset:
    """Return everything before the pixels of a radiograph, for an image that is made from it.

    Raises:
        DataError: as `read_dicom_facts`.
    """
    with _readable(path):
        return _checked_header(path)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn whatever pydicom raises into one line; its warnings are about conformity alone."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except _UNREADABLE as error:
        reason = _plain(str(error)) or type(error).__name__
        raise DataError(
            f"{path}: not a readable DICOM image ({reason})", hint="write or copy the file again"
        ) from None


def _checked_header(path: Path) -> Dataset:
    """Read everything before the pixels and refuse what is no grey image of one frame."""
    meta = read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        raise DataError(
            f"{path}: its whole content is deflated, which is not unpacked here",
            hint="save it with another transfer syntax, for example explicit VR little endian",
        )
    header = dcmread(path, stop_before_pixels=True)
    if "Rows" not in header or "Columns" not in header:
        kind = _plain(UID(_text(header, "SOPClassUID")).name) or "of no named kind"
        raise DataError(
            f"{path}: a DICOM file without an image ({kind})",
            hint="give CR, DX or secondary capture images",
        )
    refuse_bad_size((int(header.Rows), int(header.Columns)), path)
    n_frames = int(header.get("NumberOfFrames") or 1)
    if n_frames != 1:
        raise DataError(
            f"{path}: holds {n_frames} frames; an image is one", hint="save one image per file"
        )
    photometric = _text(header, "PhotometricInterpretation")
    if int(header.get("SamplesPerPixel") or 1) != 1 or photometric not in _PHOTOMETRIC:
        raise DataError(
            f"{path}: pixels are {photometric or 'of no named kind'}; an X-ray image is "
            f"{' or '.join(_PHOTOMETRIC)}",
            hint="export the image in grey, without annotations or a colour map",
        )
    return header


def _decoded(dataset: Dataset, path: Path) -> NDArray[np.generic]:
    """Return the stored pixels; what needs a decoder that is not installed is refused."""
    if "PixelData" not in dataset:
        raise DataError(f"{path}: a DICOM file without pixels", hint="copy the file again")
    try:
        stored: NDArray[np.generic] = dataset.pixel_array
    except (RuntimeError, NotImplementedError) as error:
        if isinstance(error, RecursionError):
            raise
        syntax = _plain(UID(str(dataset.file_meta.get("TransferSyntaxUID"))).name)
        raise DataError(
            f"{path}: its pixels are compressed ({syntax}) and cannot be decoded here",
            hint="pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg, or save the file "
            "uncompressed (dcmdjpeg, gdcmconv --raw)",
        ) from None
    if stored.shape != (int(dataset.Rows), int(dataset.Columns)):
        raise DataError(
            f"{path}: the decoded image has shape {stored.shape}, its header says "
            f"{(int(dataset.Rows), int(dataset.Columns))}",
            hint="write or copy the file again",
        )
    return stored


def _dense_as_high(values: NDArray[np.float64], dataset: Dataset) -> NDArray[np.float64]:
    """Turn the image round once if dense is low in it; take the log of a linear intensity."""
    first, last = _full_scale(dataset)
    dense_is_low = _dense_is_low(dataset, rising=first <= last)
    turned = first + last - values if dense_is_low else values
    if not _is_raw_intensity(dataset):
        return turned
    intensity = values if dense_is_low else first + last - values
    step = abs(last - first) / (2 ** int(dataset.BitsStored) - 1)
    top = max(first, last)
    if not (top > 0 and step > 0):
        raise ValueError(f"intensities of up to {top:g} have no logarithm")
    log_image: NDArray[np.float64] = -np.log(np.maximum(intensity, step) / top)
    return log_image


def _full_scale(dataset: Dataset) -> tuple[float, float]:
    """Return what the modality LUT makes of the lowest and the highest value that fit."""
    bits, signed = int(dataset.BitsStored), int(dataset.get("PixelRepresentation") or 0) == 1
    low = -(2 ** (bits - 1)) if signed else 0
    ends = np.array([[low, low + 2**bits - 1]], dtype=np.int64)
    first, last = np.asarray(apply_modality_lut(ends, dataset), dtype=np.float64)[0].tolist()
    return first, last


def _dense_is_low(dataset: Dataset, *, rising: bool) -> bool:
    """Return whether dense is low after the modality LUT."""
    sign = _sign(dataset)
    if sign is not None:
        return (sign > 0) == rising  # the sign is about the stored values, before the LUT
    return _text(dataset, "PhotometricInterpretation") == "MONOCHROME1"


def _sign(dataset: Dataset) -> int | None:
    """Return 1 where more beam means higher pixels, -1 where lower, None where not said."""
    sign = dataset.get("PixelIntensityRelationshipSign")
    return int(sign) if sign in (1, -1) else None


def _is_raw_intensity(dataset: Dataset) -> bool:
    return (
        _text(dataset, "PixelIntensityRelationship") == "LIN"
        and _intent(dataset) == "FOR PROCESSING"
    )


def _intent(dataset: Dataset) -> str:
    return _text(dataset, "PresentationIntentType")


def _text(dataset: Dataset, name: str) -> str:
    return _plain(str(dataset.get(name) or ""))


def _plain(text: str) -> str:
    """Return what a file says, fit for one line of a message."""
    return printable(" ".join(text.split()))[:_LONGEST_TEXT]


def _pixel_mm(header: Dataset) -> float | None:
    """Return the calibrated spacing, else the detector's by the magnification, if it is known."""
    magnification = 1.0
    spacing = header.get("PixelSpacing")
    if not spacing:
        spacing = header.get("ImagerPixelSpacing")
        magnification = float(header.get("EstimatedRadiographicMagnificationFactor") or 1.0)
    if not spacing or len(spacing) != 2:
        return None
    row_mm, column_mm = (float(value) for value in spacing)
    is_square = abs(row_mm - column_mm) <= _SQUARE_TOLERANCE * row_mm
    return row_mm / magnification if row_mm > 0 and magnification > 0 and is_square else None


def _warnings(header: Dataset) -> Iterator[str]:
    modality = _text(header, "Modality")
    if modality and modality not in _RADIOGRAPHS:
        yield f"its modality is {modality}, not a radiograph"
    if _intent(header) == "FOR PRESENTATION":
        yield (
            "processed for display (FOR PRESENTATION), so its values are no longer physical; "
            "prefer FOR PROCESSING"
        )
    if _is_raw_intensity(header):
        yield "linear in the beam's intensity; its logarithm was taken"
    sign, shown = _sign(header), _text(header, "PhotometricInterpretation")
    if sign is not None and (sign > 0) != (shown == "MONOCHROME1"):
        yield (
            f"PixelIntensityRelationshipSign {sign} and {shown} disagree on what dense is; the "
            "sign was followed"
        )
    if _text(header, "LossyImageCompression") == "01":
        yield "was compressed with loss"
    if _text(header, "BurnedInAnnotation") == "YES":
        yield "has text burned into its pixels"

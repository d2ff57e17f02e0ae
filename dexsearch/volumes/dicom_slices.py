"""Finding the slices of one CT series among the files of a folder."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from struct import error as StructError  # noqa: N812
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.pixels.decoders.base import get_decoder

from dexsearch.errors import DataError

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2.1"
REQUIRED = (
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "Rows",
    "Columns",
    "RescaleSlope",
    "RescaleIntercept",
)
TAGS = [
    *REQUIRED,
    *("ContrastBolusAgent", "FrameOfReferenceUID", "ImageType", "KVP", "Modality", "PatientID"),
    "PhotometricInterpretation",
    *("RescaleType", "SeriesDescription", "SeriesInstanceUID", "SeriesNumber", "SOPClassUID"),
    *("InstanceNumber", "SliceThickness"),
]
DAMAGE = (
    *(OSError, EOFError, ValueError, TypeError, KeyError, AttributeError),
    *(NotImplementedError, RuntimeError, OverflowError, StructError),
    BytesLengthException,
)
"""What pydicom raises on a broken header."""

NO_AGENT = ("", "none", "no", "n", "without")
NO_PATIENT = (
    *("", "0", "anon", "anonymous", "anonymized", "anonymised", "deidentified", "none"),
    *("no id", "noid", "patient", "removed", "unknown", "xxx"),
)
"""What stands for a PatientID that was taken away; different patients share these."""
CONVERT_HINT = "export the series again as classic CT images, or convert it with dcm2niix"


@dataclass(frozen=True, slots=True)
class Slice:
    """What one file's header says; lengths in mm, directions and position in LPS."""

    file: Path
    position_mm: tuple[float, ...]
    orientation: tuple[float, ...]
    """Direction along a row (growing column), then along a column (growing row)."""
    pixel_spacing_mm: tuple[float, ...]
    """Between rows, then between columns."""
    rows: int
    columns: int
    slope: float
    intercept: float
    kvp: float | None
    contrast_agent: str | None
    patient: str | None
    frame_of_reference: str | None
    number: int | None = None
    """In the series as it was exported."""
    thickness_mm: float | None = None


def series_slices(folder: Path, *, series: str | None = None) -> list[Slice]:
    """Return the slices of the folder's one CT series, or of that whose UID ends with `series`.

    Sub-folders are searched and endings of file names mean nothing. Localizers, other modalities
    and files that are not DICOM are passed over.

    Raises:
        DataError: if there is no CT series or more than one, or if a header cannot be read,
            lacks what a volume needs, or names a compression that cannot be undone here.
    """
    found, passed_over = _ct_headers(folder)
    by_series: dict[str, list[tuple[Path, Dataset]]] = defaultdict(list)
    for file, header in found:
        by_series[str(header.get("SeriesInstanceUID") or "")].append((file, header))
    chosen = [uid for uid in by_series if series is None or uid.endswith(series)]
    if not by_series:
        told = ", ".join(f"{n} {what}" for what, n in passed_over.items()) or "no file"
        enhanced = any("multi-frame" in what for what in passed_over)
        raise DataError(
            f"{folder} holds no DICOM CT slices; it holds {told}",
            hint=CONVERT_HINT if enhanced else "give the folder of one CT series",
        )
    if len(chosen) != 1:
        raise DataError(
            f"{folder} holds {len(by_series)} CT series"
            + (f", {len(chosen)} of them end with {series!r}" if series else "")
            + "".join(f"\n{_described(uid, files)}" for uid, files in sorted(by_series.items())),
            hint="give the folder of one series, or FOLDER#UID; the end of the UID is enough",
        )
    return [_slice(file, header) for file, header in by_series[chosen[0]]]


def _ct_headers(folder: Path) -> tuple[list[tuple[Path, Dataset]], Counter[str]]:
    found: list[tuple[Path, Dataset]] = []
    passed_over: Counter[str] = Counter()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        header = _header(file)
        if header is None:
            passed_over["files that are not DICOM"] += 1
            continue
        kind = str(header.get("SOPClassUID", CT_IMAGE))
        if header.get("Modality") != "CT":
            passed_over[f"DICOM files of modality {header.get('Modality') or 'unknown'}"] += 1
        elif kind == ENHANCED_CT_IMAGE:
            passed_over["enhanced (multi-frame) CT files, which are not read"] += 1
        elif kind != CT_IMAGE:
            passed_over["CT files that are no CT images"] += 1
        elif "LOCALIZER" in (header.get("ImageType") or ()):
            passed_over["localizers"] += 1
        else:
            found.append((file, header))
    return found, passed_over


def _header(file: Path) -> Dataset | None:
    """Return the tags that are needed, each decoded, or None where the file is not DICOM."""
    try:
        header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=TAGS)
        for element in (*header.file_meta, *header):  # pydicom decodes when asked
            str(element.value)
    except InvalidDicomError:
        return None
    except DAMAGE as error:
        raise DataError(f"{file} cannot be read: {error}", hint="copy the file again") from None
    return header


def _described(uid: str, files: Sequence[tuple[Path, Dataset]]) -> str:
    first = files[0][1]
    description = first.get("SeriesDescription") or "no description"
    kvp = first.get("KVP")
    return (
        f"{uid or 'no UID'}: series {first.get('SeriesNumber') or '?'}, {description}, "
        f"{len(files)} slices" + (f", {kvp:g} kVp" if isinstance(kvp, float) else "")
    )


def _slice(file: Path, header: Dataset) -> Slice:
    missing = [tag for tag in REQUIRED if header.get(tag) in (None, "")]
    if missing:
        raise DataError(f"{file} lacks {', '.join(missing)}", hint=CONVERT_HINT)
    _refuse_what_is_not_hu_or_not_read(file, header)
    agent, patient, frame = (
        str(header.get(tag) or "").strip()
        for tag in ("ContrastBolusAgent", "PatientID", "FrameOfReferenceUID")
    )
    kvp = header.get("KVP")
    return Slice(
        file=file,
        position_mm=_numbers(file, header, "ImagePositionPatient", 3),
        orientation=_numbers(file, header, "ImageOrientationPatient", 6),
        pixel_spacing_mm=_numbers(file, header, "PixelSpacing", 2),
        rows=int(header.Rows),
        columns=int(header.Columns),
        slope=_numbers(file, header, "RescaleSlope", 1)[0],
        intercept=_numbers(file, header, "RescaleIntercept", 1)[0],
        kvp=_numbers(file, header, "KVP", 1)[0] if kvp not in (None, "") else None,
        contrast_agent=None if agent.lower() in NO_AGENT else agent,
        patient=None if patient.lower() in NO_PATIENT else patient,
        frame_of_reference=frame or None,
        number=None if (number := _optional(header, "InstanceNumber")) is None else int(number),
        thickness_mm=_optional(header, "SliceThickness"),
    )


def _refuse_what_is_not_hu_or_not_read(file: Path, header: Dataset) -> None:
    unit = str(header.get("RescaleType") or "HU").strip()
    if unit not in ("HU", "US"):
        raise DataError(
            f"{file} holds values in {unit}, not in Hounsfield units",
            hint="give the series of the CT itself, not one derived from it",
        )
    photometric = header.get("PhotometricInterpretation", "MONOCHROME2")
    if photometric != "MONOCHROME2":
        raise DataError(
            f"{file} has PhotometricInterpretation {photometric}; a CT has MONOCHROME2",
            hint=CONVERT_HINT,
        )
    syntax: Any = header.file_meta.get("TransferSyntaxUID")
    try:
        readable = not syntax.is_encapsulated or get_decoder(syntax).is_available
    except (AttributeError, NotImplementedError, ValueError):
        readable = False
    if not readable:
        raise DataError(
            f"{file} has the transfer syntax {getattr(syntax, 'name', None)}, and no decoder for "
            "it is installed",
            hint="decompress the series with `gdcmconv --raw` or dcmtk, or install pylibjpeg "
            "with pylibjpeg-libjpeg and pylibjpeg-openjpeg",
        )


def _optional(header: Dataset, tag: str) -> float | None:
    """Return a number that nothing depends on, None where it is none."""
    try:
        number = float(header.get(tag))
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _numbers(file: Path, header: Dataset, tag: str, n: int) -> tuple[float, ...]:
    value = header.get(tag)
    try:
        numbers = tuple(map(float, value)) if n > 1 else (float(value),)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != n or not all(map(math.isfinite, numbers)):
        raise DataError(f"{file} has {tag} = {value}", hint=CONVERT_HINT)
    return numbers

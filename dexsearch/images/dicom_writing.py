"""Write an image that was computed from a radiograph as a DICOM object of its own.

The object is a Secondary Capture: its numbers come from no detector. It belongs to the patient
and the study of its source, in a new series, and names its source. Nothing else is copied: what
is not in `_COPIED` (private tags above all) stays behind. It holds no date of its own and its
UIDs come from its source, its maker and its pixels, so the same work gives the same object, byte
by byte.

Source   DICOM PS3.3, A.8.1 (Secondary Capture Image IOD), C.7.6.1.1.2 (derived images), C.11.1
         (modality LUT), PS3.5 section 9 (UIDs).
"""

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    generate_uid,
)
from pydicom.valuerep import DSfloat

from dexsearch import DISCLAIMER, __version__
from dexsearch.errors import DataError
from dexsearch.images.writing import whole_file
from dexsearch.wording import printable

SERIES_DESCRIPTION = "research, not for diagnosis"
_LEVELS = 2**16 - 1
_SMALLEST_RANGE = 1e-3
_LONGEST_DESCRIPTION = 1000  # of 1024

_COPIED = (
    # what text is written in, and the patient
    "SpecificCharacterSet", "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate",
    "PatientSex", "PatientAge", "PatientSize", "PatientWeight", "PatientIdentityRemoved",
    "DeidentificationMethod",
    # the study
    "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber",
    "ReferringPhysicianName", "StudyDescription",
    # when, and how the body lies in the image
    "Modality", "AcquisitionDate", "AcquisitionTime", "InstanceNumber", "PatientOrientation",
    "BodyPartExamined", "ViewPosition", "Laterality", "ImageLaterality",
    # how large a pixel is
    "PixelSpacing", "PixelSpacingCalibrationType", "PixelSpacingCalibrationDescription",
    "ImagerPixelSpacing", "EstimatedRadiographicMagnificationFactor",
    # what compression has done to the source's pixels, it has done to these
    "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod",
)  # fmt: skip
_EMPTY_IF_UNKNOWN = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
    "StudyID", "AccessionNumber", "ReferringPhysicianName", "InstanceNumber",
    "PatientOrientation", "Laterality",
)  # fmt: skip
_SERIES_NUMBERS = {"BONE": 9001, "TISSUE": 9002}


@dataclass(frozen=True, slots=True)
class Derivation:
    """Who computed an image, from what, and what it shows.

    Attributes:
        target: what is shown, in one word, such as bone.
        unit: of the values, such as cm.
        model: name and version of the generator.
        weights_sha256: of the generator's weights.
        source_sha256: of the source's file.
        detail: whatever else was done to the image, one sentence.
    """

    target: str
    unit: str
    model: str
    weights_sha256: str
    source_sha256: str
    detail: str = ""

    def __str__(self) -> str:
        """Return the DerivationDescription."""
        parts = [
            f"{self.target} image in {self.unit or 'unknown units'}, predicted from one exposure "
            f"by dexsearch {__version__} with the generator {self.model}, weights sha256 "
            f"{self.weights_sha256}",
            self.detail,
            DISCLAIMER,
        ]
        text = printable("; ".join(part for part in parts if part))
        return text.encode("ascii", "replace").decode()[:_LONGEST_DESCRIPTION]


def write_derived_dicom(
    path: Path,
    image: NDArray[np.float32],
    *,
    source: Dataset,
    made: Derivation,
    window: tuple[float, float],
) -> Path:
    """Write an image on its source's grid, with 16 bits and a rescale; whole or not at all.

    Its values come back within half a step, which is the range of the image (0 included) / 65535.

    Args:
        path: where to.
        image: rows and columns as in the source.
        source: the source's header, from `read_dicom_header`.
        made: what the image is.
        window: values of black and of white that suit a screen.

    Raises:
        DataError: if the source's header cannot be carried over.
        EnvironmentFault: if the file cannot be written.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about values of the source that do not conform
            derived = _derived(image, source, made, window)
            with whole_file(path) as unfinished:
                derived.save_as(unfinished, enforce_file_format=True)
    except (ValueError, TypeError, AttributeError, KeyError, LookupError) as error:
        reason = printable(" ".join(str(error).split()))[:200]
        raise DataError(
            f"{path.name}: patient and study of its source cannot be carried over ({reason})",
            hint="repair the source's header; --kind npy writes plain numbers",
        ) from None
    return path


def _derived(
    image: NDArray[np.float32], source: Dataset, made: Derivation, window: tuple[float, float]
) -> Dataset:
    derived = Dataset()
    for name in _COPIED:
        if name in source:
            derived[name] = source[name]
    for name in _EMPTY_IF_UNKNOWN:
        if name not in derived and not (name == "Laterality" and "ImageLaterality" in derived):
            setattr(derived, name, None)
    _describe(derived, source, made)
    _set_pixels(derived, image)
    _identify(derived, source, made)
    centre, width = (window[0] + window[1]) / 2, window[1] - window[0]
    derived.WindowCenter = DSfloat(centre, auto_format=True)
    derived.WindowWidth = DSfloat(width, auto_format=True)
    derived.VOILUTFunction = "LINEAR_EXACT"  # LINEAR knows no window narrower than 1
    return derived


def _describe(derived: Dataset, source: Dataset, made: Derivation) -> None:
    """Say what kind of image it is and how it came about."""
    target = made.target.upper()[:16]
    derived.ImageType = ["DERIVED", "SECONDARY", target]
    derived.DerivationDescription = str(made)
    derived.SeriesDescription = f"{made.target}: {SERIES_DESCRIPTION}"
    derived.ImageComments = DISCLAIMER
    derived.SeriesNumber = _SERIES_NUMBERS.get(target, 9000)
    derived.ConversionType = "WSD"
    derived.Manufacturer, derived.ManufacturerModelName = "dexsearch", "virtual dual energy"
    derived.SoftwareVersions = __version__
    if "Modality" not in derived:
        derived.Modality = "OT"
    burned = str(source.get("BurnedInAnnotation") or "")
    derived.BurnedInAnnotation = "YES" if burned == "YES" else "NO"  # a network may let it pass


def _identify(derived: Dataset, source: Dataset, made: Derivation) -> None:
    """Give the object and its series UIDs of their own, and name the source."""
    maker = [made.weights_sha256, made.target, made.detail, __version__]
    instance = str(source.get("SOPInstanceUID") or "")
    if not derived.get("StudyInstanceUID"):
        derived.StudyInstanceUID = generate_uid(entropy_srcs=["study", made.source_sha256])
    series = str(source.get("SeriesInstanceUID") or derived.StudyInstanceUID)
    derived.SeriesInstanceUID = generate_uid(entropy_srcs=["series", series, *maker])
    derived.SOPClassUID = SecondaryCaptureImageStorage
    content = hashlib.sha256(derived.PixelData).hexdigest()  # other pixels, another object
    derived.SOPInstanceUID = generate_uid(
        entropy_srcs=["object", instance, made.source_sha256, content, *maker]
    )
    if instance and source.get("SOPClassUID"):
        reference = Dataset()
        reference.ReferencedSOPClassUID = source.SOPClassUID
        reference.ReferencedSOPInstanceUID = instance
        reference.PurposeOfReferenceCodeSequence = [
            _code("121322", "Source image for image processing operation")
        ]
        derived.SourceImageSequence = [reference]
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = derived.SOPClassUID
    meta.MediaStorageSOPInstanceUID = derived.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    derived.file_meta = meta


def _code(value: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
    return code


def _set_pixels(derived: Dataset, image: NDArray[Any]) -> None:
    """Store the values as counts; the rescale is rounded as the file holds it, before counting."""
    low = min(0.0, float(image.min()))
    intercept = DSfloat(low, auto_format=True)
    base = float(str(intercept))  # DSfloat itself keeps the digits that the file drops
    slope = DSfloat(max(float(image.max()) - base, _SMALLEST_RANGE) / _LEVELS, auto_format=True)
    levels = np.round((image.astype(np.float64) - base) / float(str(slope)))
    derived.RescaleIntercept, derived.RescaleSlope, derived.RescaleType = intercept, slope, "US"
    derived.Rows, derived.Columns = image.shape
    derived.SamplesPerPixel, derived.PhotometricInterpretation = 1, "MONOCHROME2"
    derived.BitsAllocated, derived.BitsStored, derived.HighBit = 16, 16, 15
    derived.PixelRepresentation = 0
    derived.PixelData = np.clip(levels, 0, _LEVELS).astype("<u2").tobytes()

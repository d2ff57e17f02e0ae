"""DICOM radiographs: dense is high, turned round once, and a harmful header costs no memory."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForProcessing,
    ExplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from dexsearch.errors import DataError
from dexsearch.images.reading import is_image, read_header, read_image, read_image_size
from tests.images.support.damage import refusals_of_damaged

TOP = 4095
DENSE_HIGH = np.array([[0, 10, 200, 4095], [7, 4000, 1, 2], [5, 5, 90, 3000]], dtype=np.uint16)


def radiograph(pixels: NDArray[Any] = DENSE_HIGH, **attributes: object) -> FileDataset:
    """A DX image FOR PROCESSING in memory, 12 bits, unless the attributes say otherwise."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForProcessing
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.Modality, dataset.PatientID = "DX", "P1"
    dataset.PresentationIntentType = "FOR PROCESSING"
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.PixelData = pixels.tobytes()
    for name, value in attributes.items():
        setattr(dataset, name, value)
    return dataset


def saved(path: Path, pixels: NDArray[Any] = DENSE_HIGH, **attributes: object) -> Path:
    radiograph(pixels, **attributes).save_as(path, enforce_file_format=True)
    return path


def modality_lut() -> Sequence:
    """A falling table: stored value v becomes 1000 - v / 8, whole numbers."""
    item = Dataset()
    item.LUTDescriptor = [TOP + 1, 0, 16]
    item.ModalityLUTType = "US"
    item.add_new("LUTData", "US", [1000 - value // 8 for value in range(TOP + 1)])
    return Sequence([item])


@pytest.mark.parametrize("rescale", [{}, {"RescaleSlope": "0.5", "RescaleIntercept": "-3"}])
@pytest.mark.parametrize("sign", [False, True])
def test_monochrome_1_and_2_give_the_same_dense_high_image(
    tmp_path: Path, rescale: dict[str, str], sign: bool
) -> None:
    two = {"PixelIntensityRelationshipSign": -1} if sign else {}
    one = {"PixelIntensityRelationshipSign": 1} if sign else {}
    light = TOP - DENSE_HIGH
    second = saved(tmp_path / "2.dcm", **rescale, **two)
    first = saved(tmp_path / "1.dcm", light, PhotometricInterpretation="MONOCHROME1", **rescale,
                  **one)  # fmt: skip
    slope, intercept = (0.5, -3.0) if rescale else (1.0, 0.0)
    assert np.array_equal(read_image(second), slope * DENSE_HIGH.astype(np.float32) + intercept)
    assert np.array_equal(read_image(first), read_image(second))
    assert read_header(first).warnings == read_header(second).warnings == ()


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_sign_of_the_intensity_decides_over_the_way_of_display(
    tmp_path: Path, photometric: str, sign: int
) -> None:
    stored = DENSE_HIGH if sign < 0 else TOP - DENSE_HIGH
    path = saved(tmp_path / "a.dcm", stored, PhotometricInterpretation=photometric,
                 PixelIntensityRelationshipSign=sign)  # fmt: skip
    assert np.array_equal(read_image(path), DENSE_HIGH)
    disagree = (sign > 0) != (photometric == "MONOCHROME1")
    assert any("the sign was followed" in line for line in read_header(path).warnings) == disagree


def test_a_falling_modality_lut_turns_the_meaning_of_the_sign(tmp_path: Path) -> None:
    path = saved(
        tmp_path / "a.dcm", TOP - DENSE_HIGH, ModalityLUTSequence=modality_lut(),
        PhotometricInterpretation="MONOCHROME1", PixelIntensityRelationshipSign=1,
    )  # fmt: skip
    image = read_image(path)
    expected = 1000 - (TOP - DENSE_HIGH.astype(int)) // 8
    assert np.array_equal(image, expected)


def test_a_monochrome_1_image_is_turned_round_after_its_modality_lut(tmp_path: Path) -> None:
    path = saved(
        tmp_path / "a.dcm", ModalityLUTSequence=modality_lut(),
        PhotometricInterpretation="MONOCHROME1",
    )  # fmt: skip
    looked_up = 1000 - DENSE_HIGH.astype(int) // 8
    assert np.array_equal(read_image(path), 1000 + (1000 - TOP // 8) - looked_up)


@pytest.mark.parametrize("sign", [-1, 1])
def test_raw_intensities_become_their_logarithm(tmp_path: Path, sign: int) -> None:
    thickness = np.linspace(0, 5, 12).reshape(3, 4)
    intensity = np.round(TOP * np.exp(-thickness)).astype(np.uint16)
    path = saved(
        tmp_path / "a.dcm", intensity if sign > 0 else TOP - intensity,
        PixelIntensityRelationship="LIN", PixelIntensityRelationshipSign=sign,
        PhotometricInterpretation="MONOCHROME1" if sign > 0 else "MONOCHROME2",
    )  # fmt: skip
    assert read_image(path) == pytest.approx(thickness, abs=0.02)
    assert read_header(path).warnings == (
        "linear in the beam's intensity; its logarithm was taken",
    )


def test_unexposed_pixels_have_a_finite_logarithm(tmp_path: Path) -> None:
    path = saved(
        tmp_path / "a.dcm", np.zeros((3, 4), np.uint16), PixelIntensityRelationship="LIN",
        PixelIntensityRelationshipSign=1, PhotometricInterpretation="MONOCHROME1",
    )  # fmt: skip
    assert read_image(path) == pytest.approx(np.log(TOP), rel=1e-6)


def test_signed_pixels_and_8_bits_are_read(tmp_path: Path) -> None:
    signed = DENSE_HIGH.astype(np.int16) - 2048
    path = saved(tmp_path / "a.dcm", signed, PixelRepresentation=1)
    assert np.array_equal(read_image(path), signed)
    small = np.arange(12, dtype=np.uint8).reshape(3, 4)
    path = saved(tmp_path / "b.dcm", small, BitsAllocated=8, BitsStored=8, HighBit=7)
    assert np.array_equal(read_image(path), small)


def test_a_file_without_a_suffix_is_known_by_its_mark(tmp_path: Path) -> None:
    for name in ("IM0001", "1.2.840.113"):
        path = saved(tmp_path / name)
        assert is_image(path)
        assert np.array_equal(read_image(path), DENSE_HIGH)
    (tmp_path / "notes").write_text("x" * 500)
    assert not is_image(tmp_path / "notes")


def test_the_header_tells_size_spacing_and_patient(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.dcm", ImagerPixelSpacing=["0.2", "0.2"],
                 EstimatedRadiographicMagnificationFactor="1.25")  # fmt: skip
    header = read_header(path)
    assert (header.size_px, header.patient) == ((3, 4), "P1")
    assert header.pixel_mm == pytest.approx(0.16)
    assert read_image_size(path) == (3, 4)
    calibrated = saved(tmp_path / "b.dcm", ImagerPixelSpacing=["0.2", "0.2"],
                       PixelSpacing=["0.17", "0.17"], PatientID="")  # fmt: skip
    assert read_header(calibrated).pixel_mm == pytest.approx(0.17)
    assert read_header(calibrated).patient is None
    oblong = saved(tmp_path / "c.dcm", PixelSpacing=["0.2", "0.1"])
    assert read_header(oblong).pixel_mm is None


@pytest.mark.parametrize(
    ("attributes", "warning"),
    [
        ({"PresentationIntentType": "FOR PRESENTATION"}, "prefer FOR PROCESSING"),
        ({"Modality": "CT"}, "its modality is CT"),
        ({"LossyImageCompression": "01"}, "with loss"),
        ({"BurnedInAnnotation": "YES"}, "text burned into"),
    ],
)
def test_what_makes_pixels_doubtful_is_told(
    tmp_path: Path, attributes: dict[str, str], warning: str
) -> None:
    (line,) = read_header(saved(tmp_path / "a.dcm", **attributes)).warnings
    assert warning in line


def test_run_length_encoding_is_decoded(tmp_path: Path) -> None:
    dataset = radiograph()
    dataset.compress(RLELossless)
    dataset.save_as(tmp_path / "a.dcm")
    assert np.array_equal(read_image(tmp_path / "a.dcm"), DENSE_HIGH)


def save_other_frames(path: Path) -> None:
    saved(path, np.stack([DENSE_HIGH, DENSE_HIGH]).reshape(6, 4), NumberOfFrames=2, Rows=3)


def save_colour(path: Path) -> None:
    saved(path, np.zeros((3, 4, 3), np.uint8), SamplesPerPixel=3, BitsAllocated=8, BitsStored=8,
          HighBit=7, PhotometricInterpretation="RGB", PlanarConfiguration=0)  # fmt: skip


def save_without_decoder(path: Path) -> None:
    dataset = radiograph()
    dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
    dataset.PixelData = encapsulate([b"\xff\xd8\xff\xf7rubbish\xff\xd9"])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)


def save_deflated(path: Path) -> None:
    dataset = radiograph()
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(path)


def save_report(path: Path) -> None:
    dataset = radiograph()
    for name in ("Rows", "Columns", "PixelData"):
        delattr(dataset, name)
    dataset.save_as(path)


def save_without_pixels(path: Path) -> None:
    dataset = radiograph()
    del dataset.PixelData
    dataset.save_as(path)


def save_huge(path: Path) -> None:
    saved(path, Rows=65535, Columns=65535)


def save_short(path: Path) -> None:
    saved(path, Rows=8000, Columns=8000)


def save_cut(path: Path) -> None:
    saved(path)
    path.write_bytes(path.read_bytes()[:-6])


def save_cut_header(path: Path) -> None:
    saved(path)
    path.write_bytes(path.read_bytes()[:300])


def save_text(path: Path) -> None:
    path.write_text("not an image")


@pytest.mark.parametrize(
    ("save", "message"),
    [
        (save_other_frames, "holds 2 frames"),
        (save_colour, "pixels are RGB; an X-ray image is MONOCHROME1 or MONOCHROME2"),
        (save_without_decoder, r"compressed \(JPEG-LS .*\) and cannot be decoded"),
        (save_deflated, "deflated"),
        (save_report, "without an image"),
        (save_without_pixels, "without pixels"),
        (save_huge, "is 65535 x 65535 px; at most 8192"),
        (save_short, "not a readable DICOM image"),
        (save_cut, "not a readable DICOM image"),
        (save_cut_header, "not a readable DICOM image|without an image"),
        (save_text, "not a readable DICOM image"),
        (Path.touch, "not a readable DICOM image"),
    ],
)
def test_a_bad_dicom_file_is_named_in_one_line(
    tmp_path: Path, save: Callable[[Path], None], message: str
) -> None:
    path = tmp_path / "a.dcm"
    save(path)
    with pytest.raises(DataError, match=message) as hit:
        read_image(path)
    assert str(path) in str(hit.value)
    assert "\n" not in str(hit.value)
    assert hit.value.hint


@pytest.mark.parametrize("save", [save_huge, save_short])
def test_a_header_that_promises_too_much_costs_no_memory(
    tmp_path: Path, save: Callable[[Path], None]
) -> None:
    save(tmp_path / "a.dcm")
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            read_image(tmp_path / "a.dcm")
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


def test_every_cut_of_a_file_is_refused(tmp_path: Path) -> None:
    whole = saved(tmp_path / "a.dcm").read_bytes()
    for length in range(0, len(whole), 23):
        (tmp_path / "cut.dcm").write_bytes(whole[:length])
        with pytest.raises(DataError):
            read_image(tmp_path / "cut.dcm")


def test_a_damaged_file_is_read_or_refused_in_one_line(tmp_path: Path) -> None:
    messages = refusals_of_damaged(saved(tmp_path / "a.dcm"), n_times=200)
    assert messages
    assert all(message.isprintable() for message in messages)

"""Derived DICOM objects: of the source's patient and study, new in all else, exact enough."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.uid import (
    UID,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)

from dexsearch.errors import DataError, EnvironmentFault
from dexsearch.images.dicom_file import read_dicom_header
from dexsearch.images.dicom_writing import Derivation, write_derived_dicom
from dexsearch.images.reading import read_header, read_image
from tests.images.support.dx import dx_image

MADE = Derivation(
    target="bone", unit="cm", model="dexsearch-joint version 3", weights_sha256="ab" * 32,
    source_sha256="cd" * 32,
)  # fmt: skip
BONE = np.random.default_rng(0).uniform(-0.05, 3.2, (7, 9)).astype(np.float32)
WINDOW = (0.0, 3.0)


def save_source(path: Path, shape: tuple[int, int] = (7, 9), **attributes: Any) -> Path:  # noqa: ANN401
    """A DX image FOR PROCESSING with a patient, a study and a private tag."""
    dataset = dx_image(shape)
    dataset.SpecificCharacterSet, dataset.PatientName = "ISO_IR 192", "Müller^Zoë"
    dataset.StudyID, dataset.AccessionNumber = "7", "A9"
    dataset.StudyDate, dataset.SeriesDescription = "20260102", "chest pa"
    dataset.OperatorsName, dataset.PhotometricInterpretation = "Some^One", "MONOCHROME1"
    dataset.ImagerPixelSpacing, dataset.PatientOrientation = ["0.2", "0.2"], ["L", "F"]
    dataset.WindowCenter, dataset.WindowWidth = 2000, 3000
    rows, columns = np.indices(shape)
    dataset.PixelData = (4095 - 40 * rows - 9 * columns).astype("<u2").tobytes()
    dataset.private_block(0x11, "SECRET", create=True).add_new(1, "LO", "private name")
    for name, value in attributes.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


def write(
    path: Path, source: Path, image: NDArray[np.float32] = BONE, made: Derivation = MADE
) -> Dataset:
    write_derived_dicom(path, image, source=read_dicom_header(source), made=made, window=WINDOW)
    return dcmread(path)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return save_source(tmp_path / "source.dcm")


@pytest.mark.parametrize(
    "image",
    [
        BONE,
        np.zeros((7, 9), np.float32),
        np.full((7, 9), 2.5, np.float32),
        np.full((7, 9), -0.3, np.float32),
        BONE * 1e-4,
        BONE * 1e6,
    ],
    ids=["bone", "nothing", "constant", "all negative", "tiny", "huge"],
)
def test_values_come_back_within_half_a_step(
    tmp_path: Path, source: Path, image: NDArray[np.float32]
) -> None:
    written = write(tmp_path / "bone.dcm", source, image)
    step = max(float(image.max()) - min(0.0, float(image.min())), 1e-3) / 65535
    assert float(written.RescaleSlope) == pytest.approx(step, rel=1e-6)
    exact = written.pixel_array * float(written.RescaleSlope) + float(written.RescaleIntercept)
    assert np.abs(exact - image).max() <= 0.5001 * step
    read = read_image(tmp_path / "bone.dcm")
    assert np.abs(read - image).max() <= 0.51 * step + 1e-7 * np.abs(image).max()


def test_thickness_below_zero_is_kept_and_zero_is_the_lowest_count_otherwise(
    tmp_path: Path, source: Path
) -> None:
    assert write(tmp_path / "a.dcm", source).RescaleIntercept == pytest.approx(BONE.min())
    assert write(tmp_path / "b.dcm", source, BONE + 1).RescaleIntercept == 0


def test_the_object_belongs_to_the_patient_and_study_in_a_series_of_its_own(
    tmp_path: Path, source: Path
) -> None:
    bone = write(tmp_path / "bone.dcm", source)
    original = dcmread(source)
    for name in (
        "PatientName", "PatientID", "StudyInstanceUID", "StudyDate", "StudyID", "AccessionNumber",
        "Modality", "PatientOrientation", "ImagerPixelSpacing",
    ):  # fmt: skip
        assert bone[name].value == original[name].value, name
    assert str(bone.PatientName) == "Müller^Zoë"
    assert bone.SeriesInstanceUID != original.SeriesInstanceUID
    assert bone.SOPInstanceUID != original.SOPInstanceUID
    assert bone.SOPInstanceUID == bone.file_meta.MediaStorageSOPInstanceUID
    assert UID(bone.SOPInstanceUID).is_valid
    assert UID(bone.SeriesInstanceUID).is_valid
    assert bone.SOPClassUID == SecondaryCaptureImageStorage
    assert read_header(tmp_path / "bone.dcm").pixel_mm == pytest.approx(0.2)


def test_the_object_says_what_it_is_and_what_made_it(tmp_path: Path, source: Path) -> None:
    bone = write(tmp_path / "bone.dcm", source)
    assert list(bone.ImageType) == ["DERIVED", "SECONDARY", "BONE"]
    assert bone.SeriesDescription == "bone: research, not for diagnosis"
    assert bone.BurnedInAnnotation == "NO"
    for part in ("dexsearch-joint version 3", "ab" * 32, "dexsearch 0.1.0", "not for diagnosis"):
        assert part in bone.DerivationDescription
    (named,) = bone.SourceImageSequence
    assert named.ReferencedSOPInstanceUID == "1.2.3.4"
    assert named.ReferencedSOPClassUID == DigitalXRayImageStorageForProcessing
    assert (bone.PhotometricInterpretation, bone.BitsStored) == ("MONOCHROME2", 16)
    assert (bone.WindowCenter, bone.WindowWidth) == (1.5, 3.0)


def test_nothing_private_and_nobody_but_the_patient_is_copied(
    tmp_path: Path, source: Path
) -> None:
    bone = write(tmp_path / "bone.dcm", source)
    assert not [element for element in bone if element.tag.is_private]
    assert "OperatorsName" not in bone
    assert b"private name" not in (tmp_path / "bone.dcm").read_bytes()


def test_the_same_work_gives_the_same_object_and_other_work_another(
    tmp_path: Path, source: Path
) -> None:
    first = write(tmp_path / "a.dcm", source)
    write(tmp_path / "b.dcm", source)
    assert (tmp_path / "a.dcm").read_bytes() == (tmp_path / "b.dcm").read_bytes()
    fields = {"target": "tissue", "weights_sha256": "00" * 32, "source_sha256": "11" * 32}
    uids = {first.SOPInstanceUID}
    for name, value in fields.items():
        values = {n: getattr(MADE, n) for n in ("target", "unit", "model", "weights_sha256",
                                                "source_sha256")}  # fmt: skip
        other = write(tmp_path / "c.dcm", source, made=Derivation(**{**values, name: value}))
        uids.add(other.SOPInstanceUID)
    assert len(uids) == 4


def test_other_pixels_of_the_same_work_are_another_object_of_the_same_series(
    tmp_path: Path, source: Path
) -> None:
    one, two = write(tmp_path / "a.dcm", source), write(tmp_path / "b.dcm", source, BONE + 1)
    assert one.SOPInstanceUID != two.SOPInstanceUID
    assert one.SeriesInstanceUID == two.SeriesInstanceUID


def test_images_of_one_series_become_one_series(tmp_path: Path, source: Path) -> None:
    second = save_source(tmp_path / "2.dcm", SOPInstanceUID="1.2.3.5")
    one, two = write(tmp_path / "a.dcm", source), write(tmp_path / "b.dcm", second)
    assert one.SeriesInstanceUID == two.SeriesInstanceUID
    assert one.SOPInstanceUID != two.SOPInstanceUID


def test_text_burned_into_the_source_may_be_in_the_object(tmp_path: Path) -> None:
    burned = save_source(tmp_path / "s.dcm", BurnedInAnnotation="YES")
    assert write(tmp_path / "a.dcm", burned).BurnedInAnnotation == "YES"


def test_loss_of_the_source_stays_marked(tmp_path: Path) -> None:
    lossy = save_source(tmp_path / "s.dcm", LossyImageCompression="01")
    assert write(tmp_path / "a.dcm", lossy).LossyImageCompression == "01"


def test_a_source_without_study_or_patient_gives_a_whole_object(tmp_path: Path) -> None:
    bare = save_source(tmp_path / "s.dcm")
    dataset = dcmread(bare)
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "PatientName", "PatientID", "StudyDate",
                 "SOPInstanceUID", "PatientOrientation"):  # fmt: skip
        delattr(dataset, name)
    dataset.save_as(bare)
    bone = write(tmp_path / "a.dcm", bare)
    assert UID(bone.StudyInstanceUID).is_valid
    assert "SourceImageSequence" not in bone
    assert "PatientName" in bone


def test_a_hostile_model_name_stays_within_its_tag(tmp_path: Path, source: Path) -> None:
    made = Derivation("bone", "cm", "x\r\n\x1b[31m" + "é" * 3000, "ab" * 32, "cd" * 32)
    described = write(tmp_path / "a.dcm", source, made=made).DerivationDescription
    assert len(described) <= 1024
    assert described.isprintable()


def test_a_place_that_cannot_be_written_is_an_environment_fault(
    tmp_path: Path, source: Path
) -> None:
    (tmp_path / "taken.dcm").mkdir()
    with pytest.raises(EnvironmentFault, match="cannot write"):
        write(tmp_path / "taken.dcm", source)


def test_a_header_that_cannot_be_carried_over_leaves_no_file(tmp_path: Path, source: Path) -> None:
    header = read_dicom_header(source)
    header["PatientID"]._value = object()
    with pytest.raises(DataError, match="cannot be carried over"):
        write_derived_dicom(tmp_path / "a.dcm", BONE, source=header, made=MADE, window=WINDOW)
    assert [path.name for path in tmp_path.iterdir()] == ["source.dcm"]

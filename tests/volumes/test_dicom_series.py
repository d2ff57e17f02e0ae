"""A folder of DICOM slices as a volume: what is read exactly, and what is refused by name."""

import contextlib
import warnings
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import nibabel
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RLELossless, generate_uid

from dexsearch.errors import DataError
from dexsearch.volumes.ct import (
    ct_info,
    ct_patient,
    ct_sha256,
    load_ct,
    refuse_mixed_patients,
)
from dexsearch.volumes.dicom_series import DicomSeriesReader, split_selector
from dexsearch.volumes.nifti import NiftiReader

JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

Change = Callable[[int, Dataset], None]


def body_hu() -> NDArray[np.int16]:
    """A body in LPS axes from feet to head; its bone is high up, in front, to the left."""
    hu = np.full((6, 20, 24), -1000, np.int16)
    hu[:, 4:16, 4:20] = 40
    hu[4:, 5:7, 16:18] = 900
    return hu


def slice_of(pixels: NDArray[np.int16], position: NDArray[np.float64]) -> Dataset:
    one = Dataset()
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = CTImageStorage
    one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    one.Modality, one.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    one.SeriesDescription, one.SeriesNumber, one.KVP = "CHEST 2.0", 3, 110
    one.ImagePositionPatient = [f"{x:.6f}" for x in position]
    one.RescaleSlope, one.RescaleIntercept, one.RescaleType = 1, -1024, "HU"
    one.Rows, one.Columns = pixels.shape
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 0
    one.PixelData = (pixels.astype(np.int32) + 1024).astype(np.uint16).tobytes()
    return one


def write_series(
    folder: Path,
    hu: NDArray[np.int16],
    *,
    spacing: tuple[float, float, float] = (3.0, 2.0, 2.5),
    first_mm: tuple[float, float, float] = (-20.0, -30.0, -100.0),
    orientation: tuple[float, ...] = AXIAL,
    series: str = "1.2.826.0.1.77",
    change: Change = lambda index, one: None,
) -> Path:
    """Write slices in shuffled order under names that say nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    normal = np.cross(orientation[:3], orientation[3:])
    names = np.random.default_rng(len(series)).permutation(len(hu))
    for index, (pixels, name) in enumerate(zip(hu, names, strict=True)):
        one = slice_of(pixels, np.array(first_mm) + index * spacing[0] * normal)
        one.SeriesInstanceUID = series
        one.PixelSpacing = list(spacing[1:])
        one.ImageOrientationPatient = [f"{x:.8f}" for x in orientation]
        one.InstanceNumber = int(name)
        change(index, one)
        pydicom.dcmwrite(folder / f"{series[-2:]}{name:04d}", one, enforce_file_format=True)
    return folder


def sitk_voxels(folder: Path) -> NDArray[np.generic]:
    """Read with SimpleITK and turn into our axes: head to feet, front to back, right to left."""
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is the oracle of this test")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return np.asarray(sitk.GetArrayFromImage(sitk.DICOMOrient(reader.Execute(), "LPS")))[::-1]


def test_a_series_holds_bit_for_bit_what_the_nifti_holds(
    tmp_path: Path, shared_data: Path
) -> None:
    chest = shared_data / "ct" / "cptac_pda_c3n00249_chest_ct_3mm.nii.gz"
    nifti = NiftiReader(chest)
    ours = nifti.values()
    centre = np.array(nifti.header.centre_mm)
    corner = centre - 1.5 * (np.array(ours.shape)[::-1] - 1)
    folder = write_series(
        tmp_path / "series", ours[::-1], spacing=(3.0, 3.0, 3.0), first_mm=tuple(corner)
    )
    dicom = DicomSeriesReader(folder)
    np.testing.assert_array_equal(dicom.values(), ours)
    np.testing.assert_array_equal(sitk_voxels(folder), ours)
    assert dicom.header.spacing_mm == nifti.header.spacing_mm
    assert dicom.header.centre_mm == pytest.approx(centre, abs=1e-3)
    assert ct_sha256(folder) == ct_sha256(chest)


def test_slope_and_intercept_are_each_slices_own(tmp_path: Path) -> None:
    def rescaled(index: int, one: Dataset) -> None:
        one.RescaleSlope, one.RescaleIntercept = 0.5 + 0.25 * index, -1000.25 - index

    folder = write_series(tmp_path / "series", body_hu(), change=rescaled)
    values = DicomSeriesReader(folder).values()
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, sitk_voxels(folder).astype(np.float32))
    assert values[-1, 10, 10] == 0.5 * (40 + 1024) - 1000.25


@pytest.mark.parametrize(
    "orientation",
    [
        AXIAL,
        (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0),
        (1.0, 0.0, 0.0, 0.0, -1.0, 0.0),
        (1.0, 0.0, 0.0, 0.0, 0.0, -1.0),
        (0.0, 1.0, 0.0, 0.0, 0.0, -1.0),
        (np.cos(0.2), np.sin(0.2), 0.0, -np.sin(0.2), np.cos(0.2), 0.0),
    ],
    ids=["axial", "prone view", "feet first", "coronal", "sagittal", "11 degrees oblique"],
)
def test_any_orientation_is_turned_into_our_axes(
    tmp_path: Path, orientation: tuple[float, ...]
) -> None:
    hu = np.random.default_rng(0).integers(-1000, 900, (4, 5, 6)).astype(np.int16)
    folder = write_series(tmp_path / "series", hu, orientation=orientation)
    reader = DicomSeriesReader(folder)
    values = reader.values()
    np.testing.assert_array_equal(values, sitk_voxels(folder))
    assert reader.header.shape == values.shape


def test_the_bone_lies_where_it_was(tmp_path: Path) -> None:
    subject = load_ct(write_series(tmp_path / "ann", body_hu()))
    z, y, x = np.argwhere(subject.bone > 0.3).mean(axis=0) / subject.bone.shape
    assert subject.name == "ann"
    assert z < 0.4
    assert y < 0.4
    assert x > 0.6


def test_the_header_tells_extent_voltage_and_contrast(tmp_path: Path) -> None:
    def contrast(index: int, one: Dataset) -> None:
        one.ContrastBolusAgent = "Iohexol" if index else ""

    plain = write_series(tmp_path / "plain", body_hu())
    given = write_series(tmp_path / "given", body_hu(), change=contrast)
    assert ct_info(plain).extent_mm == (18.0, 40.0, 60.0)
    assert ct_info(plain).kvp == 110.0
    assert ct_info(plain).contrast_agent is None
    assert ct_info(given).contrast_agent == "Iohexol"


def test_sub_folders_are_searched_and_what_is_no_ct_slice_is_passed_over(tmp_path: Path) -> None:
    def elsewhere(index: int, one: Dataset) -> None:
        one.Modality, one.SOPClassUID = "SR", "1.2.840.10008.5.1.4.1.1.88.67"

    def localizer(index: int, one: Dataset) -> None:
        one.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    folder = write_series(tmp_path / "study" / "deep" / "series", body_hu()).parents[1]
    write_series(folder / "report", body_hu()[:1], series="1.2.5", change=elsewhere)
    write_series(folder / "scout", body_hu()[:1], series="1.2.6", change=localizer)
    (folder / "README.txt").write_text("exported on a Monday")
    assert DicomSeriesReader(folder).header.shape == (6, 20, 24)


def test_renamed_files_are_the_same_ct_and_one_changed_voxel_is_not(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "ann", body_hu())
    before = ct_sha256(folder)
    for number, file in enumerate(sorted(folder.iterdir(), reverse=True)):
        file.rename(folder / f"x{number}.dcm")
    assert ct_sha256(folder) == before
    hu = body_hu()
    hu[0, 0, 0] += 1
    assert ct_sha256(write_series(tmp_path / "bob", hu)) != before
    assert ct_sha256(write_series(tmp_path / "eve", body_hu(), spacing=(3.5, 2, 2))) != before


def test_of_several_series_one_is_chosen_by_its_uid(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "study", body_hu(), series="1.2.3.40")
    other = body_hu()
    other[other == 40] = 60
    write_series(folder, other[:5], series="1.2.3.50")
    with pytest.raises(DataError, match=r"holds 2 CT series(.|\n)*1\.2\.3\.40.*6 slices") as told:
        DicomSeriesReader(folder)
    assert "1.2.3.50: series 3, CHEST 2.0, 5 slices, 110 kVp" in str(told.value)
    assert "FOLDER#UID" in str(told.value.hint)
    chosen = tmp_path / "study#3.50"
    assert ct_info(chosen).name == "study-3.50"
    assert ct_info(chosen).extent_mm[0] == 15.0
    assert load_ct(chosen).soft.max() < load_ct(tmp_path / "study#3.40").soft.max() + 0.1
    with pytest.raises(DataError, match=r"study#3\.50 has 5 x .*study#3\.40 has 6 x"):
        load_ct([tmp_path / "study#3.40", tmp_path / "study#3.50"], kvp=(80, 140))
    with pytest.raises(DataError, match=r"2 of them end with '0'"):
        ct_info(tmp_path / "study#0")
    with pytest.raises(DataError, match=r"0 of them end with '9'"):
        ct_info(tmp_path / "study#9")


def test_a_folder_whose_name_has_the_mark_is_a_folder(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "case #7", body_hu())
    assert split_selector(folder) == (folder, None)
    assert ct_info(folder).name == "case #7"


def at(position: int, **tags: object) -> Change:
    """Set tags of one slice; None takes a tag away."""

    def change(index: int, one: Dataset) -> None:
        if index == position:
            for tag, value in tags.items():
                if value is None:
                    delattr(one, tag)
                else:
                    setattr(one, tag, value)

    return change


def everywhere(**tags: object) -> Change:
    return lambda index, one: at(index, **tags)(index, one)


def every_second(index: int, one: Dataset) -> None:
    one.InstanceNumber, one.SliceThickness = 2 * index + 1, 1.5


def thin_slices_far_apart(index: int, one: Dataset) -> None:
    one.InstanceNumber, one.SliceThickness = index + 1, 1.0


def tilted(index: int, one: Dataset) -> None:
    one.ImagePositionPatient = [0, -100 + 3 * index * np.tan(np.deg2rad(15)), 3 * index]


def test_thin_slices_that_were_made_far_apart_are_a_volume(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "ct", body_hu(), change=thin_slices_far_apart)
    assert DicomSeriesReader(folder).header.spacing_mm[0] == 3.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (at(2, ImagePositionPatient=[-20, -30, -97]), r"1 slice lies where.* 77.* both at -97 mm"),
        (at(5, ImagePositionPatient=[-20, -30, -82]), r"missing: from 77.* 6 mm, elsewhere 3"),
        (at(5, ImagePositionPatient=[-20, -30, -84]), r"slices are uneven: .* are 4 mm"),
        (every_second, r"missing: their InstanceNumbers are 2 apart, and slices of 1\.5 mm lie 3"),
        (tilted, r"gantry tilt of 15\.0 degrees"),
        (at(4, PixelSpacing=[2, 2.6]), r"differ in pixel spacing: 2 x 2\.(5|6) and 2 x 2"),
        (at(4, ImageOrientationPatient=[1, 0, 0, 0, 0.9848, 0.1736]), r"differ in orientation"),
        (at(4, ImagePositionPatient=None), r"lacks ImagePositionPatient"),
        (at(4, RescaleSlope=None, PixelSpacing=None), r"lacks PixelSpacing, RescaleSlope"),
        (at(4, RescaleIntercept=""), r"lacks RescaleIntercept"),
        (everywhere(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), r"no two directions"),
        (everywhere(ImageOrientationPatient=[1, 0, 0, 0, 0.8, 0.6]), r"gantry tilt of 36\.9 deg"),
        (everywhere(PixelSpacing=[2, 400]), r"voxels of 3 x 2 x 400 mm"),
        (everywhere(RescaleType="MGML"), r"values in MGML, not in Hounsfield"),
        (everywhere(PhotometricInterpretation="MONOCHROME1"), r"MONOCHROME1"),
        (everywhere(Modality="MR"), r"no DICOM CT slices; it holds 6 .*modality MR"),
        (everywhere(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), r"it holds 6 localizers"),
        (at(1, KVP=80), r"slices taken at 80 and 110 kVp"),
    ],
)
def test_what_is_no_sound_series_is_refused(tmp_path: Path, change: Change, message: str) -> None:
    folder = write_series(tmp_path / "bad", body_hu(), change=change)
    with pytest.raises(DataError, match=message) as refusal:
        DicomSeriesReader(folder)
    assert "bad" in str(refusal.value)
    assert refusal.value.hint


def test_a_series_with_a_hole_names_its_two_sides(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "hole", body_hu())
    for file in folder.iterdir():
        if pydicom.dcmread(file).ImagePositionPatient[2] in (-94, -91):
            file.unlink()
    with pytest.raises(DataError, match=r"from 77\d+ at -97 mm to 77\d+ at -88 mm are 9 mm"):
        DicomSeriesReader(folder)


def test_slices_of_another_size_are_refused(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "mixed", body_hu()[:3])
    write_series(
        folder / "more", body_hu()[:3, :10], first_mm=(-20, -30, -91), series="1.2.826.0.1.77"
    )
    with pytest.raises(DataError, match=r"differ in size: \d+ x 24 and \d+ x 24 pixels"):
        DicomSeriesReader(folder)


def test_a_series_far_from_the_patients_axes_is_refused(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "head", body_hu(), orientation=(1, 0, 0, 0, 0.8, 0.6))
    with pytest.raises(DataError, match="lies 37 degrees off the patient's axes"):
        DicomSeriesReader(folder)


def test_a_single_slice_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds one slice"):
        load_ct(write_series(tmp_path / "one", body_hu()[:1]))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no DICOM CT slices; it holds no file"):
        load_ct(tmp_path / "empty")
    one_file = next((tmp_path / "one").iterdir())
    with pytest.raises(DataError, match="no volume that can be read") as refusal:
        load_ct(one_file)
    assert "give the folder" in str(refusal.value.hint)


def test_what_needs_a_missing_decoder_is_refused_before_it_is_read(tmp_path: Path) -> None:
    def compressed(index: int, one: Dataset) -> None:
        one.file_meta.TransferSyntaxUID = JPEG_LOSSLESS
        one.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xd9"])

    with pytest.raises(DataError, match=r"transfer syntax JPEG Lossless.*no decoder") as refusal:
        DicomSeriesReader(write_series(tmp_path / "jpeg", body_hu(), change=compressed))
    assert "pylibjpeg" in str(refusal.value.hint)


def test_a_compression_that_pydicom_undoes_itself_is_read(tmp_path: Path) -> None:
    packed = write_series(
        tmp_path / "rle", body_hu(), change=lambda index, one: one.compress(RLELossless)
    )
    plain = write_series(tmp_path / "plain", body_hu())
    np.testing.assert_array_equal(
        DicomSeriesReader(packed).values(), DicomSeriesReader(plain).values()
    )


def test_a_file_that_breaks_off_is_refused_by_name(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "cut", body_hu())
    broken = folder / "770003"
    broken.write_bytes(broken.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"770003 cannot be read") as refusal:
        load_ct(folder)
    assert refusal.value.hint == "copy the file again"


@pytest.mark.parametrize("seed", range(8))
def test_a_header_of_flipped_bytes_is_read_or_refused_in_one_line(
    tmp_path: Path, seed: int
) -> None:
    folder = write_series(tmp_path / "bad", body_hu()[:3])
    victim = folder / "770001"
    content = bytearray(victim.read_bytes())
    rng = np.random.default_rng(seed)
    for place in rng.integers(132, len(content) - 1000, 4):
        content[place] = rng.integers(0, 256)
    victim.write_bytes(bytes(content))
    with warnings.catch_warnings(), contextlib.suppress(DataError):
        warnings.simplefilter("ignore")
        DicomSeriesReader(folder).values()


def test_a_series_and_a_nifti_of_it_are_one_patient(tmp_path: Path) -> None:
    hu = body_hu()
    folder = write_series(tmp_path / "ann", hu)
    affine = np.diag([-2.5, -2.0, 3.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(hu.transpose(2, 1, 0), affine), tmp_path / "bob.nii.gz")
    assert ct_sha256(folder) == ct_sha256(tmp_path / "bob.nii.gz")


def test_series_of_one_patient_are_told_by_their_headers(tmp_path: Path) -> None:
    def ann(index: int, one: Dataset) -> None:
        one.PatientID, one.FrameOfReferenceUID = "ANN 7", "1.2.840.99"

    def position(index: int, one: Dataset) -> None:
        one.PatientID, one.FrameOfReferenceUID = "Anonymous", "1.2.840.99"

    first, second = (write_series(tmp_path / f"{n}" / "ct", body_hu(), change=ann) for n in "12")
    third = write_series(tmp_path / "3" / "ct", body_hu(), change=position)
    assert ct_patient(first) == "ANN 7"
    assert ct_patient(third) is None
    with pytest.raises(DataError, match="share the PatientID"):
        refuse_mixed_patients([first, second], same_patient=False)
    with pytest.raises(DataError, match="share the FrameOfReferenceUID"):
        refuse_mixed_patients([first, third], same_patient=False)
    assert refuse_mixed_patients([first, second, third], same_patient=True) == ()


def test_a_series_of_two_patients_is_refused(tmp_path: Path) -> None:
    def mixed(index: int, one: Dataset) -> None:
        one.PatientID = "Ann" if index else "Bob"

    with pytest.raises(DataError, match="slices of 2 patients") as refusal:
        ct_info(write_series(tmp_path / "mixed", body_hu(), change=mixed))
    assert "Ann" not in str(refusal.value)


def test_what_a_ct_is_takes_one_pass_over_its_headers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_series(tmp_path / "ann", body_hu())
    opened = Mock(wraps=pydicom.dcmread)
    monkeypatch.setattr(pydicom, "dcmread", opened)
    info = ct_info(folder)
    assert (info.name, info.kvp, info.extent_mm) == ("ann", 110.0, (18.0, 40.0, 60.0))
    refuse_mixed_patients([info, info], same_patient=True)
    assert opened.call_count == len(body_hu())
    assert info.sha256() == ct_sha256(folder)

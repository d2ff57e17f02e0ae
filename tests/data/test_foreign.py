"""Radiographs in folders, matched by name: formats may differ, patients are never split."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

from dexsearch.data.foreign import find_folders
from dexsearch.data.importing import import_pairs
from dexsearch.data.splits import Split
from dexsearch.data.store import Dataset
from dexsearch.errors import DataError

SHAPE = (40, 36)
Save = Callable[[Path, NDArray[np.uint16]], None]


def radiograph(number: int) -> NDArray[np.uint16]:
    """A disc in an empty field, another for every number."""
    y, x = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]]
    body = (y - 20) ** 2 + (x - 18) ** 2 < 15**2
    return (body * (1000 + 100 * number + 8 * y + 5 * x)).astype(np.uint16)


def save_png(path: Path, image: NDArray[np.uint16]) -> None:
    Image.fromarray(image).save(path.with_name(path.name + ".png"))


def save_tiff(path: Path, image: NDArray[np.uint16]) -> None:
    tifffile.imwrite(path.with_name(path.name + ".tif"), image)


def save_npy(path: Path, image: NDArray[np.uint16]) -> None:
    np.save(path.with_name(path.name + ".npy"), image)


def dicom_of(patient: str, *, spacing_mm: float = 0.4, suffix: str = ".dcm") -> Save:
    def save(path: Path, image: NDArray[np.uint16]) -> None:
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        dataset.Modality, dataset.PatientID = "CR", patient
        dataset.Rows, dataset.Columns = image.shape
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME1"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
        dataset.PixelRepresentation = 0
        dataset.ImagerPixelSpacing = [str(spacing_mm), str(spacing_mm)]
        dataset.PixelData = (65535 - image).tobytes()
        dataset.save_as(path.with_name(path.name + suffix), enforce_file_format=True)

    return save


def lay_out(
    source: Path, names: list[str], *, kinds: tuple[str, ...] = ("input", "bone", "tissue"),
    save: Save | dict[str, Save] = save_png,
) -> Path:  # fmt: skip
    for number, name in enumerate(names):
        for shift, kind in enumerate(kinds):
            path = source / kind / name
            path.parent.mkdir(parents=True, exist_ok=True)
            (save if callable(save) else save[kind])(path, radiograph(number + 10 * shift))
    return source


def imported(
    source: Path, *, subject_pattern: str | None = None, split: Split | Path | None = None
) -> tuple[Dataset, list[str]]:
    notes: list[str] = []
    dataset = import_pairs(
        source.parent / "out", find_folders(source), size_px=32, tell=notes.append,
        subject_pattern=subject_pattern, split=split,
    )  # fmt: skip
    return dataset, notes


def subjects_by_subset(dataset: Dataset) -> list[set[str]]:
    return [
        set(dataset.manifest.subjects(subset)) for subset in ("train", "validation", "holdout")
    ]


NAMES = [f"p{number}_{view}" for number in range(5) for view in ("front", "side")]


def test_formats_may_differ_between_folders_and_give_one_dataset(tmp_path: Path) -> None:
    saves = {"input": save_tiff, "bone": save_npy, "tissue": save_png}
    plain, _ = imported(lay_out(tmp_path / "a" / "src", NAMES))
    mixed, _ = imported(lay_out(tmp_path / "b" / "src", NAMES, save=saves))
    assert plain.manifest.files == mixed.manifest.files
    assert plain.manifest.n_images == len(NAMES)
    assert plain.manifest.pixel_mm is None


def test_without_anything_better_every_name_is_a_subject_and_this_is_said(tmp_path: Path) -> None:
    dataset, notes = imported(lay_out(tmp_path / "src", NAMES))
    assert set.union(*subjects_by_subset(dataset)) == set(NAMES)
    assert notes == [
        "each of 10 files counts as another subject; --subject-pattern groups views of one "
        "patient, which must not be in two subsets"
    ]
    assert not dataset.manifest.one_volume


def assert_no_patient_is_split(dataset: Dataset, patients: set[str]) -> None:
    parts = subjects_by_subset(dataset)
    assert set.union(*parts) == patients
    assert sum(len(part) for part in parts) == len(patients)
    assert dataset.manifest.n_images == len(NAMES)


def test_a_pattern_keeps_the_views_of_a_patient_together(tmp_path: Path) -> None:
    dataset, notes = imported(lay_out(tmp_path / "src", NAMES), subject_pattern=r"^(p\d+)_")
    assert_no_patient_is_split(dataset, {f"p{number}" for number in range(5)})
    assert notes == ["10 images of 5 subjects"]
    names = {info.name for infos in dataset.manifest.images.values() for info in infos}
    assert names == set(NAMES)


def test_sub_folders_are_subjects(tmp_path: Path) -> None:
    names = [name.replace("_", "/") for name in NAMES]
    dataset, notes = imported(lay_out(tmp_path / "src", names))
    assert_no_patient_is_split(dataset, {f"p{number}" for number in range(5)})
    assert notes == []


def test_sub_folders_of_poses_keep_their_angles(tmp_path: Path) -> None:
    names = [f"p{number}/0_m15_{turn}" for number in range(3) for turn in (0, 20)]
    dataset, _ = imported(lay_out(tmp_path / "src", names))
    poses = {info.pose_deg for infos in dataset.manifest.images.values() for info in infos}
    assert poses == {(0, -15, 0), (0, -15, 20)}
    assert not dataset.manifest.one_volume


@pytest.mark.parametrize("suffix", [".dcm", ""])
def test_the_patient_id_of_dicom_files_decides(tmp_path: Path, suffix: str) -> None:
    source = tmp_path / "src"
    for name in NAMES:
        dicom = dicom_of(f"ID{name[1]}", suffix=suffix)
        tissue = save_png if suffix else dicom  # of another format, where names stay equal
        lay_out(source, [name], save={"input": dicom, "bone": dicom, "tissue": tissue})
    dataset, notes = imported(source)
    assert_no_patient_is_split(dataset, {f"ID{number}" for number in range(5)})
    assert notes == ["subjects are named by PatientID, also in the dataset's manifest.json"]
    assert dataset.manifest.pixel_mm == pytest.approx(0.4 * 40 / 32)
    middle = dataset.arrays("train").input[0, 16, 16]
    assert 1000 < middle < 1800  # MONOCHROME1 was turned round: dense is high


def test_spacings_that_differ_are_not_kept(tmp_path: Path) -> None:
    source = tmp_path / "src"
    for number in range(3):
        lay_out(
            source, [f"v{number}"], save=dicom_of(f"P{number}", spacing_mm=0.25 * (number + 1))
        )
    dataset, notes = imported(source)
    assert dataset.manifest.pixel_mm is None
    assert "pixel spacings differ (0.25 to 0.75 mm), so none is kept" in notes


@pytest.mark.parametrize(("kept", "missing"), [("bone", "tissue"), ("tissue", "bone")])
def test_one_target_is_enough(tmp_path: Path, kept: str, missing: str) -> None:
    dataset, _ = imported(lay_out(tmp_path / "src", NAMES, kinds=("input", kept)))
    assert dataset.manifest.targets == (kept,)
    assert set(dataset.manifest.units) == {"input", kept}
    with pytest.raises(DataError, match=f"holds no {missing} images"):
        dataset.arrays("train").target(missing)


def test_a_folder_of_unknown_name_is_asked_about(tmp_path: Path) -> None:
    source = lay_out(tmp_path / "src", NAMES, kinds=("input", "tissue", "BSE"))
    with pytest.raises(DataError, match="tissue images alone are imported with --tissue-dir"):
        find_folders(source)
    assert find_folders(source, tissue_dir=Path("tissue")).bone is None
    assert find_folders(source, bone_dir=Path("BSE")).bone == source / "BSE"
    with pytest.raises(DataError, match="folder of two kinds"):
        find_folders(source, bone_dir=Path("input"))


def test_a_copy_of_another_subject_s_image_is_told(tmp_path: Path) -> None:
    source = lay_out(tmp_path / "src", NAMES)
    shutil.copy(source / "input" / "p0_front.png", source / "input" / "p3_side.png")
    _, notes = imported(source, subject_pattern=r"^(p\d+)")
    assert len(notes) == 2
    assert "warning: 1 input(s) are copies" in notes[1]
    assert "p3_side.png of " in notes[1]


def test_a_given_split_is_followed(tmp_path: Path) -> None:
    source = lay_out(tmp_path / "src", NAMES)
    split = Split(
        rule="by hand",
        by_subject={f"p{n}": ("train", "validation", "holdout", "train", "train")[n]
                    for n in range(5)},
    )  # fmt: skip
    dataset, _ = imported(source, subject_pattern=r"^(p\d+)", split=split)
    assert subjects_by_subset(dataset) == [{"p0", "p3", "p4"}, {"p1"}, {"p2"}]
    with pytest.raises(DataError, match="subject 'p0_front' is not part of the split"):
        imported(source, split=split)


def test_a_split_file_is_followed_and_names_subjects_as_the_import_does(tmp_path: Path) -> None:
    source, file = lay_out(tmp_path / "src", NAMES), tmp_path / "split.json"
    lists = {"train": ["p0", "p3", "p4"], "validation": ["p1"], "holdout": ["p2"]}
    file.write_text(json.dumps(lists))
    dataset, _ = imported(source, subject_pattern=r"^(p\d+)", split=file)
    assert subjects_by_subset(dataset) == [set(part) for part in lists.values()]
    with pytest.raises(DataError, match=r"split\.json: .*unknown subjects"):
        imported(source, split=file)


def test_an_import_that_was_stopped_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = lay_out(tmp_path / "src", [f"v{number}" for number in range(40)])
    folders, done = find_folders(source), []

    def stop_at_20(count: int, _: int) -> None:
        done.append(count)
        if count == 20 and done.count(20) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_pairs(tmp_path / "out", folders, size_px=32, progress=stop_at_20)
    continued = import_pairs(tmp_path / "out", folders, size_px=32, progress=stop_at_20)
    assert done == [*range(1, 21), *range(17, 41)]
    whole = import_pairs(tmp_path / "again", folders, size_px=32)
    assert continued.manifest == whole.manifest

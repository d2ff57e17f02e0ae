import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dexsearch.data.checking import CheckReport, FileCheck, check_dataset
from dexsearch.data.store import Dataset
from dexsearch.errors import DataError
from tests.data.conftest import samples


def found(report: CheckReport, file: str) -> FileCheck:
    (check,) = (check for check in report.files if check.file == file)
    return check


def test_a_healthy_dataset_is_ok_in_every_file(dataset: Dataset) -> None:
    report = check_dataset(dataset.path)
    assert report.ok
    assert {check.state for check in report.files} == {"ok"}
    assert len(report.files) == 1 + 3 * len(dataset.manifest.arrays)
    assert "every byte is what was written" in str(report)
    assert dataset.manifest.digest[:12] in str(report)


@pytest.mark.parametrize("subset", ["train", "validation", "holdout"])
@pytest.mark.parametrize("place", [-1, 200])
def test_one_flipped_bit_is_found(dataset: Dataset, subset: str, place: int) -> None:
    path = dataset.path / subset / "tissue.npy"
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    report = check_dataset(dataset.path)
    assert not report.ok
    check = found(report, f"{subset}/tissue.npy")
    assert check.state == "changed"
    assert "sha256" in check.problems[-1]
    assert report.n_problems == 1
    assert f"problems in 1 of {len(report.files)} files" in str(report)


def test_a_missing_file_is_named(dataset: Dataset) -> None:
    (dataset.path / "validation" / "mask.npy").unlink()
    (dataset.path / "holdout" / "bone.npy").unlink()
    report = check_dataset(dataset.path)
    assert not report.ok
    assert found(report, "validation/mask.npy").state == "missing"
    assert found(report, "holdout/bone.npy").state == "missing"


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_a_value_that_is_not_finite_is_named_with_its_image(
    dataset: Dataset, value: float
) -> None:
    path = dataset.path / "train" / "bone.npy"
    images = np.load(path)
    images[2, 5, 7] = images[2, 6, 1] = value
    np.save(path, images)
    check = found(check_dataset(dataset.path), "train/bone.npy")
    label = dataset.manifest.images["train"][2].label
    assert check.state == "not finite"
    assert check.problems[0] == f"not finite: {label} (row 5, column 7: {value})"
    assert "sha256" in check.problems[1]


def test_many_spoiled_images_are_counted(dataset: Dataset) -> None:
    path = dataset.path / "train" / "input.npy"
    np.save(path, np.full_like(np.load(path), np.nan))
    n_images = len(dataset.manifest.images["train"])
    check = found(check_dataset(dataset.path), "train/input.npy")
    assert f"and {n_images - 3} more images" in check.problems[0]


@pytest.mark.parametrize("n_bytes", [-100, 10])
def test_a_file_of_another_length_is_found(dataset: Dataset, n_bytes: int) -> None:
    path = dataset.path / "train" / "bone.npy"
    content = path.read_bytes()
    path.write_bytes(content[:n_bytes] if n_bytes < 0 else content + bytes(n_bytes))
    check = found(check_dataset(dataset.path), "train/bone.npy")
    assert check.state == "wrong size"
    assert f"{len(content) + n_bytes} bytes, not {len(content)}" in check.problems[0]


def test_an_empty_file_and_another_array_are_found(dataset: Dataset) -> None:
    (dataset.path / "train" / "bone.npy").write_bytes(b"")
    np.save(dataset.path / "train" / "mask.npy", np.zeros((2, 3), dtype=np.float64))
    report = check_dataset(dataset.path)
    assert "not a .npy file" in found(report, "train/bone.npy").problems[0]
    assert "holds float64 (2, 3)" in found(report, "train/mask.npy").problems[0]


@pytest.mark.parametrize(
    ("key", "value"),
    [("input_std", 2.5), ("pixel_mm", 7.0), ("source", {"seed": 1}), ("digest", "0" * 64)],
)
def test_a_changed_manifest_is_found(dataset: Dataset, key: str, value: object) -> None:
    path = dataset.path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    report = check_dataset(dataset.path)
    assert not report.ok
    assert found(report, "manifest.json").state == "changed"
    assert report.n_problems == 1


def test_no_finding_hides_another(dataset: Dataset) -> None:
    shutil.rmtree(dataset.path / "validation")
    (dataset.path / "train" / "mask.npy").unlink()
    bone = dataset.path / "train" / "bone.npy"
    bone.write_bytes(bone.read_bytes()[:-1])
    report = check_dataset(dataset.path)
    assert report.n_problems == 2 + len(dataset.manifest.arrays)


def test_an_absent_holdout_is_not_checked_and_no_problem(dataset: Dataset) -> None:
    shutil.rmtree(dataset.path / "holdout")
    report = check_dataset(dataset.path)
    assert report.ok
    assert found(report, "holdout").state == "not here"
    assert "not here, not checked" in str(report)


def test_a_file_that_does_not_belong_is_noted(dataset: Dataset) -> None:
    (dataset.path / "train" / "notes.txt").write_text("mine")
    report = check_dataset(dataset.path)
    assert report.ok
    assert report.unknown_files == ("train/notes.txt",)
    assert "not part of the dataset: train/notes.txt" in str(report)


def test_progress_ends_at_the_sum_of_all_bytes(dataset: Dataset) -> None:
    told: list[tuple[int, int]] = []
    check_dataset(dataset.path, progress=lambda done, total: told.append((done, total)))
    total = sum(path.stat().st_size for path in dataset.path.rglob("*.npy"))
    assert told[-1] == (total, total)
    assert told == sorted(told)


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        check_dataset(tmp_path / "nowhere")


@pytest.mark.parametrize("subset", ["train", "holdout"])
def test_edges_are_checked_like_every_array(write: Callable[..., Dataset], subset: str) -> None:
    edges = np.full((24, 24), 0.1, dtype=np.float32)
    path = write(replace(sample, edges=edges) for sample in samples()).path
    assert check_dataset(path).ok
    images = np.load(path / subset / "edges.npy")
    images[0, 3, 4] = np.nan
    np.save(path / subset / "edges.npy", images)
    check = found(check_dataset(path), f"{subset}/edges.npy")
    assert check.state == "not finite"
    assert "(row 3, column 4: nan)" in check.problems[0]
    (path / subset / "edges.npy").unlink()
    assert found(check_dataset(path), f"{subset}/edges.npy").state == "missing"

import json
from pathlib import Path

import pytest
import yaml

from dexsearch.data.split_file import read_split_file, split_file_of
from dexsearch.data.splits import Pose, Split, split_poses
from dexsearch.data.store import Dataset, Sample, write_dataset
from dexsearch.errors import DataError
from tests.data.conftest import UNITS, make_sample

SUBJECTS = ("a", "b", "c", "d")
FIXED = {"train": ["a", "d"], "validation": ["b"], "holdout": ["c"]}
POSES: tuple[Pose, ...] = tuple((0.0, 0.0, float(z)) for z in range(0, 180, 5))


def written(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize("dump", [json.dumps, yaml.safe_dump])
def test_json_and_yaml_fix_the_subset_of_every_subject(tmp_path: Path, dump: object) -> None:
    path = written(tmp_path / "split.yaml", dump(FIXED))  # type: ignore[operator]
    split = read_split_file(path, subjects=SUBJECTS)
    assert split.by_subject == {"a": "train", "d": "train", "b": "validation", "c": "holdout"}
    assert split.rule.startswith("from file split.yaml sha256 ")


def test_another_content_is_another_rule(tmp_path: Path) -> None:
    swapped = {**FIXED, "validation": ["c"], "holdout": ["b"]}
    rules = {
        read_split_file(written(tmp_path / "s.json", split), subjects=SUBJECTS).rule
        for split in (FIXED, swapped)
    }
    assert len(rules) == 2


def test_poses_of_one_volume_are_fixed_and_the_others_left_out(tmp_path: Path) -> None:
    lists = {
        "train": [[0, 0, 5], [0, -0.0, 10]],
        "validation": [[0, 0, 45]],
        "holdout": [[0, 0, 90.0]],
    }
    split = read_split_file(
        written(tmp_path / "s.json", lists), subjects=["patient"] * 3, poses=POSES
    )
    assert split.subset("patient", (0.0, 0.0, 10.0)) == "train"
    assert split.subset("patient", (0.0, 0.0, 90.0)) == "holdout"
    assert split.subset("patient", (0.0, 0.0, 20.0)) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "neither JSON nor YAML"),
        ("[1]", "got list; expected"),
        ({"train": ["a"]}, r"got \['train'\]; expected"),
        ({**FIXED, "test": ["a"]}, "'test'"),
        ({**FIXED, "train": []}, r"train is \[\], expected a list that is not empty"),
        ({**FIXED, "train": "a"}, "train is 'a'"),
        ({**FIXED, "train": ["a", "b", "d"]}, r"lists twice b \(train, validation\)"),
        ({**FIXED, "train": ["a", "a", "d"]}, r"lists twice a \(train, train\)"),
        ({**FIXED, "train": ["a", "d", "x"]}, "names the unknown subjects x"),
        ({**FIXED, "train": ["a"]}, "does not say where to put d"),
        ({**FIXED, "train": ["a", 7]}, r"got 'a'; expected names"),
        ({**FIXED, "train": [7, 8]}, "subjects"),
    ],
)
def test_a_split_that_cannot_be_meant_is_refused(
    tmp_path: Path, content: object, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_split_file(written(tmp_path / "s.json", content), subjects=SUBJECTS[:4])


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ([[0, 0, 1]], r"unknown poses \[0.0, 0.0, 1.0\]"),
        ([[0, 0, 45]], r"lists twice \(0.0, 0.0, 45.0\) \(train, validation\)"),
        ([[0, 0]], r"got \[0, 0\]; expected"),
        ([[0, 0, True]], "expected"),
    ],
)
def test_poses_that_cannot_be_meant_are_refused(
    tmp_path: Path, train: object, message: str
) -> None:
    lists = {"train": train, "validation": [[0, 0, 45]], "holdout": [[0, 0, 90]]}
    with pytest.raises(DataError, match=message):
        read_split_file(written(tmp_path / "s.json", lists), subjects=["p"], poses=POSES)


def test_poses_never_split_a_cohort(tmp_path: Path) -> None:
    lists = {"train": [[0, 0, 0]], "validation": [[0, 0, 45]], "holdout": [[0, 0, 90]]}
    with pytest.raises(DataError, match="lists poses, but there are 4 subjects"):
        read_split_file(written(tmp_path / "s.json", lists), subjects=SUBJECTS, poses=POSES)


def test_many_unknown_names_are_counted(tmp_path: Path) -> None:
    many = {**FIXED, "train": ["a", "d", *(f"x{index}" for index in range(9))]}
    with pytest.raises(DataError, match="x0, x1, x2, x3, x4 and 4 more") as hit:
        read_split_file(written(tmp_path / "s.json", many), subjects=SUBJECTS)
    assert hit.value.hint == "known are a, b, c, d"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read the split file"):
        read_split_file(tmp_path / "nowhere.json", subjects=SUBJECTS)


def test_a_dataset_gives_the_file_of_its_own_split(dataset: Dataset, tmp_path: Path) -> None:
    images = dataset.manifest.images
    names = [info.subject for infos in images.values() for info in infos]
    path = written(tmp_path / "s.json", split_file_of(dataset))
    split = read_split_file(path, subjects=names)
    for subset, infos in images.items():
        assert {split.subset(info.subject, info.pose_deg) for info in infos} == {subset}


def test_one_volume_gives_the_file_of_its_poses(tmp_path: Path) -> None:
    split = split_poses(POSES)
    samples: list[Sample] = [make_sample("patient-1", pose) for pose in POSES]
    dataset = write_dataset(
        tmp_path / "ct", samples, split, kind="ct", pixel_mm=None, units=UNITS, source={}
    )
    path = written(tmp_path / "s.json", split_file_of(dataset))
    again: Split = read_split_file(path, subjects=["patient-1"], poses=POSES)
    assert again.by_pose == split.by_pose

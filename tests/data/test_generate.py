"""Phantom cohorts and CTs become datasets that follow from their seed."""

import os
from pathlib import Path

import nibabel
import numpy as np
import pytest

from dexsearch.data.generate import generate_ct, generate_phantom
from dexsearch.data.store import open_dataset
from dexsearch.data.workers import map_in_processes
from dexsearch.errors import ConfigurationError, DataError
from dexsearch.physics.detector import Exposure, log_projection
from dexsearch.physics.projection import Detector
from dexsearch.training.baselines import baselines

REPOSITORY = Path(__file__).parents[2]
SHARED = Path(os.environ.get("DEXSEARCH_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
REAL = SHARED / "ct" / "cptac_pda_c3n00249_chest_ct_3mm.nii.gz"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cohort") / "dataset"
    generate_phantom(path, subjects=3, poses=3, size_px=32, seed=7, map_tasks=map)
    return path


def test_a_cohort_has_every_subject_in_one_subset(cohort: Path) -> None:
    images = open_dataset(cohort).manifest.images
    assert {subset: len(infos) for subset, infos in images.items()} == {
        "train": 3,
        "validation": 3,
        "holdout": 3,
    }
    subjects = [{info.subject for info in infos} for infos in images.values()]
    assert len(set.union(*subjects)) == 3


def test_the_input_is_the_exposure_of_the_targets(cohort: Path) -> None:
    dataset = open_dataset(cohort)
    arrays = dataset.arrays("train")
    assert dataset.manifest.pixel_mm == pytest.approx(10.0)
    detector = Detector(size_px=32, pixel_mm=10.0)
    for image in range(3):
        lengths = [
            target[image].repeat(detector.supersample, 0).repeat(detector.supersample, 1)
            for target in (arrays.tissue, arrays.bone)
        ]
        clean = log_projection(*lengths, Exposure(), detector=detector, rng=None)
        noise = (arrays.input[image] - clean)[arrays.mask[image]]
        assert 1e-4 < np.median(np.abs(noise)) < 0.03
        assert -0.05 < noise.mean() < 0.01, "edges within a pixel let more through"


@pytest.mark.slow
def test_processes_and_this_process_make_the_same_bytes(cohort: Path, tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    again = generate_phantom(
        tmp_path / "again",
        subjects=3,
        poses=3,
        size_px=32,
        seed=7,
        map_tasks=lambda f, tasks: map_in_processes(f, tasks, n_workers=2),
        progress=lambda n_done, n_all: done.append((n_done, n_all)),
    )
    assert again.manifest.digest == open_dataset(cohort).manifest.digest
    assert done == [(3, 9), (6, 9), (9, 9)]


def test_another_seed_makes_another_cohort(cohort: Path, tmp_path: Path) -> None:
    other = generate_phantom(
        tmp_path / "other", subjects=3, poses=3, size_px=32, seed=8, map_tasks=map
    )
    assert other.manifest.digest != open_dataset(cohort).manifest.digest


def test_the_same_request_is_not_made_twice(cohort: Path) -> None:
    def refuse(*_: object) -> list[object]:
        raise AssertionError("nothing is to be made")

    generate_phantom(cohort, subjects=3, poses=3, size_px=32, seed=7, map_tasks=refuse)
    with pytest.raises(DataError):
        generate_phantom(cohort, subjects=3, poses=4, size_px=32, seed=7, map_tasks=refuse)


@pytest.mark.parametrize(
    ("settings", "message"), [({"kvp": 40.0}, "60 to 140"), ({"dose_mas": 0.0}, "above 0 mAs")]
)
def test_settings_that_no_tube_has_are_refused(
    tmp_path: Path, settings: dict[str, float], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        generate_phantom(tmp_path / "out", subjects=3, poses=1, **settings)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_two_cts_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="different names"):
        generate_ct(tmp_path / "out", [tmp_path / "a.nii", tmp_path / "b" / "a.nii"])


def test_one_ct_is_not_two_patients(tmp_path: Path) -> None:
    values = np.arange(-1000, -488, dtype=np.int16).reshape(8, 8, 8)
    for name in ("ann.nii.gz", "bob.nii"):
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / name)
    with pytest.raises(DataError, match=r"ann\.nii\.gz and .*bob\.nii are the same CT"):
        generate_ct(tmp_path / "out", [tmp_path / "ann.nii.gz", tmp_path / "bob.nii"])


@pytest.mark.slow
def test_the_nearest_pose_of_another_body_is_no_answer_for_bone(tmp_path: Path) -> None:
    dataset = generate_phantom(tmp_path / "cohort", subjects=10, poses=8, size_px=64, seed=3)
    scores = baselines(dataset)
    assert scores.nearest_pose["bone"] < 0.8
    assert scores.nearest_pose["bone"] > scores.constant["bone"]


@pytest.mark.skipif(not REAL.is_file(), reason=f"no CT at {REAL}")
def test_a_ct_is_split_in_blocks_of_poses(tmp_path: Path) -> None:
    dataset = generate_ct(tmp_path / "ct", [REAL], poses=36, size_px=32, map_tasks=map)
    turns = {
        subset: [info.pose_deg[2] for info in infos]
        for subset, infos in dataset.manifest.images.items()
    }
    assert all(len(angles) >= 4 for angles in turns.values())
    assert min(turns["validation"]) - max(turns["train"]) >= 15.0
    assert np.isfinite(dataset.arrays("train").input).all()

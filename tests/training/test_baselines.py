"""Baselines on a dataset whose truths are known in closed form."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dexsearch.data.samples import SCORED_MARGIN_PX
from dexsearch.data.splits import Split
from dexsearch.data.store import Dataset, Sample, write_dataset
from dexsearch.training.baselines import (
    affine_fit,
    baselines,
    nearest_training_images,
    pose_distance_deg,
)
from dexsearch.training.metrics import EROSION_PX

SIZE_PX = 32
SPLIT = Split(
    rule="by hand",
    by_subject={"a": "train", "b": "train", "v": "validation", "h": "holdout"},
)
POSES = ((0.0, 0.0, 0.0), (0.0, 0.0, 10.0), (0.0, 0.0, 350.0))


def make(subject: str, pose: tuple[float, float, float]) -> Sample:
    """Bone is exactly affine in the input; tissue is noise of its own."""
    rng = np.random.default_rng([ord(subject), int(pose[2])])
    rows, columns = np.mgrid[0:SIZE_PX, 0:SIZE_PX] / SIZE_PX
    level = {"a": 0.0, "b": 5.0, "v": 4.9, "h": 4.901}[subject]
    image = np.sin(12 * rows + pose[2]) + np.cos(9 * columns) + level
    return Sample(
        subject=subject,
        pose_deg=pose,
        input=image.astype(np.float32),
        bone=(2 * image - 1).astype(np.float32),
        tissue=rng.normal(10, 1, image.shape).astype(np.float32),
        mask=np.pad(np.ones((26, 26), dtype=bool), 3),
    )


def write(path: Path, samples: Iterator[Sample], unit: str = "") -> Dataset:
    units = {"bone": unit, "tissue": unit}
    return write_dataset(
        path, samples, SPLIT, kind="ct", pixel_mm=None, units=units, source={"path": path.name}
    )


def cohort() -> Iterator[Sample]:
    for subject in SPLIT.by_subject:
        for pose in POSES:
            yield make(subject, pose)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return write(tmp_path / "cohort", cohort())


def chosen_images(dataset: Dataset) -> list[int]:
    infos = dataset.manifest.images
    return nearest_training_images(
        dataset.arrays("train"),
        infos["train"],
        dataset.arrays("validation"),
        infos["validation"],
    ).tolist()


def test_the_line_of_an_affine_target_is_found(dataset: Dataset) -> None:
    fit = affine_fit(dataset.arrays("train"), "bone")
    assert (fit.slope, fit.offset) == pytest.approx((2.0, -1.0), abs=1e-5)
    train = dataset.arrays("train")
    assert fit.mean_target == pytest.approx(train.bone[train.mask].mean(), rel=1e-5)


def test_an_affine_copy_of_the_input_is_perfect_where_the_target_is_affine(
    dataset: Dataset,
) -> None:
    scores = baselines(dataset)
    assert scores.identity_affine["bone"] == pytest.approx(1.0, abs=1e-5)
    assert scores.whole_image["identity_affine"]["bone"] == pytest.approx(1.0, abs=1e-4)
    assert scores.identity_affine["tissue"] < 0.2
    assert scores.constant["bone"] < 0.5
    assert set(scores.masked()) == {"identity_affine", "nearest_pose", "constant"}


def test_the_nearest_pose_is_taken_and_among_equals_the_nearest_input(dataset: Dataset) -> None:
    infos = dataset.manifest.images["train"]
    found = [infos[index] for index in chosen_images(dataset)]
    assert [info.pose_deg for info in found] == list(POSES)
    assert {info.subject for info in found} == {"b"}


def test_nearest_pose_never_looks_at_validation_or_holdout_images(
    dataset: Dataset, tmp_path: Path
) -> None:
    # Every validation image has its exact copy in the hold-out and among its own subject's
    # poses; were either looked at, the baseline would be perfect.
    def copied() -> Iterator[Sample]:
        for sample in cohort():
            if sample.subject == "h":
                sample = replace(make("v", sample.pose_deg), subject="h")
            yield sample

    with_copies = write(tmp_path / "copied", copied())
    before, after = baselines(dataset), baselines(with_copies)
    assert after.nearest_pose == before.nearest_pose
    assert after.nearest_pose["tissue"] < 0.2


def test_baselines_do_not_need_the_holdout(dataset: Dataset) -> None:
    before = baselines(dataset)
    for path in (dataset.path / "holdout").iterdir():
        path.unlink()
    assert baselines(dataset) == before


def test_path_lengths_in_half_precision_score_like_those_in_full(
    dataset: Dataset, tmp_path: Path
) -> None:
    halved = write(tmp_path / "halved", cohort(), unit="cm")
    assert halved.arrays("train").bone.dtype == np.float16
    exact, rounded = baselines(dataset), baselines(halved)
    for method, scores in exact.masked().items():
        assert rounded.masked()[method] == pytest.approx(scores, abs=2e-3)
        assert rounded.whole_image[method] == pytest.approx(exact.whole_image[method], abs=2e-3)


@pytest.mark.parametrize("absent", ["bone", "tissue"])
def test_a_dataset_of_one_target_has_the_baselines_of_that_target(
    dataset: Dataset, tmp_path: Path, absent: str
) -> None:
    single = write(
        tmp_path / "single",
        (replace(sample, **{absent: None}) for sample in cohort()),  # type: ignore[arg-type]
    )
    (target,) = {"bone", "tissue"} - {absent}
    expected, found = baselines(dataset), baselines(single)
    for method, scores in expected.masked().items():
        assert found.masked()[method] == {target: scores[target]}
        assert found.whole_image[method] == {target: expected.whole_image[method][target]}


def test_images_are_refused_by_the_margin_that_scores_look_inside() -> None:
    assert SCORED_MARGIN_PX == EROSION_PX


def test_pose_distance_is_the_angle_between_the_two_views() -> None:
    poses = [(0.0, 0.0, 355.0), (30.0, 0.0, 0.0), (0.0, 0.0, 0.0)]
    assert pose_distance_deg(poses, (0.0, 0.0, 0.0)).tolist() == pytest.approx(
        [5, 30, 0], abs=0.01
    )

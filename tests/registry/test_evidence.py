import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dexsearch.errors import ConfigurationError, DataError
from dexsearch.inference.package import Package
from dexsearch.inference.predict import load_predictor
from dexsearch.registry import evidence
from dexsearch.registry.comparison import Comparison, ScoredImage, worst_first
from dexsearch.registry.evidence import (
    common_targets,
    compare_packages,
    refuse_absent_holdout,
    worst_regressions,
)
from dexsearch.training.metrics import masked_ssim

sys.path.insert(0, str(Path(__file__).parent / "support"))
from hold_out import HoldOut, make_hold_out


@pytest.fixture(scope="module")
def hold_out(tmp_path_factory: pytest.TempPathFactory) -> HoldOut:
    """Nine hold-out subjects; read only."""
    return make_hold_out(tmp_path_factory.mktemp("evidence"), 9)


@pytest.fixture
def press(hold_out: HoldOut, tmp_path: Path) -> HoldOut:
    """The same dataset, with generators in a workspace of the test's own."""
    return HoldOut(tmp_path, hold_out.dataset)


def compare(
    press: HoldOut,
    a: Package,
    b: Package,
    *,
    target: str | None = None,
    labels: tuple[str, str] = ("A", "B"),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Comparison:
    return compare_packages(
        a, b, press.dataset, target=target, margin=0.005, progress=progress, labels=labels
    )


def test_the_generator_that_is_better_is_called_better(press: HoldOut) -> None:
    good, bad = press.package(1.0, trial=0), press.package(0.4, trial=1)
    forth, back = compare(press, good, bad), compare(press, bad, good)
    assert (forth.verdict, back.verdict) == ("better", "worse")
    assert forth.result.difference == pytest.approx(-back.result.difference)
    assert (forth.result.n_subjects, forth.result.n_images) == (9, 18)


def test_a_generator_is_not_worse_than_itself(press: HoldOut) -> None:
    package = press.package(0.8)
    found = compare(press, package, package)
    assert (found.verdict, found.result.low, found.result.high) == ("not worse", 0.0, 0.0)


def test_every_score_is_that_of_the_image_alone(press: HoldOut) -> None:
    a, b = press.package(1.0, trial=0), press.package(0.5, trial=1)
    found = compare(press, a, b)
    arrays = press.dataset.arrays("holdout")
    ranges = press.dataset.manifest.data_ranges
    for side, package in (("a", a), ("b", b)):
        predictor = load_predictor(package)
        for index, image in enumerate(found.images):
            predicted = predictor.predict(np.array(arrays.input[index]))
            for channel, target in enumerate(("bone", "tissue")):
                truth = torch.from_numpy(arrays.target(target)[index].astype(np.float32))
                expected = masked_ssim(
                    torch.from_numpy(predicted[target])[None, None], truth[None, None],
                    data_range=ranges[target],
                    mask=torch.from_numpy(np.array(arrays.mask[index]))[None, None],
                )  # fmt: skip
                score = getattr(image, side)[channel]
                assert score == pytest.approx(float(expected), abs=2e-6)
    mean = np.mean([image.difference for image in found.images])  # two images each
    assert found.result.difference == pytest.approx(mean)


def test_scores_do_not_depend_on_the_batch(
    press: HoldOut, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = press.package(1.0, trial=0), press.package(0.5, trial=1)
    whole = compare(press, a, b)
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(evidence, "images_scored_at_once", lambda size_px: 4)
    parts = compare(press, a, b, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(4, 18), (8, 18), (12, 18), (16, 18), (18, 18)]
    for one, other in zip(whole.images, parts.images, strict=True):
        assert one.a == pytest.approx(other.a, abs=1e-6)


def test_joint_and_bone_are_paired_on_bone(press: HoldOut) -> None:
    joint, bone = press.package(1.0, trial=0), press.package(0.4, task="bone", trial=1)
    found = compare(press, joint, bone)
    assert (found.targets, found.by_target) == (("bone",), {})
    of_joint = compare(press, joint, joint, target="bone")
    assert [image.a for image in found.images] == [image.a for image in of_joint.images]


def test_two_joint_generators_are_compared_on_both_and_told_apart_by_target(
    press: HoldOut,
) -> None:
    a, b = press.package(1.0, trial=0), press.package(0.4, trial=1)
    found = compare(press, a, b)
    assert found.targets == ("bone", "tissue") == tuple(found.by_target)
    mean = np.mean([result.difference for result in found.by_target.values()])
    assert found.result.difference == pytest.approx(mean)
    assert set(found.as_json()["by_target"]) == {"bone", "tissue"}


def test_nothing_in_common_is_refused_with_a_hint(press: HoldOut) -> None:
    bone, tissue = (press.package(1.0, task=task, trial=i) for i, task in enumerate(
        ("bone", "tissue")
    ))  # fmt: skip
    with pytest.raises(ConfigurationError, match="A predicts bone, B tissue") as refused:
        common_targets(bone, tissue, None)
    assert "a joint one shares both" in str(refused.value.hint)
    joint = press.package(1.0, trial=2)
    with pytest.raises(ConfigurationError, match="nothing to compare on tissue") as refused:
        common_targets(joint, bone, "tissue")
    assert "--target bone" in str(refused.value.hint)


@pytest.mark.parametrize(
    ("other", "told"),
    [({"dataset": "e" * 64}, "dataset .* against 'eeeeeeeeeeee'"),
     ({"metric": 2}, "metric definition '1' against '2'")],
)  # fmt: skip
def test_other_digests_and_metrics_are_refused(
    press: HoldOut, other: dict[str, Any], told: str
) -> None:
    a, b = press.package(1.0, trial=0), press.package(1.0, trial=1, **other)
    with pytest.raises(ConfigurationError, match=told):
        compare(press, a, b)


def test_a_metric_that_this_version_does_not_compute_is_refused(press: HoldOut) -> None:
    a, b = (press.package(1.0, trial=i, metric=2) for i in range(2))
    with pytest.raises(ConfigurationError, match=r"definition 2; this version .* computes 1"):
        compare(press, a, b)


def test_a_dataset_that_is_another_is_refused(press: HoldOut) -> None:
    a, b = (press.package(1.0, trial=i, dataset="e" * 64) for i in range(2))
    with pytest.raises(ConfigurationError, match="eeeeeeeeeeee"):
        compare(press, a, b)


def test_a_generator_that_predicts_nan_is_refused(press: HoldOut) -> None:
    a, b = press.package(1.0, trial=0), press.package(math.nan, trial=1)
    with pytest.raises(DataError, match="no finite score"):
        compare(press, a, b)


@pytest.fixture
def own(tmp_path: Path) -> HoldOut:
    return make_hold_out(tmp_path / "workspace", 2)


def test_a_holdout_that_was_taken_away_is_a_data_error(own: HoldOut) -> None:
    package = own.package(1.0)
    (own.dataset.path / "holdout" / "bone.npy").unlink()
    with pytest.raises(DataError, match=r"hold-out cannot be opened.*bone\.npy") as refused:
        refuse_absent_holdout(own.dataset)
    assert refused.value.exit_code == 7
    with pytest.raises(DataError, match="is missing"):
        compare(own, package, package)


def test_one_changed_byte_in_the_holdout_is_refused(own: HoldOut) -> None:
    package = own.package(1.0)
    path = own.dataset.path / "holdout" / "tissue.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"tissue\.npy: changed since it was written"):
        compare(own, package, package)


def test_a_changed_manifest_is_refused(own: HoldOut) -> None:
    package = own.package(1.0)
    manifest = replace(own.dataset.manifest, data_ranges={"bone": 9.0, "tissue": 9.0})
    changed = HoldOut(own.workspace, replace(own.dataset, manifest=manifest))
    with pytest.raises(DataError, match="changed since"):
        compare(changed, package, package)


def scored(subject: str, difference: float) -> ScoredImage:
    return ScoredImage(subject, (0.0, 0.0, 0.0), "", (0.5 + difference,), (0.5,))


def test_the_worst_image_of_each_subject_is_shown_worst_first() -> None:
    images = (scored("x", -0.1), scored("y", -0.2), scored("x", -0.3), scored("z", 0.1))
    assert worst_first(images, 5) == (2, 1, 3)
    assert worst_first(images, 1) == (2,)


def test_regressions_hold_both_predictions_of_the_image(press: HoldOut) -> None:
    a, b = press.package(0.4, trial=0), press.package(1.0, trial=1)
    found = compare(press, a, b)
    rows = worst_regressions(found, a, b, press.dataset, n=2)
    assert len(rows) == 4  # two images of two targets
    index = worst_first(found.images, 1)[0]
    arrays = press.dataset.arrays("holdout")
    np.testing.assert_array_equal(rows[0].input, arrays.input[index])
    expected = load_predictor(a).predict(np.array(arrays.input[index]))["tissue"]
    np.testing.assert_allclose(rows[1].a, expected, atol=1e-5)
    assert rows[0].ssim_a < rows[0].ssim_b
    assert rows[0].unit == "cm"


def test_the_text_tells_what_a_reader_needs(press: HoldOut) -> None:
    a, b = press.package(1.0, trial=0), press.package(0.4, trial=1)
    text = str(compare(press, a, b, labels=("joint/2", "evil\x1b[2J")))
    for told in ("A joint/2", "B evil\\x1b[2J", "18 images of 9 subjects", "95 % interval",
                 "9 of 9 subjects", "Wilcoxon p = 0.0039 (exact)", "smallest detectable",
                 "verdict: better"):  # fmt: skip
        assert told in text
    assert "\x1b" not in text

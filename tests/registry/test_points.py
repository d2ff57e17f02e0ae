"""Laws of the points that a ledger makes."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from dexsearch.ledger.study import StudyRecord
from dexsearch.registry.points import best_epoch, best_so_far, epoch_points

MakeStudy = Callable[..., StudyRecord]
QUALITY = {"bone_suppression": 0.75, "bone_leakage": float("nan"), "psnr_bone": 21.0}


def test_quality_is_named_so_and_belongs_to_the_final_epoch(make_study: MakeStudy) -> None:
    (trial,) = make_study("complete", quality=QUALITY).trials
    quality = {p.key: (p.value, p.step) for p in epoch_points(trial) if "quality" in p.key}
    assert quality == {"quality_bone_suppression": (0.75, 3), "quality_psnr_bone": (21.0, 3)}


def test_a_ledger_without_quality_gives_the_same_other_points(make_study: MakeStudy) -> None:
    (trial,) = make_study("complete", quality=QUALITY).trials
    earlier = {
        epoch: {key: value for key, value in record.items() if key != "quality"}
        for epoch, record in trial.epochs.items()
    }
    expected = [point for point in epoch_points(trial) if "quality" not in point.key]
    assert epoch_points(replace(trial, epochs=earlier)) == expected
    assert {point.key for point in expected} == {
        "val_ssim", "val_ssim_bone", "val_psnr", "loss_l1", "seconds",
    }  # fmt: skip


def test_points_are_timed_by_the_seconds_of_the_epochs(make_study: MakeStudy) -> None:
    (trial,) = make_study("complete").trials
    times = [
        p.timestamp_ms for p in epoch_points(replace(trial, started=10.0)) if p.key == "seconds"
    ]
    assert times == [10_250, 10_500, 10_750]


def test_what_is_no_finite_number_is_left_out(make_study: MakeStudy) -> None:
    (trial,) = make_study("complete").trials
    odd = {1: {"val_ssim": float("inf"), "val_psnr": None, "note": "text", "seconds": 1}}
    assert [p.key for p in epoch_points(replace(trial, epochs=odd))] == ["seconds"]


def test_the_best_score_never_falls_and_counts_complete_trials(make_study: MakeStudy) -> None:
    points = best_so_far(make_study("complete", "failed", "complete", "running"))
    assert [(point.key, point.step) for point in points] == [
        ("best_val_ssim", 1),
        ("best_val_ssim", 2),
    ]
    assert [point.value for point in points] == pytest.approx([0.3, 0.32])


def test_the_best_epoch_is_that_of_the_highest_finite_score(make_study: MakeStudy) -> None:
    (trial,) = make_study("complete").trials
    values = {1: 0.2, 2: 0.9, 3: float("nan")}
    curve = {epoch: {"val_ssim": value} for epoch, value in values.items()}
    assert best_epoch(replace(trial, epochs=curve), "val_ssim") == 2
    assert best_epoch(replace(trial, epochs={}), "val_ssim") is None

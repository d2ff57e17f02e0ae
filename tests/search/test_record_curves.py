"""The benchmark that records curves counts the time of its training."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="installed without the benchmarks")


@pytest.fixture
def seconds_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[dict[str, Any]]], float]:
    monkeypatch.syspath_prepend(BENCHMARKS)
    module = importlib.import_module("record_curves")
    return lambda events: float(module.minutes_of(events) * 60)


def epoch(trial: int, time: float, seconds: float) -> dict[str, Any]:
    return {"event": "epoch", "trial": trial, "time": time, "record": {"seconds": seconds}}


Seconds = Callable[[list[dict[str, Any]]], float]


def test_epochs_of_one_report_lie_end_to_end(seconds_of: Seconds) -> None:
    together = [epoch(0, 100.0, 2.0), epoch(0, 100.0, 3.0), epoch(0, 100.001, 4.0)]
    assert seconds_of(together) == pytest.approx(9)


def test_trials_at_once_count_once_and_gaps_do_not(seconds_of: Seconds) -> None:
    events = [
        {"event": "study", "time": 0.0},
        epoch(0, 105.0, 5.0),  # 100 to 105
        epoch(1, 108.0, 6.0),  # 102 to 108
        epoch(0, 200.0, 1.0),  # 199 to 200, after a pause
    ]
    assert seconds_of(events) == pytest.approx(9)


def test_reports_of_two_trials_at_one_moment_overlap(seconds_of: Seconds) -> None:
    events = [epoch(trial, 100.0, 2.0) for trial in (0, 1, 0, 1)]
    assert seconds_of(events) == pytest.approx(4)


def test_nothing_trained_is_no_time(seconds_of: Seconds) -> None:
    assert seconds_of([{"event": "study", "time": 5.0}]) == 0

"""What a ledger says as points of curves: values with a step and a time that follow from it.

Times are those of the ledger, never of now, so the points of a study are the same whenever they
are asked for, and a store that keeps equal points once may be sent them again.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dexsearch.ledger.study import StudyRecord, TrialRecord


@dataclass(frozen=True, slots=True)
class Point:
    """One value of one metric."""

    key: str
    value: float
    timestamp_ms: int
    step: int


def epoch_points(trial: TrialRecord) -> list[Point]:
    """Return every finite value of every epoch, timed by the seconds that epochs took.

    The final epoch's `quality` follows its own values, as `quality_NAME`.
    """
    points = []
    seconds = 0.0
    for epoch, record in sorted(trial.epochs.items()):
        seconds += float(record.get("seconds") or 0.0)
        at = milliseconds(trial.started + seconds)
        points += [
            Point(key, float(value), at, epoch)
            for key, value in (*record.items(), *_quality(record))
            if key != "epoch" and isinstance(value, int | float) and math.isfinite(value)
        ]
    return points


def _quality(record: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the image-quality scores of an epoch; nothing in earlier ledgers."""
    return [(f"quality_{name}", value) for name, value in (record.get("quality") or {}).items()]


def best_so_far(study: StudyRecord) -> list[Point]:
    """Return how the best final score grew with the complete trials."""
    points: list[Point] = []
    best = -math.inf
    complete = sorted(study.ranking(), key=lambda trial: (trial.ended or 0, trial.number))
    for count, trial in enumerate(complete, start=1):
        best = max(best, trial.value_at(trial.last_epoch, study.objective))
        ended_ms = milliseconds(trial.ended or 0)
        points.append(Point(f"best_{study.objective}", best, ended_ms, count))
    return points


def best_epoch(trial: TrialRecord, objective: str) -> int | None:
    """Return the epoch of the highest score, for information; the final one is what counts."""
    scored = {e: float(record.get(objective, math.nan)) for e, record in trial.epochs.items()}
    finite = {epoch: value for epoch, value in scored.items() if math.isfinite(value)}
    return max(finite, key=lambda epoch: finite[epoch]) if finite else None


def milliseconds(seconds: float) -> int:
    """Return a time in whole milliseconds, as MLflow counts it."""
    return round(seconds * 1000)

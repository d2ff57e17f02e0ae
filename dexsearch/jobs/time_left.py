"""How long will a search still take? From its ledger alone: nothing heavy is imported.

The model: a trial that has not begun trains as many epochs as those that have ended did on
average, pruned and failed ones included, and those that ended at a limit before any epoch; one
that runs, as many more as those that came further than it. Epochs take as long as they did on
average, and as many trials run at once as did at the busiest moment.
"""

import math
from dataclasses import dataclass
from statistics import fmean

from dexsearch.ledger.study import StudyRecord, TrialRecord


@dataclass(frozen=True, slots=True)
class TimeLeft:
    """What a search still has to do, as its past lets one expect."""

    epochs: int
    """Epochs that are expected to be trained until the search ends."""

    at_once: int
    """Trials that run at once."""

    hours: float | None
    """Hours until then while the search runs; None before the first epoch was timed."""


def time_left(record: StudyRecord) -> TimeLeft:
    """Return what is left of a study that shall have `space.trials` trials."""
    longest = max((trial.last_epoch for trial in record.trials), default=0)
    epochs = int(record.space.get("epochs", longest))
    ended = [trial.last_epoch for trial in record.trials if trial.state != "running"]
    running = record.in_state("running")
    n_new = max(0, int(record.space.get("trials", len(record.trials))) - len(record.trials))
    left = n_new * (fmean(ended) if any(ended) else epochs)
    left += math.fsum(_epochs_after(trial.last_epoch, ended, epochs) for trial in running)
    at_once = max(1, most_at_once(record.trials))
    seconds = [
        float(epoch.get("seconds") or 0.0)
        for trial in record.trials
        for epoch in trial.epochs.values()
    ]
    hours = None
    if seconds or left == 0:
        slots = min(at_once, max(1, n_new + len(running)))
        hours = left * (fmean(seconds) if seconds else 0.0) / slots / 3600
    return TimeLeft(round(left), at_once, hours)


def most_at_once(trials: tuple[TrialRecord, ...]) -> int:
    """Return how many trials ran at the same time at most; one without an end still runs."""
    changes = [(trial.started, 1) for trial in trials]
    changes += [(trial.ended, -1) for trial in trials if trial.ended is not None]
    most = now = 0
    for _, change in sorted(changes):  # at the same moment, ends come first
        now += change
        most = max(most, now)
    return most


def _epochs_after(done: int, ended: list[int], epochs: int) -> float:
    """Return the epochs that a trial with `done` epochs is expected to train yet."""
    beyond = [length - done for length in ended if length > done]
    return fmean(beyond) if beyond else max(0, epochs - done)

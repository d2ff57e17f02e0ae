"""Was pruning right? What the trials that could not be stopped say about those that were.

Some trials are immune: the pruner's first verdict on them is written down and not carried out.
A *false prune* is an immune trial that would have been stopped and still ends among the best tenth
of the complete trials. Every search that prunes pays with such trials; this one counts them.

Four limits that a reader should know. Only a good trial can be pruned falsely, and about one
immune trial in ten is good: a pruner that tosses a coin has few false prunes per immune trial too.
So the share of the good ones that would have been stopped stands beside it, with an interval that
says how little a few of them tell. The complete trials are immune ones and survivors, so their
best tenth is harder to reach than that of all trials would be, and the count of false prunes reads
low. Over survivors the rank correlation reads low too as a rule, because the lower part of the
range is missing; over immune trials alone it is unbiased, and is taken over those as soon as there
are enough. And what pruning saved assumes that a pruned trial would have kept its own pace.
"""

import math
from typing import Any

from dexsearch.ledger.study import StudyRecord, TrialRecord
from dexsearch.search.audit_result import ENOUGH_TO_JUDGE, Audit, EpochCorrelation
from dexsearch.search.statistics import rank_correlation, rank_correlation_interval

__all__ = ["Audit", "audit"]


def audit(record: StudyRecord) -> Audit:
    """Count from a study's ledger what pruning saved and where it would have been wrong."""
    ranking = record.ranking()
    epochs = _full_length(record)
    best = {trial.number for trial in ranking[: math.ceil(len(ranking) / 10)]}
    immune = [trial for trial in ranking if trial.immune]
    doomed = [trial for trial in immune if trial.would_prune_at is not None]
    pruned = [trial for trial in record.in_state("pruned") if trial.kind != "limit"]
    fair = len(immune) >= ENOUGH_TO_JUDGE
    return Audit(
        pruner=str(_pruner(record).get("kind", "none")),
        n_complete=len(ranking),
        n_pruned=len(pruned),
        epochs_saved=sum(epochs - trial.last_epoch for trial in pruned),
        epochs_all=epochs * (len(pruned) + len(ranking)),
        trial_hours_saved=sum(_seconds_saved(trial, epochs) for trial in pruned) / 3600,
        n_immune=len(immune),
        n_would_be_pruned=len(doomed),
        n_false_prunes=sum(trial.number in best for trial in doomed),
        n_good=sum(trial.number in best for trial in immune),
        epochs_paid=sum(trial.last_epoch - _verdict(trial) for trial in doomed),
        trial_hours_paid=sum(_seconds_after(trial, _verdict(trial)) for trial in doomed) / 3600,
        correlated_over="immune" if fair else "complete",
        correlations=_correlations(record, immune if fair else list(ranking), epochs),
    )


def _correlations(
    record: StudyRecord, trials: list[TrialRecord], epochs: int
) -> tuple[EpochCorrelation, ...]:
    """Correlate at the pruner's first decision, a quarter and a half of the run."""
    first = int(_pruner(record).get("min_epochs", 0))
    asked = {first, math.ceil(epochs / 4), math.ceil(epochs / 2)}
    found = []
    for epoch in sorted(epoch for epoch in asked if 0 < epoch < epochs):
        pairs = [
            (_score(trial, epoch, record.objective), _score(trial, None, record.objective))
            for trial in trials
        ]
        known = [(a, b) for a, b in pairs if math.isfinite(a) and math.isfinite(b)]
        early, final = [a for a, _ in known], [b for _, b in known]
        value = rank_correlation(early, final)
        if value is not None:
            interval = rank_correlation_interval(early, final, seed=epoch)
            found.append(EpochCorrelation(epoch, len(known), value, interval))
    return tuple(found)


def _score(trial: TrialRecord, epoch: int | None, objective: str) -> float:
    at = trial.last_epoch if epoch is None else epoch
    value = trial.epochs.get(at, {}).get(objective)
    return math.nan if value is None else float(value)


def _pruner(record: StudyRecord) -> dict[str, Any]:
    return dict(record.space.get("pruner", {}))


def _full_length(record: StudyRecord) -> int:
    """Return the epochs of a trial that survives."""
    longest = max((trial.last_epoch for trial in record.trials), default=0)
    return int(record.space.get("epochs", longest))


def _verdict(trial: TrialRecord) -> int:
    """Return the epoch at which the pruner wanted to stop a trial."""
    return trial.last_epoch if trial.would_prune_at is None else trial.would_prune_at


def _seconds_after(trial: TrialRecord, epoch: int) -> float:
    return math.fsum(
        float(record.get("seconds") or 0.0) for e, record in trial.epochs.items() if e > epoch
    )


def _seconds_saved(trial: TrialRecord, epochs: int) -> float:
    """Return what a pruned trial would still have needed at its own mean pace."""
    if not trial.epochs:
        return 0.0
    return _seconds_after(trial, 0) / len(trial.epochs) * (epochs - trial.last_epoch)

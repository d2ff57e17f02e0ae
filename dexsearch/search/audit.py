"""Was pruning right? What the trials that could not be stopped say about those that were.

Some trials are immune: the pruner's first verdict on them is written down and not carried out.
A *false prune* is an immune trial that would have been stopped and still ends among the best tenth
of the complete trials. Every search that prunes pays with such trials; this one counts them.

Four limits that a reader should know. Only a good trial can be pruned falsely, and about one
immune trial in ten is good: a pruner that tosses a coin has few false prunes per immune trial too.
So the share of the good ones that would have been stopped stands beside it, with an interval that
says how little a few of them tell. The complete trials are immune ones and survivors, so their best
tenth is harder to reach than that of all trials would be, and the count of false prunes reads low.
Over survivors the rank correlation reads low too as a rule, because the lower part of the range is
missing; over immune trials alone it is unbiased, and is taken over those as soon as there are
enough. And what pruning saved assumes that a pruned trial would have kept its own pace.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from dexsearch.ledger.study import StudyRecord, TrialRecord
from dexsearch.search.statistics import (
    Interval,
    rank_correlation,
    rank_correlation_interval,
    rate_interval,
)

ENOUGH_TO_JUDGE = 20
"""Immune trials from which on a rate means something; 8 without a false prune may hide 37 %."""

MOST_GOOD_STOPPED = 0.5
"""A pruner is trusted once it surely (95 % interval) stops fewer than this share of the good
immune trials: none of 6, one of 9. It is then better at least than tossing a coin."""


@dataclass(frozen=True, slots=True)
class EpochCorrelation:
    """Spearman's rank correlation of the objective at an epoch with the final one."""

    epoch: int
    n: int
    value: float
    interval: Interval | None
    """95 % bootstrap interval; None under ten trials."""

    def __str__(self) -> str:
        """Return value and interval."""
        if self.interval is None:
            return f"{self.value:.2f} at epoch {self.epoch}"
        low, high = self.interval.low, self.interval.high
        return f"{self.value:.2f} ({low:.2f} to {high:.2f}) at epoch {self.epoch}"


@dataclass(frozen=True, slots=True)
class Audit:
    """What pruning saved, and what it would have thrown away.

    Hours are trial-hours: the wall time of a trial's epochs, whatever share of a device it had.
    Eight trials side by side for an hour are eight of them, on one GPU as on eight.
    """

    pruner: str
    n_complete: int
    n_pruned: int
    """Trials stopped by the pruner; those stopped at a limit are not among them."""

    epochs_saved: int
    """Epochs that the pruned trials did not train."""

    epochs_all: int
    """Epochs of the same trials without pruning."""

    trial_hours_saved: float
    """The epochs saved, each at the mean pace of its own trial."""

    n_immune: int
    """Immune trials that are complete."""

    n_would_be_pruned: int
    n_false_prunes: int
    n_good: int
    """Immune trials in the best tenth of the complete: those that can be pruned falsely."""

    epochs_paid: int
    """Epochs that immune trials trained after the pruner wanted to stop them."""

    trial_hours_paid: float
    """How long those epochs took."""

    correlated_over: Literal["immune", "complete"] = "complete"
    """The trials of the correlations: only the immune ones are a fair sample."""

    correlations: tuple[EpochCorrelation, ...] = ()

    @property
    def enough(self) -> bool:
        """Whether there are enough immune trials to judge."""
        return self.n_immune >= ENOUGH_TO_JUDGE

    @property
    def rate_bounds(self) -> Interval:
        """Exact (Clopper-Pearson) 95 % interval of false prunes per immune trial."""
        return rate_interval(self.n_false_prunes, self.n_immune)

    @property
    def good_bounds(self) -> Interval:
        """Exact 95 % interval of the share of good trials that the pruner would stop."""
        return rate_interval(self.n_false_prunes, self.n_good)

    @property
    def keeps_good(self) -> bool:
        """Whether the pruner surely stops fewer good trials than `MOST_GOOD_STOPPED`."""
        return self.enough and self.good_bounds.high < MOST_GOOD_STOPPED

    def as_json(self) -> dict[str, Any]:
        """Return what `--format json`, the registry and MLflow show."""
        rate, n, good = self.rate_bounds, self.n_immune, self.good_bounds
        counts = asdict(self)
        del counts["correlations"]
        return {
            **counts,
            "enough": self.enough,
            "false_prune_rate": self.n_false_prunes / n if n else None,
            "false_prune_rate_low": rate.low,
            "false_prune_rate_high": rate.high,
            "good_stopped_rate": self.n_false_prunes / self.n_good if self.n_good else None,
            "good_stopped_rate_low": good.low,
            "good_stopped_rate_high": good.high,
            "keeps_good": self.keeps_good,
            "correlations": [
                {
                    "epoch": found.epoch,
                    "n": found.n,
                    "value": found.value,
                    "low": None if found.interval is None else found.interval.low,
                    "high": None if found.interval is None else found.interval.high,
                }
                for found in self.correlations
            ],
        }

    def __str__(self) -> str:
        """Return the text for people, printed with every result of a search."""
        if self.pruner == "none":
            return "\n".join(["pruning: none", *self._told_correlations()])
        share = self.epochs_saved / self.epochs_all if self.epochs_all else 0.0
        return "\n".join([
            f"pruning ({self.pruner}): {self.n_pruned} pruned, {self.epochs_saved} of "
            f"{self.epochs_all} epochs saved ({share:.0%}), about "
            f"{_hours(self.trial_hours_saved)} at the pruned trials' own pace",
            f"audit: of {self.n_immune} immune trials {self.n_would_be_pruned} would have been "
            f"pruned, {self.n_false_prunes} wrongly (in the best tenth of {self.n_complete} "
            f"complete); it cost {self.epochs_paid} epochs, {_hours(self.trial_hours_paid)}",
            f"  {self._told_rate()}",
            f"  {self._told_good()}",
            *self._told_correlations(),
        ])  # fmt: skip

    def _told_rate(self) -> str:
        rate = self.rate_bounds
        if not self.enough:
            return (
                f"too few to judge (under {ENOUGH_TO_JUDGE}): up to {rate.high:.0%} of trials "
                "might be pruned wrongly (exact 95% interval)"
            )
        return (
            f"pruned wrongly: {self.n_false_prunes / self.n_immune:.1%} of trials "
            f"({rate.low:.1%} to {rate.high:.1%}, exact 95% interval)"
        )

    def _told_good(self) -> str:
        """Return what happened to the trials that could be pruned falsely, and how sure it is."""
        if self.n_good == 0:
            return "no immune trial ended in the best tenth: nothing is known of pruning good ones"
        found = self.good_bounds
        if found.high < MOST_GOOD_STOPPED:
            verdict = f"surely under {MOST_GOOD_STOPPED:.0%}"
        elif found.low > MOST_GOOD_STOPPED:
            verdict = f"surely over {MOST_GOOD_STOPPED:.0%}"
        else:
            verdict = f"too few to tell whether under {MOST_GOOD_STOPPED:.0%}"
        return (
            f"of the {self.n_good} immune in the best tenth it would have stopped "
            f"{self.n_false_prunes} ({found.low:.0%} to {found.high:.0%}, exact 95% interval): "
            f"{verdict}"
        )

    def _told_correlations(self) -> list[str]:
        if not self.correlations:
            return []
        of_what = f"{self.correlations[0].n} {self.correlated_over} trials"
        bias = " (survivors among them: it reads low)" if self._reads_low else ""
        return [
            f"  rank correlation with the final score over {of_what}{bias}: "
            + ", ".join(map(str, self.correlations))
        ]

    @property
    def _reads_low(self) -> bool:
        return self.correlated_over == "complete" and self.n_pruned > 0


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


def _hours(hours: float) -> str:
    return f"{hours:.1f} trial-hours" if hours >= 1 else f"{hours * 60:.1f} trial-minutes"

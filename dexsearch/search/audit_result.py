"""The result of an audit: its counts, their intervals, and how it is told to people."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from dexsearch.search.statistics import Interval, rate_interval

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


def _hours(hours: float) -> str:
    return f"{hours:.1f} trial-hours" if hours >= 1 else f"{hours * 60:.1f} trial-minutes"

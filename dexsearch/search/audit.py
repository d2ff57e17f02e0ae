"""Was pruning right? What the trials that could not be stopped say about those that were.

Some trials are immune: the pruner's first verdict on them is written down and not carried out.
A *false prune* is an immune trial that would have been stopped and still ends among the best tenth
of the complete trials. Every search that prunes pays with such trials; this one counts them.
"""

import math
from dataclasses import dataclass

from dexsearch.ledger.study import StudyRecord, TrialRecord

ENOUGH_TO_JUDGE = 20
"""Immune trials from which on a rate means something; 8 without a false prune may hide 37 %."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What pruning saved, and what it would have thrown away."""

    pruner: str
    n_pruned: int
    epochs_saved: int
    """Epochs that the pruned trials did not train."""

    epochs_all: int
    """Epochs of the same trials without pruning."""

    n_immune: int
    """Immune trials that are complete."""

    n_would_be_pruned: int
    n_false_prunes: int
    epochs_paid: int
    """Epochs that immune trials trained after the pruner wanted to stop them."""

    @property
    def enough(self) -> bool:
        """Whether there are enough immune trials to judge."""
        return self.n_immune >= ENOUGH_TO_JUDGE

    def __str__(self) -> str:
        """Return the text for people, printed with every result of a search."""
        if self.pruner == "none":
            return "pruning: none"
        share = self.epochs_saved / self.epochs_all if self.epochs_all else 0.0
        saved = (
            f"pruning ({self.pruner}): {self.n_pruned} pruned, {self.epochs_saved} of "
            f"{self.epochs_all} epochs saved ({share:.0%})"
        )
        verdict = "" if self.enough else f": too few to judge (under {ENOUGH_TO_JUDGE})"
        return (
            f"{saved}\naudit: of {self.n_immune} immune trials {self.n_would_be_pruned} would "
            f"have been pruned, {self.n_false_prunes} wrongly (best tenth), at the price of "
            f"{self.epochs_paid} epochs{verdict}"
        )


def audit(record: StudyRecord) -> Audit:
    """Count from a study's ledger what pruning saved and where it would have been wrong."""
    epochs = int(record.space["epochs"])
    ranking = record.ranking()
    best = {trial.number for trial in ranking[: math.ceil(len(ranking) / 10)]}
    immune = [trial for trial in ranking if trial.immune]
    doomed = [trial for trial in immune if trial.would_prune_at is not None]
    pruned = record.in_state("pruned")
    return Audit(
        pruner=str(record.space["pruner"]["kind"]),
        n_pruned=len(pruned),
        epochs_saved=sum(epochs - trial.last_epoch for trial in pruned),
        epochs_all=epochs * (len(pruned) + len(ranking)),
        n_immune=len(immune),
        n_would_be_pruned=len(doomed),
        n_false_prunes=sum(trial.number in best for trial in doomed),
        epochs_paid=sum(_epochs_after_verdict(trial) for trial in doomed),
    )


def _epochs_after_verdict(trial: TrialRecord) -> int:
    return trial.last_epoch - (trial.would_prune_at or trial.last_epoch)

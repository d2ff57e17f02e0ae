"""Does a generator that was trained again agree with the registered one? The numbers and words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dexsearch.errors import SearchFailed
from dexsearch.jobs.replication import CONFIDENCE, pooled_deviation
from dexsearch.registry.entries import ReplicatedTrial

TOLERANCE = 0.01
"""Largest difference of the objective that counts as agreement where seed noise is not known."""
FEWEST_DEGREES = 2
"""Of freedom, below which replicates tell too little of the seed noise to judge by."""


@dataclass(frozen=True, slots=True)
class Bound:
    """How far apart two trainings of one configuration may score."""

    value: float
    deviation: float | None = None
    """Standard deviation over seeds, from the study's replicates; None where there are none."""
    freedom: int = 0
    """Its degrees of freedom."""

    def __str__(self) -> str:
        """Say where the bound comes from."""
        if self.deviation is None:
            return (
                f"at most {self.value:.4f} apart counts as agreement: a tolerance, because the "
                "study has too few replicates to tell the seed noise"
            )
        return (
            f"95 % of two trainings with different seeds are at most {self.value:.4f} apart "
            f"(seed noise {self.deviation:.4f} from the study's replicates, {self.freedom} "
            "degrees of freedom)"
        )


@dataclass(frozen=True, slots=True)
class Reproduction:
    """A generator trained again from its record, beside the one that was registered."""

    model: str
    study: str
    trial: int
    objective: str
    epochs: int
    scores: dict[str, tuple[float, float]]
    """Score of the final epoch on validation subjects -> as recorded, and again."""
    weights_sha256: tuple[str, str]
    """As recorded, and again."""
    first_different_epoch: int | None
    """The first epoch whose objective is not the recorded one in every bit."""
    bound: Bound
    warnings: tuple[str, ...]
    """What is not as it was then."""
    seconds: float

    @property
    def is_identical(self) -> bool:
        """Whether the weights are the registered ones, bit for bit."""
        return self.weights_sha256[0] == self.weights_sha256[1]

    @property
    def difference(self) -> float:
        """The objective again, less as recorded."""
        recorded, again = self.scores[self.objective]
        return again - recorded

    @property
    def verdict(self) -> str:
        """`identical`, `agrees` or `does not agree`."""
        if self.is_identical:
            return "identical"
        return "agrees" if abs(self.difference) <= self.bound.value else "does not agree"

    @property
    def is_unexplained(self) -> bool:
        """Whether the weights differ though device, libraries and threads are as they were."""
        return not self.is_identical and not self.warnings

    def refuse_disagreement(self) -> None:
        """Raise SearchFailed unless the scores agree."""
        if self.verdict == "does not agree":
            raise SearchFailed(
                f"{self.model} is not reproduced: {self.objective} differs by "
                f"{self.difference:+.4f}, more than {self.bound.value:.4f}",
                hint="see what is not as it was then; tune --replicates S measures seed noise",
            )

    def as_json(self) -> dict[str, Any]:
        """Return what `--format json` prints."""
        return {
            "model": self.model,
            "study": self.study,
            "trial": self.trial,
            "verdict": self.verdict,
            "objective": self.objective,
            "epochs": self.epochs,
            "recorded": {name: values[0] for name, values in self.scores.items()},
            "again": {name: values[1] for name, values in self.scores.items()},
            "difference": self.difference,
            "bound": self.bound.value,
            "seed_deviation": self.bound.deviation,
            "degrees_of_freedom": self.bound.freedom,
            "weights_sha256": {
                "recorded": self.weights_sha256[0],
                "again": self.weights_sha256[1],
            },
            "first_different_epoch": self.first_different_epoch,
            "warnings": list(self.warnings),
            "seconds": self.seconds,
        }

    def __str__(self) -> str:
        """Return the text for people."""
        head = f"{self.model} (study {self.study}, trial {self.trial}), {self.epochs} epochs again"
        width = max(map(len, self.scores))
        lines = [
            f"{head}: {self._told_verdict()}",
            f"  {'':{width}}  recorded     again",
            *(
                f"  {name:{width}}  {recorded:8.4f}  {again:8.4f}  {again - recorded:+.2e}"
                for name, (recorded, again) in self.scores.items()
            ),
            f"weights: sha256 {self.weights_sha256[0][:16]} recorded, "
            f"{self.weights_sha256[1][:16]} again",
        ]
        if not self.is_identical:
            if self.first_different_epoch is not None:
                lines.append(f"the first epoch that differs is {self.first_different_epoch}")
            lines.append(str(self.bound))
            if self.is_unexplained:
                lines.append(
                    "nothing that is known differs from then, so the weights should be identical: "
                    "please report it"
                )
        return "\n".join([*lines, *(f"not as then: {warning}" for warning in self.warnings)])

    def _told_verdict(self) -> str:
        if self.is_identical:
            return "identical, bit for bit"
        told = f"{self.objective} differs by {self.difference:+.4f}"
        if self.verdict == "agrees":
            return f"agrees within noise; {told}"
        return f"does NOT agree; {told}"


def bound_from(entries: Sequence[ReplicatedTrial]) -> Bound:
    """Return how far two trainings may be apart, by the replicates of a study if there are any.

    The difference of two scores with the standard deviation s each has s * sqrt(2); with the
    quantile of Student's t for the degrees of freedom of s it is the 95 % bound.
    """
    newest = {entry.trial: entry for entry in entries}
    known = pooled_deviation([tuple(entry.values) for entry in newest.values()])
    if known is None or known[1] < FEWEST_DEGREES:
        return Bound(TOLERANCE)
    from scipy import stats

    deviation, freedom = known
    quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))
    return Bound(quantile * math.sqrt(2) * deviation, deviation, freedom)

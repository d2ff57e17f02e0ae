"""What replicates say: mean and interval of each configuration over its new seeds.

The score that a trial had in the search is left out. It was chosen because it was high among many,
and part of what is high is luck with its seed, so it lies above what the configuration scores on
average, and the more so the more trials it was chosen from.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any

from dexsearch.ledger.study import StudyRecord, TrialRecord
from dexsearch.registry.entries import ReplicatedTrial

SEED = "seed"
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Replicated:
    """One configuration and what its replicates scored; only complete ones have a value."""

    trial: int
    """The trial of the search whose configuration it is."""
    head: str
    first: float
    """What it scored in the search."""
    seeds: tuple[int, ...]
    values: tuple[float, ...]
    """The objective at the final epoch, by seed."""
    failures: tuple[str, ...] = ()
    """Why replicates failed; such a seed has no value, so the mean is of those that trained."""
    unfinished: int = 0

    @property
    def mean(self) -> float | None:
        """Mean over the new seeds; None without a complete replicate."""
        return fmean(self.values) if self.values else None

    @property
    def deviation(self) -> float | None:
        """Standard deviation over seeds; None with fewer than two."""
        return stdev(self.values) if len(self.values) > 1 else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Ends of the 95 % t-interval of the mean; None with fewer than two seeds."""
        return t_interval(self.values)

    def as_json(self) -> dict[str, Any]:
        """Return what `--format json` prints."""
        low, high = self.interval or (None, None)
        found = {"mean": self.mean, "low": low, "high": high, "deviation": self.deviation}
        return {**asdict(self), **found}

    def __str__(self) -> str:
        """Return one line for people."""
        parts = [f"{self.first:.4f} in the search"]
        if self.interval is not None:
            parts.insert(0, f"95 % interval {self.interval[0]:.4f} to {self.interval[1]:.4f}")
        if self.failures:
            parts.append(f"{len(self.failures)} failed: {self.failures[0]}")
        if self.unfinished:
            parts.append(f"{self.unfinished} unfinished")
        mean = "no replicate is complete"
        if self.mean is not None:
            mean = f"{self.mean:.4f}, mean of {len(self.values)}"
        return f"trial {self.trial} ({self.head}): {mean}; {'; '.join(parts)}"


@dataclass(frozen=True, slots=True)
class Replication:
    """The replicates of a study, the best configuration by mean first."""

    study: str
    """Name of the study that holds them."""
    objective: str
    configurations: tuple[Replicated, ...]

    @property
    def by_mean(self) -> Replicated | None:
        """The configuration with the highest mean; None before a replicate is complete."""
        known = [found for found in self.configurations if found.mean is not None]
        return known[0] if known else None

    @property
    def by_single_score(self) -> Replicated:
        """The configuration with the highest score in the search."""
        return max(self.configurations, key=lambda found: found.first)

    @property
    def noise(self) -> tuple[float, int] | None:
        """Standard deviation that seeds alone make, and its degrees of freedom.

        Pooled over the configurations; None where none has two values.
        """
        return pooled_deviation([found.values for found in self.configurations])

    def entries(self, source: StudyRecord) -> tuple[ReplicatedTrial, ...]:
        """Return what the registry keeps: configurations with a complete replicate."""
        return tuple(
            ReplicatedTrial(
                study=source.name,
                begun=source.begun,
                trial=found.trial,
                objective=self.objective,
                seeds=list(found.seeds),
                values=list(found.values),
                mean=found.mean,
                low=found.interval[0] if found.interval else None,
                high=found.interval[1] if found.interval else None,
                time=0.0,  # the log stamps it
            )
            for found in self.configurations
            if found.mean is not None
        )

    def as_json(self) -> dict[str, Any]:
        """Return what `--format json` prints."""
        deviation, freedom = self.noise or (None, 0)
        return {
            "study": self.study,
            "objective": self.objective,
            "configurations": [found.as_json() for found in self.configurations],
            "seed_deviation": deviation,
            "degrees_of_freedom": freedom,
            "best_by_mean": self.by_mean.trial if self.by_mean else None,
            "best_by_single_score": self.by_single_score.trial,
        }

    def __str__(self) -> str:
        """Return the text for people."""
        lines = [
            f"replicates, study {self.study}: {self.objective} at the final epoch, new seeds only",
            *(f"  {found}" for found in self.configurations),
            "  scores of the search are left out of the means: they were chosen because they "
            "were high, so luck with the seed is part of them",
        ]
        if self.noise is not None:
            deviation, freedom = self.noise
            lines.append(
                f"seed noise: standard deviation {deviation:.4f} ({freedom} degrees of freedom)"
            )
        if self.by_mean is not None:
            lines.append(self._told_winners(self.by_mean))
        return "\n".join(lines)

    def _told_winners(self, by_mean: Replicated) -> str:
        single = self.by_single_score
        told = f"best by mean: trial {by_mean.trial} ({by_mean.mean:.4f})"
        if single.trial == by_mean.trial:
            return f"{told}, which is also the best by single score ({single.first:.4f})"
        mean = "no replicate" if single.mean is None else f"{single.mean:.4f} on average"
        return f"{told}; best by single score: trial {single.trial} ({single.first:.4f}, {mean})"


def replication_of(source: StudyRecord, replicates: StudyRecord) -> Replication:
    """Gather what the replicates of a study say, every seed so far included."""
    started = [trial for trial in replicates.trials if trial.config]
    found: list[Replicated] = []
    for trial in configurations(source.ranking()):
        wanted = without_seed(trial.params)
        mine = [again for again in started if without_seed(again.params) == wanted]
        if mine:
            found.append(_replicated(trial, mine, source.objective))
    found.sort(key=lambda one: -math.inf if one.mean is None else one.mean, reverse=True)
    return Replication(replicates.name, source.objective, tuple(found))


def configurations(ranking: tuple[TrialRecord, ...]) -> tuple[TrialRecord, ...]:
    """Return the best trial of each configuration, the seed apart, in the order of the ranking."""
    kept: list[TrialRecord] = []
    for trial in ranking:
        wanted = without_seed(trial.params)
        if all(without_seed(other.params) != wanted for other in kept):
            kept.append(trial)
    return tuple(kept)


def without_seed(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters without the seed: what makes two trials one configuration."""
    return {key: value for key, value in params.items() if key != SEED}


def t_interval(values: tuple[float, ...]) -> tuple[float, float] | None:
    """Return the 95 % t-interval of a mean; None with fewer than two values.

    It assumes that scores of one configuration over seeds are about normal. Source: Student,
    Biometrika 6(1):1-25 (1908), doi:10.1093/biomet/6.1.1.
    """
    if len(values) < 2:
        return None
    from scipy import stats

    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
    half *= stdev(values) / math.sqrt(len(values))
    return fmean(values) - half, fmean(values) + half


def pooled_deviation(groups: list[tuple[float, ...]]) -> tuple[float, int] | None:
    """Return the standard deviation within groups and its degrees of freedom; None if 0."""
    known = [values for values in groups if len(values) > 1]
    freedom = sum(len(values) - 1 for values in known)
    if freedom == 0:
        return None
    squares = math.fsum((len(values) - 1) * stdev(values) ** 2 for values in known)
    return math.sqrt(squares / freedom), freedom


def _replicated(trial: TrialRecord, mine: list[TrialRecord], objective: str) -> Replicated:
    complete = [again for again in mine if again.state == "complete"]
    return Replicated(
        trial=trial.number,
        head=str(trial.config.get("task", "")),
        first=trial.value_at(trial.last_epoch, objective),
        seeds=tuple(int(again.config[SEED]) for again in complete),
        values=tuple(again.value_at(again.last_epoch, objective) for again in complete),
        failures=tuple(again.reason or "" for again in mine if again.state == "failed"),
        unfinished=sum(again.state == "running" for again in mine),
    )

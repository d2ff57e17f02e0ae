"""Many replays: pairs of sampler and pruner over many seeds, and what they amount to."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
import optuna

from dexsearch.config.space import PrunerConfig, SamplerConfig, SearchSpace
from dexsearch.search.curves import CurveTable
from dexsearch.search.replay import Conditions, Contender, Replay, StudyContender, replay
from dexsearch.search.statistics import Interval

_N_BOOTSTRAPS = 2000
BuildContender = Callable[[CurveTable, str, int], Contender]
"""(table, objective, seed) -> a new search; a pickle of it goes to other processes."""

LOOKED_AT: Mapping[str, tuple[str, ...]] = {
    "none": (),
    "median": ("min_epochs", "immune_every"),
    "percentile": ("min_epochs", "percentile", "immune_every"),
    "successive_halving": ("min_epochs", "reduction", "immune_every"),
    "hyperband": ("min_epochs", "reduction", "immune_every"),
}
"""The settings that matter to each kind of pruner."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A sampler and a pruner; as a function it builds their search for one seed."""

    sampler: SamplerConfig
    pruner: PrunerConfig

    @property
    def name(self) -> str:
        """The two kinds, and what the pruner looks at; immune trials only if not the usual."""
        values = {key: getattr(self.pruner, key) for key in LOOKED_AT[self.pruner.kind]}
        if values.get("immune_every") == PrunerConfig().immune_every:
            del values["immune_every"]
        details = ", ".join(f"{key}={value:.15g}" for key, value in values.items())
        return f"{self.sampler.kind} / {self.pruner.kind}" + (f"({details})" if details else "")

    def space_of(self, table: CurveTable, objective: str, *, seed: int) -> SearchSpace:
        """Return the table's space with this pair; pydantic's error where the two do not suit."""
        changes = {
            "objective": objective,
            "trials": len(table.rows),
            "sampler": {**self.sampler.model_dump(), "seed": seed},
            "pruner": self.pruner.model_dump(),
            "enqueue": (),  # rows are what can be tried
            "limits": {},
        }
        return SearchSpace.model_validate({**table.space, **changes})

    def __call__(self, table: CurveTable, objective: str, seed: int) -> Contender:
        """Return a search of the table's space with this pair."""
        return StudyContender(table, self.space_of(table, objective, seed=seed))


def only_looked_at(pruner: PrunerConfig) -> PrunerConfig:
    """Return the pruner without what its kind passes over, so that equal searches are equal."""
    return PrunerConfig(
        kind=pruner.kind, **{key: getattr(pruner, key) for key in LOOKED_AT[pruner.kind]}
    )


@dataclass(frozen=True, slots=True)
class Summary:
    """What one contender needs and misses, over seeds; infinity stands for never."""

    name: str
    n_seeds: int
    epochs_to_best: float
    """Median epochs till a complete trial is within the tolerance of the table's best."""

    epochs_interval: Interval
    """95 % bootstrap interval of that median over seeds."""

    never_rate: float
    """Share of the seeds whose search ends without getting there."""

    epochs_all: float
    """Median epochs of a whole search."""

    regret: float
    """Median of what the best complete trial lacks to the table's best."""

    best_tenth_stopped: float
    """Of the configurations of the best tenth, the share that the pruner wanted to stop."""

    n_pruned: float
    """Mean number of trials stopped."""


def run_replays(
    contenders: Sequence[BuildContender], conditions: Conditions, *, seeds: int, jobs: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[list[Replay]]:  # fmt: skip
    """Replay each contender with seeds 0, 1, ...; return the replays of each, by seed.

    Args:
        contenders: what to compare.
        conditions: the same for all.
        seeds: searches for each contender.
        jobs: processes; 1 stays in this one.
        progress: is told (done, total).
    """
    tasks = [(build, seed) for build in contenders for seed in range(seeds)]
    done: list[Replay] = []
    for result in _results(tasks, conditions, jobs):
        done.append(result)
        progress(len(done), len(tasks))
    return [done[start : start + seeds] for start in range(0, len(done), seeds)]


def _results(
    tasks: Sequence[tuple[BuildContender, int]], conditions: Conditions, jobs: int
) -> Iterable[Replay]:
    if jobs == 1:
        _settle(conditions)
        yield from map(_one, tasks)
        return
    pool = ProcessPoolExecutor(
        jobs, mp_context=get_context("spawn"), initializer=_settle, initargs=(conditions,)
    )
    with pool:
        yield from pool.map(_one, tasks, chunksize=4)


_settled: list[Conditions] = []
"""What this process replays under: sent to it once, not with each of its tasks."""


def _settle(conditions: Conditions) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    _settled[:] = [conditions]


def _one(task: tuple[BuildContender, int]) -> Replay:
    build, seed = task
    conditions = _settled[0]
    return replay(build(conditions.table, conditions.objective, seed), conditions)


def summarise_replays(
    name: str, replays: Sequence[Replay], conditions: Conditions, *, within: float
) -> Summary:
    """Summarise the replays of one contender."""
    best = conditions.table.best(conditions.objective)
    needed = epochs_needed(replays, best - within)
    n_good = sum(result.n_best_tenth for result in replays)
    return Summary(
        name=name,
        n_seeds=len(replays),
        epochs_to_best=median(needed),
        epochs_interval=median_interval(needed),
        never_rate=float(np.mean(np.isinf(needed))),
        epochs_all=median([float(result.epochs_all) for result in replays]),
        regret=median([best - result.best[-1] if result.best else math.inf for result in replays]),
        best_tenth_stopped=sum(result.n_false for result in replays) / n_good if n_good else 0.0,
        n_pruned=float(np.mean([result.n_pruned for result in replays])),
    )


def epochs_needed(replays: Iterable[Replay], value: float) -> list[float]:
    """Return the epochs that each replay spends till a complete trial has `value`."""
    return [result.epochs_until(value) for result in replays]


def median(values: Sequence[float]) -> float:
    """Return the median, infinite where half of the values or more are."""
    ranked = sorted(values)
    middle = len(ranked) // 2
    return ranked[middle] if len(ranked) % 2 else (ranked[middle - 1] + ranked[middle]) / 2


def median_interval(values: Sequence[float]) -> Interval:
    """Return the 95 % bootstrap interval of the median: percentiles over resampled seeds."""
    return _interval([median(drawn) for drawn in _resampled(values, seed=0)])


def median_ratio_interval(values: Sequence[float], others: Sequence[float]) -> Interval:
    """Return the 95 % bootstrap interval of the ratio of two medians; the two are independent."""
    pairs = zip(_resampled(values, seed=0), _resampled(others, seed=1), strict=True)
    return _interval([_ratio(median(first), median(second)) for first, second in pairs])


def _ratio(first: float, second: float) -> float:
    """Divide; never against anything but never is infinite, anything against never is 0."""
    return math.inf if math.isinf(first) else first / second


def _resampled(values: Sequence[float], *, seed: int) -> Iterable[list[float]]:
    drawn = np.random.default_rng(seed).integers(len(values), size=(_N_BOOTSTRAPS, len(values)))
    return (list(row) for row in np.asarray(values, dtype=float)[drawn])


def _interval(found: list[float]) -> Interval:
    """Return the 2.5th and 97.5th percentile, without interpolating: some may be infinite."""
    ranked = sorted(found)
    tail = len(ranked) * 25 // 1000
    return Interval(float(ranked[tail]), float(ranked[-1 - tail]))

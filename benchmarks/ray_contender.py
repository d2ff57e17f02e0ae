"""Ray Tune's own search as a contender of a replay: OptunaSearch (its TPE) and ASHAScheduler.

The classes are Ray's, driven as Ray's controller drives them, but without a cluster.
"""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from dexsearch.config.space import SearchSpace
from dexsearch.search.curves import CurveTable
from dexsearch.search.replay import Verdict


@dataclass(frozen=True)
class RayPair:
    """Builds Ray's OptunaSearch and ASHA for one seed; as they come where nothing is given."""

    grace_period: int = 1
    reduction_factor: int = 4

    @property
    def name(self) -> str:
        """The two classes and the settings of ASHA."""
        return (
            f"Ray OptunaSearch / ASHA(grace_period={self.grace_period}, "
            f"reduction_factor={self.reduction_factor})"
        )

    def __call__(self, table: CurveTable, objective: str, seed: int) -> "RayContender":
        """Return a new search."""
        return RayContender(table, seed, self)


class RayContender:
    """Ray's classes, told what Ray's controller tells them."""

    def __init__(self, table: CurveTable, seed: int, pair: RayPair) -> None:
        import optuna
        from ray.tune.schedulers import ASHAScheduler
        from ray.tune.search.optuna import OptunaSearch

        from dexsearch.search.space import suggest
        from dexsearch.search.table_sampler import TableSampler, TriedRows

        changes: dict[str, Any] = {"sampler": {"seed": seed}, "enqueue": (), "limits": {}}
        space = SearchSpace.model_validate({**table.space, **changes})
        self._rows = TriedRows(table, space)
        self._search = OptunaSearch(
            space=lambda trial: suggest(trial, space),
            metric="score",
            mode="max",
            sampler=TableSampler(optuna.samplers.TPESampler(seed=seed), self._rows),
        )
        self._scheduler = ASHAScheduler(
            metric="score", mode="max", max_t=table.epochs,
            grace_period=pair.grace_period, reduction_factor=pair.reduction_factor,
        )  # fmt: skip
        self._trials: list[SimpleNamespace] = []

    def begin(self) -> tuple[int, int]:
        """Add a trial as the controller does."""
        number = len(self._trials)
        trial = SimpleNamespace(trial_id=f"trial-{number}")
        self._trials.append(trial)
        self._search.suggest(trial.trial_id)
        self._scheduler.on_trial_add(None, trial)
        return number, self._rows.row_of[number]

    def judge(self, number: int, epoch: int, value: float) -> Verdict:
        """Pass a result on: to the scheduler first, to the searcher only if the trial goes on."""
        trial, result = self._trials[number], {"training_iteration": epoch, "score": value}
        if self._scheduler.on_trial_result(None, trial, result) == "STOP":
            self._complete(number, result)
            return "stop"
        self._search.on_trial_result(trial.trial_id, result)
        return "go on"

    def complete(self, number: int, epoch: int, value: float) -> None:
        """Pass the last result on, at which ASHA stops every trial."""
        result = {"training_iteration": epoch, "score": value}
        self._scheduler.on_trial_result(None, self._trials[number], result)
        self._complete(number, result)

    def _complete(self, number: int, result: dict[str, float]) -> None:
        trial = self._trials[number]
        self._scheduler.on_trial_complete(None, trial, result)
        self._search.on_trial_complete(trial.trial_id, result=result)

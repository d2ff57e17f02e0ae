"""How many epochs does a search need on recorded curves? Ours, random search, Ray's own way.

    python benchmarks/search_efficiency.py --choose    # which pair to ship: one half of the table
    python benchmarks/search_efficiency.py --report    # what it brings: the other half

The halves are decided by a hash of each configuration's number, so nothing that was looked at to
choose is in what is reported. The peer is Ray's own OptunaSearch (its TPE) and ASHAScheduler,
driven as Ray's controller drives them, on the same rows, workers and virtual time.
"""

import argparse
import hashlib
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from dexsearch.config.space import PrunerConfig, SamplerConfig, SearchSpace
from dexsearch.search.curves import CurveTable, read_table, with_rows
from dexsearch.search.replay import Conditions, Verdict
from dexsearch.search.replays import (
    Pair,
    Summary,
    epochs_needed,
    median_ratio_interval,
    run_replays,
    summarise_replays,
)

TABLE = Path(__file__).parent / "curves" / "joint-64px.jsonl"
WITHIN = 0.002
RANDOM = Pair(SamplerConfig(kind="random"), PrunerConfig(kind="none"))


@dataclass(frozen=True)
class RayPair:
    """Builds Ray's OptunaSearch and ASHA for one seed."""

    min_epochs: int
    reduction: int
    name: str = "Ray Tune: OptunaSearch / ASHA"

    def __call__(self, table: CurveTable, objective: str, seed: int) -> "RayContender":
        """Return a new search."""
        return RayContender(table, objective, seed, self.min_epochs, self.reduction)


class RayContender:
    """Ray's classes, told what Ray's controller tells them, without a cluster."""

    def __init__(
        self, table: CurveTable, objective: str, seed: int, min_epochs: int, reduction: int
    ) -> None:
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
            grace_period=min_epochs, reduction_factor=reduction,
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


def _hash(number: int) -> bytes:
    return hashlib.sha256(f"half/{number}".encode()).digest()


def half_of(table: CurveTable, *, chosen_on: bool) -> CurveTable:
    """Return one half of the rows, by the hash of their numbers."""
    ranked = sorted(
        table.rows, key=lambda row: hashlib.sha256(f"half/{row.number}".encode()).digest()
    )
    middle = len(ranked) // 2
    return with_rows(table, tuple(ranked[:middle] if chosen_on else ranked[middle:]))


def candidates(epochs: int, samplers: list[str]) -> list[Pair]:
    """Return every pair of a sampler and a pruner with a few settings."""
    pruners = [PrunerConfig(kind="none")]
    for first in sorted({max(1, epochs // 9), max(1, epochs // 4), max(1, epochs // 2)}):
        pruners += [PrunerConfig(kind="median", min_epochs=first)]
        pruners += [PrunerConfig(kind="percentile", min_epochs=first, percentile=25)]
        for reduction in (2, 3):
            for kind in ("successive_halving", "hyperband"):
                pruners.append(PrunerConfig(kind=kind, min_epochs=first, reduction=reduction))
    return [Pair(SamplerConfig(kind=s), p) for s in samplers for p in pruners]


def bar(done: int, total: int) -> None:
    """Count on stderr."""
    sys.stderr.write(f"\r{done}/{total} replays" + ("\n" if done == total else ""))


def cells(found: Summary) -> str:
    """Return a row of the markdown table."""
    low, high = found.epochs_interval.low, found.epochs_interval.high
    shown = [("never" if math.isinf(x) else f"{x:.0f}") for x in (found.epochs_to_best, low, high)]
    return (
        f"| {found.name} | {shown[0]} | {shown[1]} to {shown[2]} | {found.never_rate:.0%} | "
        f"{found.epochs_all:.0f} | {found.regret:.4f} | {found.false_prune_rate:.0%} |"
    )


def main() -> None:
    """Parse, replay, print markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--choose", action="store_true")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--samplers", nargs="+", default=["random", "tpe", "qmc"])
    parser.add_argument("--sampler", default="tpe", help="of the shipped pair")
    parser.add_argument("--pruner", default="successive_halving", help="of the shipped pair")
    parser.add_argument("--min-epochs", type=int, default=3)
    parser.add_argument("--reduction", type=int, default=3)
    parser.add_argument("--objective", default="val_ssim")
    parser.add_argument("--seeds", type=int, default=32)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    if given.choose == given.report:
        parser.error("give one of --choose and --report")
    table = half_of(read_table(given.table), chosen_on=given.choose)
    conditions = Conditions(table, given.objective, workers=given.workers)
    contenders: list[Any] = candidates(table.epochs, given.samplers)
    if given.report:
        pruner = PrunerConfig.model_validate(
            {"kind": given.pruner, "min_epochs": given.min_epochs, "reduction": given.reduction}
        )
        shipped = Pair(SamplerConfig.model_validate({"kind": given.sampler}), pruner)
        contenders = [RANDOM, RayPair(given.min_epochs, given.reduction), shipped]
    found = run_replays(contenders, conditions, seeds=given.seeds, jobs=given.jobs, progress=bar)
    rows = [
        summarise_replays(contender.name, replays, conditions, within=WITHIN)
        for contender, replays in zip(contenders, found, strict=True)
    ]
    if given.choose:
        rows.sort(key=lambda row: (row.epochs_to_best, row.false_prune_rate, row.never_rate))
    best = table.best(given.objective)
    print(
        f"{len(table.rows)} curves, {given.workers} workers, {given.seeds} seeds, best {best:.4f}"
    )
    print(
        f"\n| search | epochs to within {WITHIN} | 95 % | never | epochs in all | regret "
        "| best tenth stopped |\n|---|---|---|---|---|---|---|"
    )
    print("\n".join(map(cells, rows)))
    if given.report:
        goal = table.best(given.objective) - WITHIN
        needed = [epochs_needed(replays, goal) for replays in found]
        for row, values in zip(rows[1:], needed[1:], strict=True):
            ratio = median_ratio_interval(values, needed[0])
            middle = row.epochs_to_best / rows[0].epochs_to_best
            print(
                f"\n{row.name}: {middle:.2f} of random's epochs "
                f"(95 % {ratio.low:.2f} to {ratio.high:.2f})"
            )


if __name__ == "__main__":
    main()

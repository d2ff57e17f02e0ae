"""How many epochs does a search need on recorded curves? Ours, random search, Ray's own way.

    python benchmarks/search_efficiency.py --choose    # which settings: one half of the table
    python benchmarks/search_efficiency.py --report --ours NAME --peer NAME    # the other half

The halves are decided by a hash of each configuration's number, so nothing that was looked at to
choose is in what is reported. `--choose` prints the line for `--report`.

The peer is Ray's own OptunaSearch (its TPE) and ASHAScheduler, driven as Ray's controller drives
them, on the same rows, workers and virtual time. ASHA's settings are chosen as ours are: from the
same grid, on the same half, by the same criterion; its defaults are shown beside them. Ray audits
nothing, so ours is also reported without immune trials (`immune_every=0`).

Criterion: a search must miss the goal with at most one seed in ten, and stop at most half of the
best tenth of the configurations that it tries, or its own audit would condemn it. Those that do
come first, by the mean over the seeds of the epochs to the goal, where a search that never gets
there counts as many epochs as training the whole half.
"""

import argparse
import math
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ray_contender import RayPair

from dexsearch.config.space import PrunerConfig, SamplerConfig
from dexsearch.search.curves import CurveTable, read_table, with_rows
from dexsearch.search.replay import Conditions, Replay
from dexsearch.search.replays import (
    Pair,
    Summary,
    epochs_needed,
    median,
    median_interval,
    median_ratio_interval,
    run_replays,
    summarise_replays,
)

TABLE = Path(__file__).parent / "curves" / "joint-64px.jsonl"
WITHIN = 0.002
NEVER_ALLOWED = 0.1
STOPPED_ALLOWED = 0.5
SHOWN = 15
RANDOM = Pair(SamplerConfig(kind="random"), PrunerConfig(kind="none"))
SAMPLERS = ("random", "tpe", "qmc")
LATE_SAMPLERS = ("cmaes", "gp")  # gp takes a hundred times as long: with the best pruner only
PARTS = ((4, "a quarter"), (2, "half"))
HEADER = (
    f"\n| search | epochs to within {WITHIN} | 95 % | never | mean, never = all | epochs in all "
    "| regret | best tenth stopped |\n|---|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True)
class Found:
    """A contender and its replays."""

    contender: Pair | RayPair
    replays: Sequence[Replay]
    summary: Summary
    mean: float
    """Mean epochs to the goal; a seed that never gets there counts the whole half."""

    @property
    def rank(self) -> tuple[bool, float]:
        """What is chosen by: the least comes first."""
        found = self.summary
        is_refused = found.never_rate > NEVER_ALLOWED or found.best_tenth_stopped > STOPPED_ALLOWED
        return is_refused, self.mean

    @property
    def kinds(self) -> tuple[str, str]:
        """Kind of the sampler and of the pruner."""
        if isinstance(self.contender, RayPair):
            return "Ray", "Ray"
        return self.contender.sampler.kind, self.contender.pruner.kind

    def regrets_after(self, epochs: int, best: float) -> list[float]:
        """Return what the best complete trial of each seed then lacks to the table's best."""
        return [best - replay.best_after(epochs) for replay in self.replays]


def half_of(table: CurveTable, *, chosen_on: bool) -> CurveTable:
    """Return the rows of one half: a row stays in its half when the table grows."""
    low = [sha256(f"half/{row.number}".encode()).digest()[0] < 128 for row in table.rows]
    return with_rows(
        table,
        tuple(row for row, is_low in zip(table.rows, low, strict=True) if is_low is chosen_on),
    )


def halving_grid(epochs: int) -> list[tuple[int, int]]:
    """Return first decisions (epoch 1, a ninth, a quarter of all) and reductions of halving."""
    firsts = dict.fromkeys((1, max(1, epochs // 9), max(1, epochs // 4)))
    return [(first, reduction) for first in firsts for reduction in (2, 3, 4)]


def candidates(epochs: int, samplers: Iterable[str]) -> list[Pair]:
    """Return every pair of a sampler and a pruner with a few settings."""
    pruners = [PrunerConfig(kind="none")]
    for first in dict.fromkeys(max(1, epochs // part) for part in (9, 4, 2)):
        pruners += [PrunerConfig(kind="median", min_epochs=first)]
        pruners += [PrunerConfig(kind="percentile", min_epochs=first, percentile=25)]
    for first, reduction in halving_grid(epochs):
        for kind in ("successive_halving", "hyperband"):
            pruners.append(PrunerConfig(kind=kind, min_epochs=first, reduction=reduction))
    return [Pair(SamplerConfig(kind=s), p) for s in samplers for p in pruners]


def peers(epochs: int) -> list[RayPair]:
    """Return Ray's searches: its defaults, which are of the grid too, and the rest of the grid."""
    return list(dict.fromkeys([RayPair(), *(RayPair(*given) for given in halving_grid(epochs))]))


def bar(done: int, total: int) -> None:
    """Count on stderr."""
    sys.stderr.write(f"\r{done}/{total} replays" + ("\n" if done == total else ""))


def found_from(
    contender: Pair | RayPair, replays: Sequence[Replay], conditions: Conditions
) -> Found:
    """Summarise the replays of a contender."""
    table = conditions.table
    needed = epochs_needed(replays, table.best(conditions.objective) - WITHIN)
    whole = len(table.rows) * table.epochs
    summary = summarise_replays(contender.name, replays, conditions, within=WITHIN)
    mean = sum(min(epochs, whole) for epochs in needed) / len(needed)
    return Found(contender, replays, summary, mean)


def search(
    contenders: Sequence[Pair | RayPair], conditions: Conditions, *, seeds: int, jobs: int
) -> list[Found]:
    """Replay the contenders."""
    replayed = run_replays(contenders, conditions, seeds=seeds, jobs=jobs, progress=bar)
    return [found_from(*each, conditions) for each in zip(contenders, replayed, strict=True)]


def choose(conditions: Conditions, *, seeds: int, jobs: int) -> None:
    """Print the best settings of ours and of the peer on the choosing half."""
    epochs = conditions.table.epochs
    pairs = candidates(epochs, SAMPLERS)
    found = search([*pairs, *peers(epochs)], conditions, seeds=seeds, jobs=jobs)
    ours, theirs = found[: len(pairs)], found[len(pairs) :]
    pruner = pairs[ours.index(min(ours, key=lambda one: one.rank))].pruner
    late = [Pair(SamplerConfig(kind=kind), pruner) for kind in LATE_SAMPLERS]
    ours += search(late, conditions, seeds=seeds, jobs=jobs)
    ours.sort(key=lambda found: found.rank)
    theirs.sort(key=lambda found: found.rank)
    shown = ours[:SHOWN]
    for place in (0, 1):
        best = {found.kinds[place]: found for found in reversed(ours)}
        shown += [found for found in best.values() if found not in shown]
    shown.sort(key=lambda found: found.rank)
    print(f"\n{len(ours)} pairs: the best {SHOWN}, and the best with each sampler and pruner")
    print_table(shown)
    print(f"\nThe peer: {len(theirs)} settings")
    print_table(theirs)
    print(f"\n--report --ours {ours[0].summary.name!r} --peer {theirs[0].summary.name!r}")


def report(conditions: Conditions, ours: Pair, peer: RayPair, *, seeds: int, jobs: int) -> None:
    """Print what the chosen settings bring on the other half, also without the audit's trials."""
    unaudited = Pair(ours.sampler, ours.pruner.model_copy(update={"immune_every": 0}))
    contenders = [RANDOM, ours, *dict.fromkeys([unaudited, peer, RayPair()])]
    found = search(contenders, conditions, seeds=seeds, jobs=jobs)
    print_table(found)
    random, shipped, *others = found
    print("\nRatios of the median epochs to the goal:\n")
    compared = [(shipped, other) for other in (random, *others)]
    for one, other in [*compared, *((other, random) for other in others)]:
        value = ratio(one, other, conditions)
        print(f"- {one.summary.name} against {other.summary.name}: {value}")
    whole = len(conditions.table.rows) * conditions.table.epochs
    names = " | ".join(f"after {whole // part} epochs ({name})" for part, name in PARTS)
    print("\nWhat the best complete trial then lacks to the best of the half (median over seeds,"
          f" 95 %);\nrandom search spends {whole} epochs on the whole of it:\n")  # fmt: skip
    print(f"| search | {names} |\n|---|---|---|")
    for one in found:
        print(f"| {one.summary.name} | {' | '.join(regrets(one, conditions))} |")


def ratio(one: Found, other: Found, conditions: Conditions) -> str:
    """Return the ratio of two medians with its interval."""
    goal = conditions.table.best(conditions.objective) - WITHIN
    needed = epochs_needed(one.replays, goal), epochs_needed(other.replays, goal)
    if math.isinf(one.summary.epochs_to_best):
        return "never gets there"
    middle, interval = median(needed[0]) / median(needed[1]), median_ratio_interval(*needed)
    return f"{middle:.2f} (95 % {interval.low:.2f} to {interval.high:.2f})"


def regrets(one: Found, conditions: Conditions) -> list[str]:
    """Return the regret after each part of what random search spends."""
    table, best = conditions.table, conditions.table.best(conditions.objective)
    cells = []
    for part, _ in PARTS:
        lacking = one.regrets_after(len(table.rows) * table.epochs // part, best)
        interval = median_interval(lacking)
        cells.append(f"{median(lacking):.4f} ({interval.low:.4f} to {interval.high:.4f})")
    return cells


def print_table(rows: Iterable[Found]) -> None:
    """Print markdown."""
    print(HEADER)
    for row in rows:
        found = row.summary
        low, high = number(found.epochs_interval.low), number(found.epochs_interval.high)
        print(
            f"| {found.name} | {number(found.epochs_to_best)} | {low} to {high} "
            f"| {found.never_rate:.0%} | {row.mean:.0f} | {found.epochs_all:.0f} "
            f"| {found.regret:.4f} | {found.best_tenth_stopped:.0%} |"
        )


def number(epochs: float) -> str:
    """Return epochs in words."""
    return "never" if math.isinf(epochs) else f"{epochs:.0f}"


def main() -> None:
    """Parse, replay, print markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--choose", action="store_true")
    what.add_argument("--report", action="store_true")
    parser.add_argument("--ours", help="the pair to report, as --choose names it")
    parser.add_argument("--peer", help="the peer's settings, as --choose names them")
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--objective", default="val_ssim")
    parser.add_argument("--seeds", type=int, default=32, help="searches of each")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that replay: one thread each
    table = half_of(read_table(given.table), chosen_on=given.choose)
    conditions = Conditions(table, given.objective, workers=given.workers)
    pairs = {pair.name: pair for pair in candidates(table.epochs, (*SAMPLERS, *LATE_SAMPLERS))}
    settings = {pair.name: pair for pair in peers(table.epochs)}
    if given.report and (given.ours not in pairs or given.peer not in settings):
        parser.error("--report needs --ours and --peer, each a name that --choose printed")
    print(
        f"{len(table.rows)} curves of {table.epochs} epochs, {given.workers} workers, "
        f"{given.seeds} seeds, best {given.objective} {table.best(given.objective):.4f}.\n"
        "Intervals are over the seeds on these curves: they say nothing about other curves."
    )
    if given.choose:
        choose(conditions, seeds=given.seeds, jobs=given.jobs)
    else:
        report(
            conditions, pairs[given.ours], settings[given.peer], seeds=given.seeds, jobs=given.jobs
        )


if __name__ == "__main__":
    main()

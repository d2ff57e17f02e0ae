"""The benchmark of search efficiency: Ray's own classes as a contender, and the rule of choice."""

import importlib
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from invented_tables import EPOCHS, table_with

from dexsearch.search.curves import CurveTable, write_table
from dexsearch.search.replay import Conditions, Replay, replay

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="installed without the benchmarks")


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("search_efficiency")


def ray(benchmark: ModuleType, table: CurveTable, *settings: int, seed: int = 0) -> Replay:
    contender = benchmark.RayPair(*settings)(table, "val_ssim", seed)
    return replay(contender, Conditions(table))


@pytest.mark.slow
def test_rays_own_search_prunes_as_asha_does_and_finds_the_best(benchmark: ModuleType) -> None:
    table = table_with(24)
    found = ray(benchmark, table, 3, 3)
    assert found == ray(benchmark, table, 3, 3), "the seed decides everything"
    assert found != ray(benchmark, table, 3, 3, seed=1)
    assert found.n_pruned == found.n_condemned > 0
    assert len(found.best) == 24 - found.n_pruned
    assert found.best[-1] == table.best("val_ssim"), "curves that never cross"
    assert ray(benchmark, table, 6, 3).epochs_all > found.epochs_all


@pytest.mark.slow
def test_ray_stops_nothing_before_its_grace_period(benchmark: ModuleType) -> None:
    table, stops = table_with(24), Counter[int]()
    contender = benchmark.RayPair(3, 3)(table, "val_ssim", 0)
    judge = contender.judge

    def watched(number: int, epoch: int, value: float) -> str:
        verdict: str = judge(number, epoch, value)
        stops[epoch] += verdict == "stop"
        return verdict

    contender.judge = watched
    replay(contender, Conditions(table))
    assert {epoch for epoch, count in stops.items() if count} == {3}  # the next rung is the last
    assert EPOCHS == 9


def test_ray_is_named_by_its_settings_and_its_defaults_are_rays(benchmark: ModuleType) -> None:
    assert benchmark.RayPair().name == (
        "Ray OptunaSearch / ASHA(grace_period=1, reduction_factor=4)"
    )
    names = [peer.name for peer in benchmark.peers(27)]
    assert len(set(names)) == len(names) == 9
    ours = {(pair.pruner.min_epochs, pair.pruner.reduction)
            for pair in benchmark.candidates(27, ["tpe"])
            if pair.pruner.kind == "successive_halving"}  # fmt: skip
    assert ours == {(peer.grace_period, peer.reduction_factor) for peer in benchmark.peers(27)}


def test_the_halves_share_no_row_and_stay_as_they_are(benchmark: ModuleType) -> None:
    def numbers(n_rows: int, *, chosen_on: bool) -> set[int]:
        return {r.number for r in benchmark.half_of(table_with(n_rows), chosen_on=chosen_on).rows}

    low, high = numbers(150, chosen_on=True), numbers(150, chosen_on=False)
    assert low | high == set(range(150))
    assert not low & high
    assert 60 <= len(low) <= 90
    assert numbers(100, chosen_on=True) == {n for n in low if n < 100}


def test_the_choice_counts_what_never_gets_there(benchmark: ModuleType) -> None:
    table = table_with(16)
    best = table.best("val_ssim")

    def found(epochs: list[int]) -> Any:  # noqa: ANN401  (the benchmark's class)
        replays = [Replay((n,), (best if n else 0.0,), 144, 1.0, 0, 0, 0, 0) for n in epochs]
        return benchmark.found_from(benchmark.RANDOM, replays, Conditions(table))

    steady, lucky, rare = found([100] * 10), found([10] * 6 + [0] * 4), found([20] * 9 + [0])
    assert lucky.summary.epochs_to_best < steady.summary.epochs_to_best
    ranked = sorted((steady, lucky, rare), key=lambda one: one.rank)
    assert ranked == [rare, steady, lucky]
    assert rare.mean == (9 * 20 + 16 * EPOCHS) / 10


@pytest.mark.slow
def test_what_was_chosen_is_reported_by_its_name(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    write_table(table_with(60), tmp_path / "table.jsonl")
    ours = "tpe / successive_halving(min_epochs=2, reduction=3)"
    peer = "Ray OptunaSearch / ASHA(grace_period=2, reduction_factor=3)"
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    command = ["x", "--report", "--ours", ours, "--peer", peer, "--table",
               str(tmp_path / "table.jsonl"), "--seeds", "2", "--jobs", "1"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", command)
    benchmark.main()
    printed = capsys.readouterr().out
    for text in (
        "Intervals are over the seeds on these curves",
        f"| {ours} |", f"| {peer} |", f"| {benchmark.RayPair().name} |", "immune_every=0) |",
        f"- {ours} against random / none: ", f"- {ours} against {peer}: ", "(a quarter)",
    ):  # fmt: skip
        assert text in printed
    monkeypatch.setattr(sys, "argv", [*command[:3], "tpe / best", *command[4:]])
    with pytest.raises(SystemExit):
        benchmark.main()
    assert "each a name that --choose printed" in capsys.readouterr().err

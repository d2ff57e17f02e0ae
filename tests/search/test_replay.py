from collections import defaultdict

import numpy as np
import pytest
from invented_tables import EPOCHS, table_with

from dexsearch.config.space import SearchSpace
from dexsearch.search.curves import CurveTable
from dexsearch.search.replay import (
    Conditions,
    Replay,
    StudyContender,
    Verdict,
    best_tenth,
    replay,
)


class InOrder:
    """Takes the rows in order; stops those that the test names, after an epoch."""

    def __init__(self, stops: dict[int, int] | None = None) -> None:
        self.stops = stops or {}
        self.begun = 0
        self.calls: list[tuple[str, int, int]] = []

    def begin(self) -> tuple[int, int]:
        self.begun += 1
        return self.begun - 1, self.begun - 1

    def judge(self, number: int, epoch: int, value: float) -> Verdict:
        self.calls.append(("judge", number, epoch))
        return "stop" if self.stops.get(number) == epoch else "go on"

    def complete(self, number: int, epoch: int, value: float) -> None:
        self.calls.append(("complete", number, epoch))


def run(
    table: CurveTable, sampler: str, pruner: str, *, seed: int = 0, workers: int = 8,
    immune_every: int = 0, **settings: object,
) -> Replay:  # fmt: skip
    config = {"kind": pruner, "min_epochs": 3, "immune_every": immune_every, **settings}
    space = {**table.space, "sampler": {"kind": sampler, "seed": seed}, "pruner": config}
    contender = StudyContender(table, SearchSpace.model_validate(space))
    return replay(contender, Conditions(table, workers=workers))


def test_one_worker_trains_one_trial_after_the_other() -> None:
    table, contender = table_with(5), InOrder({1: 4})
    replay(contender, Conditions(table, workers=1))
    expected = [
        ("complete" if epoch == EPOCHS else "judge", number, epoch)
        for number in range(5)
        for epoch in range(1, (4 if number == 1 else EPOCHS) + 1)
    ]
    assert contender.calls == expected


def test_the_last_epoch_is_never_judged() -> None:
    contender = InOrder(dict.fromkeys(range(4), EPOCHS))
    result = replay(contender, Conditions(table_with(4), workers=2))
    assert result.n_pruned == 0
    assert len(result.best) == 4


@pytest.mark.parametrize("workers", [1, 3, 8, 99])
def test_epochs_are_conserved(workers: int) -> None:
    contender = InOrder({0: 1, 3: 5, 9: EPOCHS - 1})
    result = replay(contender, Conditions(table_with(10), workers=workers))
    trained: dict[int, int] = defaultdict(int)
    for _, number, epoch in contender.calls:
        assert epoch == trained[number] + 1, "epochs of a trial come in order"
        trained[number] = epoch
    assert result.epochs_all == sum(trained.values()) == 7 * EPOCHS + 1 + 5 + EPOCHS - 1
    assert result.n_pruned == result.n_condemned == 3


def test_workers_share_the_time_and_not_the_epochs() -> None:
    table = table_with(12)
    one = replay(InOrder(), Conditions(table, workers=1))
    four = replay(InOrder(), Conditions(table, workers=4))
    assert one.epochs_all == four.epochs_all == 12 * EPOCHS
    assert one.virtual_s == pytest.approx(EPOCHS * sum(row.seconds for row in table.rows))
    assert one.virtual_s / 4 <= four.virtual_s < one.virtual_s / 3
    unit = replay(InOrder(), Conditions(table, workers=4, unit_cost=True))
    assert unit.virtual_s == 3 * EPOCHS


def test_the_faster_configuration_reports_first() -> None:
    table, contender = (
        table_with(3),
        InOrder(),
    )  # 0.5, 1.5, 2.5 s an epoch; of two at once the first begun
    replay(contender, Conditions(table, workers=3))
    assert [call[1:] for call in contender.calls[:4]] == [(0, 1), (0, 2), (1, 1), (0, 3)]


def test_best_so_far_counts_complete_trials_only() -> None:
    table = table_with(10)
    finals = [table.final(row, "val_ssim") for row in table.rows]
    champion = int(np.argmax(finals))
    result = replay(InOrder({champion: EPOCHS - 1}), Conditions(table, workers=2))
    assert result.best[-1] == max(f for n, f in enumerate(finals) if n != champion)
    assert result.epochs_until(max(finals)) == float("inf")
    assert result.n_false == 1
    assert list(result.best) == sorted(result.best)


def test_random_search_needs_what_drawing_without_replacement_needs() -> None:
    n_rows, n_seeds = 9, 250
    table = table_with(n_rows)
    best = table.best("val_ssim")
    draws = [
        run(table, "random", "none", seed=seed, workers=1).epochs_until(best) / EPOCHS
        for seed in range(n_seeds)
    ]
    error = np.std(draws) / n_seeds**0.5
    assert abs(np.mean(draws) - (n_rows + 1) / 2) < 3 * error
    third = sorted(table.final(row, "val_ssim") for row in table.rows)[-3]
    draws = [
        run(table, "random", "none", seed=seed, workers=1).epochs_until(third) / EPOCHS
        for seed in range(n_seeds)
    ]
    assert abs(np.mean(draws) - (n_rows + 1) / 4) < 3 * np.std(draws) / n_seeds**0.5


def test_pruning_reaches_the_best_sooner_where_curves_never_cross() -> None:
    table = table_with(40)
    best = table.best("val_ssim")
    whole = [run(table, "random", "none", seed=s).epochs_until(best) for s in range(12)]
    pruned = [run(table, "random", "successive_halving", seed=s) for s in range(12)]
    assert np.median([r.epochs_until(best) for r in pruned]) < 0.75 * np.median(whole)
    assert all(result.epochs_all < 40 * EPOCHS for result in pruned)


def test_pruning_throws_the_best_away_where_curves_cross() -> None:
    table = table_with(40, crossing=True)
    best = table.best("val_ssim")
    results = [run(table, "random", "successive_halving", seed=s) for s in range(12)]
    assert sum(result.n_false for result in results) > sum(r.n_best_tenth for r in results) / 2
    assert np.median([result.epochs_until(best) for result in results]) == float("inf")


@pytest.mark.parametrize("sampler", ["random", "tpe"])
@pytest.mark.parametrize("pruner", ["successive_halving", "hyperband", "median"])
def test_the_seed_decides_everything(sampler: str, pruner: str) -> None:
    table = table_with(24)
    first, again = (run(table, sampler, pruner, seed=4) for _ in range(2))
    assert first == again
    assert any(run(table, sampler, pruner, seed=seed) != first for seed in (5, 6))


def test_an_immune_trial_is_judged_once_and_trains_to_its_end() -> None:
    table = table_with(32)
    without = run(table, "random", "successive_halving")
    result = run(table, "random", "successive_halving", immune_every=4)
    n_spared = result.n_condemned - result.n_pruned
    assert n_spared > 0 == without.n_condemned - without.n_pruned
    assert len(result.best) == 32 - result.n_pruned
    assert result.epochs_all > without.epochs_all


def test_a_smaller_number_of_trials_ends_the_search_there() -> None:
    result = replay(InOrder(), Conditions(table_with(10), n_trials=4))
    assert (result.epochs_all, len(result.best)) == (4 * EPOCHS, 4)


def test_the_best_tenth_is_rounded_up() -> None:
    assert len(best_tenth(table_with(11), "val_ssim")) == 2
    finals = [table_with(11).final(row, "val_ssim") for row in table_with(11).rows]
    assert int(np.argmax(finals)) in best_tenth(table_with(11), "val_ssim")

import math

import pytest
from invented_tables import table_with

from dexsearch.config.space import PrunerConfig, SamplerConfig
from dexsearch.search.replay import Conditions, Replay
from dexsearch.search.replays import Pair, only_looked_at, run_replays, summarise_replays

HALVING = PrunerConfig(kind="successive_halving", min_epochs=3)


def test_more_processes_find_what_one_finds_in_the_same_order() -> None:
    pairs = [Pair(SamplerConfig(kind=kind), HALVING) for kind in ("random", "tpe")]
    conditions = Conditions(table_with(16))
    told: list[tuple[int, int]] = []
    alone = run_replays(pairs, conditions, seeds=3, jobs=1)
    shared = run_replays(
        pairs, conditions, seeds=3, jobs=2, progress=lambda done, total: told.append((done, total))
    )
    assert shared == alone
    assert alone[0] != alone[1]
    assert len({replay.virtual_s for replay in alone[0]}) == 3, "each seed is another search"
    assert told == [(n, 6) for n in range(1, 7)]


@pytest.mark.parametrize(
    ("pruner", "name"),
    [
        ({"kind": "none", "min_epochs": 4, "immune_every": 0}, "none"),
        ({"kind": "median", "min_epochs": 4, "reduction": 5}, "median(min_epochs=4)"),
        (
            {"kind": "percentile", "percentile": 12.5, "immune_every": 3},
            "percentile(min_epochs=7, percentile=12.5, immune_every=3)",
        ),
        ({"kind": "hyperband", "reduction": 4}, "hyperband(min_epochs=7, reduction=4)"),
    ],
)
def test_a_name_tells_what_the_pruner_looks_at_and_nothing_else(
    pruner: dict[str, object], name: str
) -> None:
    config = PrunerConfig.model_validate(pruner)
    pair = Pair(SamplerConfig(kind="tpe"), config)
    assert pair.name == f"tpe / {name}"
    assert Pair(SamplerConfig(kind="tpe"), only_looked_at(config)).name == pair.name


def test_the_summary_counts_the_best_tenth_that_was_stopped() -> None:
    replays = [
        Replay((5, 9), (0.5, 0.6), 20, 1.0, n_pruned=4, n_condemned=5, n_best_tenth=2, n_false=1),
        Replay((), (), 7, 1.0, n_pruned=6, n_condemned=6, n_best_tenth=2, n_false=2),
    ]
    found = summarise_replays("x", replays, Conditions(table_with(16)), within=1.0)
    assert (found.best_tenth_stopped, found.never_rate, found.n_pruned) == (0.75, 0.5, 5)
    assert math.isinf(found.regret)


def test_the_best_so_far_is_that_of_the_trials_complete_by_then() -> None:
    found = Replay((5, 9, 9), (0.5, 0.5, 0.7), 20, 1.0, 0, 0, 0, 0)
    assert [found.best_after(n) for n in (4, 5, 8, 9, 99)] == [-math.inf, 0.5, 0.5, 0.7, 0.7]

"""The numbers of replicates: means, intervals, seed noise, winners."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from dexsearch.jobs.replication import (
    Replicated,
    Replication,
    configurations,
    pooled_deviation,
    replication_of,
    t_interval,
)
from dexsearch.ledger.study import State, StudyRecord, TrialRecord


def trial(
    number: int,
    score: float | None,
    state: State = "complete",
    head: str = "bone",
    **params: object,
) -> TrialRecord:
    epochs = {} if score is None else {4: {"epoch": 4, "val_ssim": score}}
    return TrialRecord(
        number=number, params=params, config={"task": head, "seed": params.get("seed", number)},
        immune=False, enqueued=False, epochs=epochs, state=state, would_prune_at=None,
        reason="no memory" if state == "failed" else None, kind=None, checkpoint=None,
        started=0.0, ended=1.0,
    )  # fmt: skip


def study(name: str, *trials: TrialRecord) -> StudyRecord:
    return StudyRecord(
        name=name, folder=Path(name), space={}, task="bone", objective="val_ssim", dataset="d",
        dataset_digest="d", metric=1, trials=trials, begun=5.0,
    )  # fmt: skip


SOURCE = study(
    "ribs", trial(0, 0.80, depth=3), trial(1, 0.90, depth=4), trial(2, 0.85, depth=5, head="joint")
)
AGAIN = study(
    "ribs.replicates",
    trial(0, 0.81, depth=4, seed=10),
    trial(1, 0.86, depth=5, seed=10, head="joint"),
    trial(2, 0.83, depth=4, seed=11),
    trial(3, 0.88, depth=5, seed=11, head="joint"),
    trial(4, None, depth=4, seed=12, state="failed"),
    trial(5, 0.2, depth=5, seed=12, head="joint", state="running"),
)


def test_the_t_interval_is_that_of_scipy_and_covers_the_mean_as_often_as_it_says() -> None:
    values = (0.81, 0.83, 0.86, 0.80)
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert t_interval(values) == pytest.approx((expected.low, expected.high))
    rng = np.random.default_rng(0)
    samples = rng.normal(0.8, 0.01, size=(2000, 3))
    ends = [t_interval(tuple(row)) for row in samples.tolist()]
    covered = np.mean([low <= 0.8 <= high for low, high in ends if low])
    assert 0.935 <= covered <= 0.965


def test_one_seed_has_a_mean_and_no_interval() -> None:
    assert t_interval((0.8,)) is None
    assert t_interval(()) is None
    one = Replicated(trial=0, head="bone", first=0.9, seeds=(1,), values=(0.8,))
    assert (one.mean, one.deviation, one.interval) == (0.8, None, None)
    assert "interval" not in str(one)


def test_seed_noise_is_pooled_within_configurations_whatever_their_means() -> None:
    groups = [(0.80, 0.82), (0.50, 0.54), (0.9,), ()]
    found = pooled_deviation(groups)
    assert found is not None
    assert found[0] == pytest.approx(np.sqrt((0.0002 + 0.0008) / 2))
    assert found[1] == 2
    assert pooled_deviation([(0.9,), ()]) is None


def test_the_score_of_the_search_is_no_part_of_mean_interval_or_seed_noise() -> None:
    found = replication_of(SOURCE, AGAIN)
    lucky = next(one for one in found.configurations if one.trial == 1)
    assert lucky.first == 0.90
    assert (lucky.values, lucky.seeds) == ((0.81, 0.83), (10, 11))
    assert lucky.mean == pytest.approx(0.82)
    assert lucky.interval == pytest.approx(t_interval((0.81, 0.83)))
    assert found.noise == pytest.approx((np.sqrt(0.0002), 2))


def test_the_winner_by_mean_stands_beside_the_winner_by_single_score() -> None:
    found = replication_of(SOURCE, AGAIN)
    assert found.by_mean is not None
    assert (found.by_mean.trial, found.by_single_score.trial) == (2, 1)
    assert [one.trial for one in found.configurations] == [2, 1]
    told = str(found).splitlines()[-1]
    assert told == (
        "best by mean: trial 2 (0.8700); best by single score: trial 1 (0.9000, 0.8200 on average)"
    )
    assert "luck with the seed" in str(found)


def test_failed_and_unfinished_replicates_are_named_and_have_no_value() -> None:
    told = str(replication_of(SOURCE, AGAIN))
    assert "1 failed: no memory" in told
    assert "1 unfinished" in told


def test_a_configuration_is_its_parameters_without_the_seed() -> None:
    ranking = study(
        "s", trial(0, 0.8, depth=3, seed=1), trial(1, 0.9, depth=3, seed=2), trial(2, 0.7, depth=4)
    ).ranking()
    assert [one.number for one in configurations(ranking)] == [1, 2]


def test_nothing_complete_yet_names_no_winner_by_mean() -> None:
    running = study("ribs.replicates", trial(0, None, depth=4, seed=10, state="running"))
    found = replication_of(SOURCE, running)
    assert (found.by_mean, found.noise) == (None, None)
    assert found.entries(SOURCE) == ()
    assert "no replicate is complete" in str(found)
    assert "best by mean" not in str(found)


def test_the_registry_keeps_what_is_complete_under_the_source_and_its_beginning() -> None:
    entries = replication_of(SOURCE, AGAIN).entries(SOURCE)
    assert [(one.study, one.begun, one.trial) for one in entries] == [
        ("ribs", 5.0, 2), ("ribs", 5.0, 1)
    ]  # fmt: skip
    assert entries[0].mean == pytest.approx(0.87)
    assert (entries[0].low, entries[0].high) == pytest.approx(t_interval((0.86, 0.88)))
    assert entries[0].seeds == [10, 11]


def test_json_holds_every_number() -> None:
    found: Replication = replication_of(SOURCE, AGAIN)
    shown = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert (shown["best_by_mean"], shown["best_by_single_score"]) == (2, 1)
    assert shown["degrees_of_freedom"] == 2
    assert set(shown["configurations"][0]) >= {
        "trial", "head", "first", "seeds", "values", "mean", "low", "high", "deviation",
        "failures", "unfinished",
    }  # fmt: skip

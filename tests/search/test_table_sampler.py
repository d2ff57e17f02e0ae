from dataclasses import replace

import numpy as np
import optuna
import pytest
from invented_tables import table_with
from searching import space_with

from dexsearch.config.space import SearchSpace
from dexsearch.errors import DataError
from dexsearch.search.curves import CurveTable
from dexsearch.search.optuna_study import OptunaStudy
from dexsearch.search.replay import StudyContender
from dexsearch.search.table_sampler import ABSENCE, TableSampler, TriedRows

ROW = {
    "generator.depth": 3,
    "loss.adversarial": "lsgan",
    "discriminator.patch_px": 1,
    "optimizer.learning_rate": 1e-3,
}


def space_of(table: CurveTable, **changes: object) -> SearchSpace:
    return SearchSpace.model_validate({**table.space, **changes})


def table_of_rows(*params: dict[str, object]) -> CurveTable:
    table = table_with(len(params))
    rows = zip(table.rows, params, strict=True)
    return replace(table, rows=tuple(replace(row, params=given) for row, given in rows))


@pytest.mark.parametrize("kind", ["random", "tpe", "qmc"])
def test_every_row_is_handed_out_once(kind: str) -> None:
    table = table_with(25)
    space = space_of(table, sampler={"kind": kind, "seed": 3})
    contender = StudyContender(table, space)
    indices = []
    for _ in table.rows:
        number, index = contender.begin()
        contender.complete(number, table.epochs, table.final(table.rows[index], "val_ssim"))
        indices.append(index)
    assert sorted(indices) == list(range(25))


@pytest.mark.parametrize("kind", ["random", "tpe"])
def test_the_study_learns_the_rows_and_not_the_proposals(kind: str) -> None:
    table = table_with(20)
    space = space_of(table, sampler={"kind": kind, "seed": 0})
    rows = TriedRows(table, space)
    study = optuna.create_study(direction="maximize")
    ours = OptunaStudy(study, space, around=lambda inner: TableSampler(inner, rows))
    for _ in table.rows:
        number, params = ours.ask()
        assert params == table.rows[rows.row_of[number]].params
        assert study.trials[number].params == params
        ours.tell(number, "complete", 0.5)
    assert rows.n_left == 0


def test_the_nearest_row_left_is_taken() -> None:
    table = table_of_rows(
        {**ROW, "optimizer.learning_rate": 1e-4},
        {**ROW, "optimizer.learning_rate": 4e-4},
        {**ROW, "optimizer.learning_rate": 1e-2},
    )
    rows = TriedRows(table, space_of(table))
    near = {**ROW, "optimizer.learning_rate": 2e-3}  # 0.35 from each end on its own scale
    assert [rows.take_nearest(n, near).number for n in range(3)] == [1, 2, 0]
    assert rows.n_left == 0


def test_distances_are_shares_of_the_ranges_and_one_for_another_category() -> None:
    table = table_of_rows(
        ROW,
        {**ROW, "generator.depth": 4},
        {**ROW, "optimizer.learning_rate": 1e-2},
        {**ROW, "discriminator.patch_px": 16},
        {k: v for k, v in ROW.items() if k != "discriminator.patch_px"}
        | {"loss.adversarial": "none"},
    )
    rows = TriedRows(table, space_of(table))
    np.testing.assert_allclose(rows._distances(ROW), [0, 0.25, 0.25, 1, 1 + ABSENCE])


def test_a_parameter_that_both_lack_is_no_distance() -> None:
    without = {k: v for k, v in ROW.items() if k != "discriminator.patch_px"}
    without["loss.adversarial"] = "none"
    table = table_of_rows(without, ROW)
    rows = TriedRows(table, space_of(table))
    assert rows.take_nearest(0, without) is table.rows[0]


def test_a_random_sampler_takes_each_row_as_often_wherever_it_lies() -> None:
    rates = [1e-4, 1.01e-4, 1.02e-4, 1e-2]  # the last one is nearest to half of the range
    table = table_of_rows(*({**ROW, "optimizer.learning_rate": rate} for rate in rates))
    first = [
        StudyContender(table, space_of(table, sampler={"kind": "random", "seed": seed})).begin()[1]
        for seed in range(200)
    ]
    counts = np.bincount(first, minlength=4)
    assert np.all(np.abs(counts - 50) < 20), counts


@pytest.mark.parametrize(
    "params",
    [
        {k: v for k, v in ROW.items() if k != "generator.depth"},
        {**ROW, "generator.depth": 7},
    ],
)
def test_rows_of_another_space_are_refused(params: dict[str, object]) -> None:
    table = table_of_rows(params)
    contender = StudyContender(table, space_of(table, sampler={"kind": "random"}))
    with pytest.raises(DataError, match="not of the space in its header"):
        contender.begin()


def test_a_category_of_another_space_is_refused_at_once() -> None:
    table = table_of_rows({**ROW, "discriminator.patch_px": 70})
    with pytest.raises(DataError, match="not of the space"):
        TriedRows(table, space_of(table))


def test_the_wrapped_sampler_hears_of_the_ends() -> None:
    heard = []

    class Listening(optuna.samplers.RandomSampler):
        def before_trial(self, study: object, trial: object) -> None:
            heard.append("before")

        def after_trial(self, study: object, trial: object, state: object, values: object) -> None:
            heard.append("after")

    table = table_with(2)
    rows = TriedRows(table, space_of(table))
    study = optuna.create_study(sampler=TableSampler(Listening(seed=0), rows))
    study.tell(study.ask(), 1.0)
    assert heard == ["before", "after"]


def test_a_sampler_that_is_not_wrapped_draws_what_it_always_drew() -> None:
    space = space_with(sampler={"kind": "tpe", "seed": 5})
    numbers = []
    for given in ({}, {"around": lambda sampler: sampler}):
        study = OptunaStudy(optuna.create_study(direction="maximize"), space, **given)
        numbers.append(study.ask()[1])
    assert numbers[0] == numbers[1]

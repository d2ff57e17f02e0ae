"""study.db says what the ledger says, whatever happened to it."""

import json
import os
import pickle
import shutil
import sqlite3
import warnings
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from invented_curves import rising
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from searching import check_study, optuna_trials, search_here, space_with

from dexsearch.ledger.log import read_events
from dexsearch.ledger.study import LEDGER_NAME, study_from_events
from dexsearch.search.optuna_study import attached_trial
from dexsearch.search.study_database import open_study
from dexsearch.search.study_rebuild import replayed


def delete(database: Path) -> None:
    database.unlink()


def truncate(database: Path) -> None:
    with database.open("r+b") as file:
        file.truncate(5000)


def overwrite(database: Path) -> None:
    database.write_text("not a database")


def ask_in_vain(database: Path) -> None:
    """A trial was asked for, and the process killed before the ledger had it."""
    loaded(database).ask()


def forget(database: Path) -> None:
    """The process was killed before the newest epoch reached the database."""
    with sqlite3.connect(database) as connection:
        connection.execute("DELETE FROM trial_intermediate_values WHERE step = 5")
    connection.close()


def reopen(database: Path) -> None:
    """A trial that the ledger has ended is still running."""
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE trials SET state = 'RUNNING' WHERE number = 1")
    connection.close()


def loaded(database: Path) -> optuna.Study:
    return optuna.load_study(study_name="s", storage=f"sqlite:///{database}")


def said(trial: FrozenTrial) -> tuple[object, ...]:
    attributes = {key: value for key, value in trial.system_attrs.items() if "rung" in key}
    return (
        trial.number, trial.state, trial.params, trial.distributions, trial.intermediate_values,
        trial.value, trial.user_attrs, attributes,
    )  # fmt: skip


@pytest.mark.parametrize("damage", [delete, truncate, overwrite, ask_in_vain, forget, reopen])
def test_a_damaged_database_is_rebuilt_as_it_was_pruner_and_all(
    damage: Callable[[Path], None], tmp_path: Path
) -> None:
    folder = tmp_path / "s"
    pruner = {"min_epochs": 1, "immune_every": 4}
    search_here(folder, rising, trials=5, pruner=pruner)
    before = [said(trial) for trial in optuna_trials(folder)]
    assert any("completed_rung_1" in str(attributes[-1]) for attributes in before)
    damage(folder / "study.db")
    search_here(folder, rising, trials=6, pruner=pruner)
    record = check_study(folder, trials=6, epochs=9)
    assert [said(trial) for trial in optuna_trials(folder)[:5]] == before
    assert not (folder / "study.db.partial").exists()
    started = optuna_trials(folder)[0].datetime_start
    assert started is not None
    assert abs(started.timestamp() - record.trials[0].started) < 5


def test_an_undamaged_database_is_not_written_again(tmp_path: Path) -> None:
    search_here(tmp_path / "s", rising, trials=3)
    inode = (tmp_path / "s" / "study.db").stat().st_ino
    search_here(tmp_path / "s", rising, trials=4)
    assert (tmp_path / "s" / "study.db").stat().st_ino == inode


def test_a_study_folder_can_be_copied_and_continued_elsewhere(tmp_path: Path) -> None:
    search_here(tmp_path / "s", rising, trials=3)
    shutil.copytree(tmp_path / "s", tmp_path / "elsewhere" / "s")
    search_here(tmp_path / "elsewhere" / "s", rising, trials=5)
    check_study(tmp_path / "elsewhere" / "s", trials=5, epochs=9)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["median", "percentile", "hyperband", "none"])
def test_every_pruner_survives_a_rebuild(kind: str, tmp_path: Path) -> None:
    pruner = {"kind": kind, "min_epochs": 1, "immune_every": 4}
    search_here(tmp_path / "s", rising, trials=12, pruner=pruner)
    before = [said(trial) for trial in optuna_trials(tmp_path / "s")]
    delete(tmp_path / "s" / "study.db")
    search_here(tmp_path / "s", rising, trials=13, pruner=pruner)
    assert [said(trial) for trial in optuna_trials(tmp_path / "s")[:12]] == before
    check_study(tmp_path / "s", trials=13, epochs=9)


SAMPLERS = ["tpe", "random", "qmc", "gp", "cmaes"]
CONDITIONAL = {
    "optimizer.learning_rate": {"float": [1e-4, 1e-2], "log": True},
    "generator.depth": {"int": [2, 4]},
    "loss.adversarial": {"choice": ["lsgan", "none"]},
    "discriminator.patch_px": {"choice": [1, 16]},
    "optimizer.discriminator_ratio": {"float": [0.5, 2]},
    "optimizer.schedule": {"choice": ["constant", "cosine"]},
    "optimizer.warmup_epochs": {"float": [0, 1], "when": "optimizer.schedule == cosine"},
}


@pytest.mark.parametrize("pruner", ["none", pytest.param("hyperband", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", SAMPLERS)
def test_every_sampler_goes_on_as_if_never_interrupted(
    kind: str, pruner: str, tmp_path: Path
) -> None:
    """Rebuilt from the ledger again and again, it proposes what it would have proposed."""
    changes = {
        "sampler": {"kind": kind, "seed": 3}, "pruner": {"kind": pruner, "min_epochs": 1},
        "epochs": 3, "search": CONDITIONAL, "enqueue": [{"generator.depth": 2}],
    }  # fmt: skip
    for folder, steps in (("whole", [24]), ("parts", [1, 2, 9, 16, 24])):
        for trials in steps:
            here = tmp_path / folder / "s"
            (here / "study.db").unlink(missing_ok=True)
            search_here(here, rising, slots=1, trials=trials, **changes)  # type: ignore[arg-type]
    whole, parts = (
        [trial.params for trial in optuna_trials(tmp_path / name / "s")]
        for name in ("whole", "parts")
    )
    assert len({params["optimizer.learning_rate"] for params in whole}) == 24
    assert parts == whole


@pytest.mark.parametrize("kind", SAMPLERS)
def test_under_every_sampler_a_key_is_drawn_exactly_where_its_condition_holds(
    kind: str, tmp_path: Path
) -> None:
    search_here(
        tmp_path / "s", rising, slots=3, trials=16, epochs=1, search=CONDITIONAL,
        sampler={"kind": kind}, pruner={"kind": "none"},
    )  # fmt: skip
    for trial in optuna_trials(tmp_path / "s"):
        has_discriminator = trial.params["loss.adversarial"] != "none"
        assert ("discriminator.patch_px" in trial.params) == has_discriminator
        assert ("optimizer.discriminator_ratio" in trial.params) == has_discriminator
        is_cosine = trial.params["optimizer.schedule"] == "cosine"
        assert ("optimizer.warmup_epochs" in trial.params) == is_cosine


def test_what_a_file_says_of_cma_es_is_never_unpickled(tmp_path: Path) -> None:
    """Optuna unpickles the sampler's state; a copied folder may hold anybody's."""
    changes = {"sampler": {"kind": "cmaes"}, "pruner": {"kind": "none"}, "epochs": 1,
               "search": CONDITIONAL}  # fmt: skip
    folder = tmp_path / "s"
    search_here(folder, rising, slots=1, trials=12, **changes)  # type: ignore[arg-type]
    assert any("cma:optimizer:0" in trial.system_attrs for trial in optuna_trials(folder))
    mark = tmp_path / "unpickled"
    attack = pickle.dumps(Touching(str(mark))).hex()
    with sqlite3.connect(folder / "study.db") as connection:
        connection.execute(
            "UPDATE trial_system_attributes SET value_json = ? WHERE key = 'cma:optimizer:0'",
            (json.dumps(attack),),
        )
        connection.execute("DELETE FROM trial_system_attributes WHERE key = 'cma:optimizer:1'")
        changed = connection.execute(
            "SELECT COUNT(*) FROM trial_system_attributes WHERE value_json = ?",
            (json.dumps(attack),),
        ).fetchone()[0]
    connection.close()
    assert changed
    search_here(folder, rising, slots=1, trials=14, **changes)  # type: ignore[arg-type]
    assert not mark.exists()
    check_study(folder, trials=14, epochs=1)
    pickle.loads(bytes.fromhex(attack))
    assert mark.exists(), "the attack works where anybody unpickles it"


class Touching:
    """Unpickling it makes a folder."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return os.mkdir, (self.path,)


def test_a_running_trial_is_attached_by_its_private_id(tmp_path: Path) -> None:
    """The one use of Optuna's private names; fails here first if Optuna changes them."""
    storage = RDBStorage(f"sqlite:///{tmp_path}/a.db")
    study = optuna.create_study(storage=storage, direction="maximize")
    study.ask().report(0.5, 1)
    (frozen,) = study.get_trials()
    trial = attached_trial(study, frozen)
    trial.report(0.6, 2)
    study.tell(trial, 0.6)
    (found,) = study.get_trials()
    assert (found.state, found.value) == (TrialState.COMPLETE, 0.6)
    assert found.intermediate_values == {1: 0.5, 2: 0.6}


def test_a_replay_is_quiet_and_needs_no_database(tmp_path: Path) -> None:
    search_here(tmp_path / "s", rising, trials=6)
    events = read_events(tmp_path / "s" / LEDGER_NAME)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        study = replayed("s", events, space_with(trials=6))
    assert [said(trial) for trial in study.trials] == [
        said(trial) for trial in optuna_trials(tmp_path / "s")
    ]


@pytest.mark.slow
def test_five_hundred_trials_are_rebuilt_in_under_a_minute(tmp_path: Path) -> None:
    space = space_with(trials=500)
    events = [{"event": "study", "study": "s", "space": space.model_dump(mode="json"),
               "task": "joint", "dataset": "x", "dataset_digest": "d", "metric": 1}]  # fmt: skip
    for number in range(500):
        params = {"generator.depth": 2 + number % 3, "loss.adversarial": "none",
                  "optimizer.learning_rate": 1e-4 + number * 1e-5}  # fmt: skip
        events.append({"event": "trial_started", "trial": number, "params": params, "config": {},
                       "immune": False, "enqueued": False, "time": 1e9})  # fmt: skip
        events += [
            {"event": "epoch", "trial": number, "record": {"epoch": e, "val_ssim": number / 500}}
            for e in range(1, 10)
        ]
        events.append({"event": "trial_ended", "trial": number, "state": "complete", "time": 2e9})
    record = study_from_events(events, tmp_path)
    study, _ = open_study(tmp_path, record, events, space)
    assert len(study.study.get_trials()) == 500


@pytest.mark.parametrize(
    "enqueued",
    [
        {"generator.depth": 3, "optimizer.learning_rate": 0.005},
        {"generator.depth": 3},
        {"optimizer.learning_rate": 0.005},
    ],
)
def test_a_rebuilt_quasi_random_sequence_counts_only_trials_that_drew_from_it(
    enqueued: dict[str, object], tmp_path: Path
) -> None:
    search = {
        "generator.depth": {"int": [2, 4]},
        "optimizer.learning_rate": {"float": [1e-4, 1e-2], "log": True},
    }
    changes = {
        "sampler": {"kind": "qmc", "seed": 3}, "pruner": {"kind": "none"}, "epochs": 1,
        "search": search, "enqueue": [enqueued] * 3,
    }  # fmt: skip
    search_here(tmp_path / "whole" / "s", rising, slots=1, trials=8, **changes)  # type: ignore[arg-type]
    for trials in range(1, 9):
        (tmp_path / "s" / "study.db").unlink(missing_ok=True)
        search_here(tmp_path / "s", rising, slots=1, trials=trials, **changes)  # type: ignore[arg-type]
    whole, parts = (
        [trial.params for trial in optuna_trials(folder)]
        for folder in (tmp_path / "whole" / "s", tmp_path / "s")
    )
    assert parts == whole

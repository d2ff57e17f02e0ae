"""study.db follows the search: never more than a trial behind, whole at the end."""

import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from invented_curves import rising
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from searching import check_study, optuna_trials, search_here, space_with

from dexsearch.errors import StudyBusy
from dexsearch.ledger.study import read_study, study_from_events
from dexsearch.search.continuation import StudyRequest
from dexsearch.search.displays import PlainProgress
from dexsearch.search.optuna_study import STATES, OptunaStudy
from dexsearch.search.study_database import LONGEST_BEHIND_S, StudyDatabase, open_study
from dexsearch.search.trial import Assignment, Record

PRUNER = {"min_epochs": 1, "reduction": 2, "immune_every": 4}


@pytest.mark.parametrize("slots", [1, 3])
def test_while_a_trial_runs_every_ended_one_is_in_the_file(slots: int, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    seen = []

    def looking(assignment: Assignment) -> Iterator[Record]:
        for record in rising(assignment):
            if assignment.number >= slots and record["epoch"] == 1:
                ended = [trial for trial in read_study(folder).trials if trial.state != "running"]
                found = optuna_trials(folder)
                for trial in ended:
                    frozen = found[trial.number]
                    assert frozen.state == STATES[trial.state]
                    assert sorted(frozen.intermediate_values) == sorted(trial.epochs)
                seen.append(len(ended))
            yield record

    search_here(folder, looking, slots=slots, trials=9, pruner=PRUNER)
    record = check_study(folder, trials=9, epochs=9)
    assert [trial.reason for trial in record.in_state("failed")] == []
    assert len(seen) == 9 - slots
    assert max(seen) >= 9 - slots


@pytest.fixture
def opened(tmp_path: Path) -> tuple[OptunaStudy, Path]:
    """A study without trials, and its folder."""
    space = space_with(pruner={"kind": "none"})
    event = StudyRequest("s", space, Path("x"), "d", (64, 64), 1).as_event()
    folder = tmp_path / "s"
    folder.mkdir()
    study, _ = open_study(folder, study_from_events([event], folder), [event], space)
    return study, folder


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_epochs_of_a_running_trial_appear_after_two_seconds_and_an_end_at_once(
    opened: tuple[OptunaStudy, Path],
) -> None:
    study, folder = opened
    clock = Clock()
    database = StudyDatabase(folder / "study.db", study.study, clock)
    number, params = study.ask()
    study.report(number, 1, 0.25)
    database.follow()
    assert optuna_trials(folder) == []
    clock.now += LONGEST_BEHIND_S
    database.follow()
    (running,) = optuna_trials(folder)
    assert (running.state, running.params) == (TrialState.RUNNING, params)
    assert running.intermediate_values == {1: 0.25}
    study.report(number, 2, 0.5)
    study.note(number, "immune", value=True)
    study.tell(number, "complete", 0.5)
    database.follow()
    (ended,) = optuna_trials(folder)
    assert (ended.state, ended.value) == (TrialState.COMPLETE, 0.5)
    assert ended.intermediate_values == {1: 0.25, 2: 0.5}
    assert ended.user_attrs == {"immune": True}


def test_a_reader_that_keeps_the_file_locked_costs_nothing_but_time(
    opened: tuple[OptunaStudy, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    study, folder = opened
    monkeypatch.setattr("dexsearch.search.study_database._LOCKED_S", 0)
    database = StudyDatabase(folder / "study.db", study.study)
    number, _ = study.ask()
    database.bring_up_to_date()
    study.report(number, 1, 0.25)
    reader = sqlite3.connect(folder / "study.db")
    reader.execute("BEGIN EXCLUSIVE")
    database.bring_up_to_date()
    reader.rollback()
    reader.close()
    assert optuna_trials(folder)[0].intermediate_values == {}
    study.report(number, 2, 0.5)
    database.bring_up_to_date()
    assert optuna_trials(folder)[0].intermediate_values == {1: 0.25, 2: 0.5}


@pytest.mark.parametrize("damage", ["not a database", "malformed"])
def test_a_file_damaged_in_mid_search_costs_a_line_and_is_whole_after_the_next_start(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "s"

    def damaging(assignment: Assignment) -> Iterator[Record]:
        if assignment.number == 1:
            content = (folder / "study.db").read_bytes()
            kept = 0 if damage == "not a database" else 24  # up to where it counts its changes
            header = content[:kept] + b"\x5a" * 4 + content[kept + 4 : 100] if kept else b""
            broken = header + b"\x5a" * (len(content) - len(header))
            (folder / "study.db").write_bytes(broken)
        yield from rising(assignment)

    changes = {"slots": 1, "pruner": PRUNER}
    search_here(folder, damaging, trials=4, progress=PlainProgress(sys.stderr), **changes)  # type: ignore[arg-type]
    assert not read_study(folder).in_state("running")
    assert capsys.readouterr().err.count("study.db is damaged") == 1
    search_here(folder, rising, trials=5, **changes)  # type: ignore[arg-type]
    check_study(folder, trials=5, epochs=9)
    assert len(optuna_trials(folder)) == 5


def test_who_was_taken_over_does_not_write_the_file_any_more(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    before: list[bytes] = []

    def taken_over(assignment: Assignment) -> Iterator[Record]:
        for record in rising(assignment):
            if record["epoch"] == 2:
                before.append((folder / "study.db").read_bytes())
                (folder / "lease" / "2.json").write_text("{}")
                raise KeyboardInterrupt
            yield record

    with pytest.raises(StudyBusy, match="taken over"):
        search_here(folder, taken_over, slots=1, trials=1)
    assert [(folder / "study.db").read_bytes()] == before


def told(trial: FrozenTrial) -> tuple[object, ...]:
    return trial.params, trial.state, trial.intermediate_values, trial.system_attrs


@pytest.mark.parametrize(
    ("sampler", "pruner"),
    [("tpe", "successive_halving"), ("qmc", "none"), ("tpe", "median")],
)
def test_a_file_that_is_read_again_goes_on_as_if_never_closed(
    sampler: str, pruner: str, tmp_path: Path
) -> None:
    changes = {"sampler": {"kind": sampler, "seed": 3}, "pruner": {**PRUNER, "kind": pruner}}
    for folder, steps in (("whole", [14]), ("parts", [1, 6, 13, 14])):
        for trials in steps:
            search_here(tmp_path / folder / "s", rising, slots=1, trials=trials, **changes)  # type: ignore[arg-type]
    whole, parts = (optuna_trials(tmp_path / folder / "s") for folder in ("whole", "parts"))
    assert [told(trial) for trial in parts] == [told(trial) for trial in whole]
    attributes = []
    for folder in ("whole", "parts"):
        storage = RDBStorage(f"sqlite:///{tmp_path}/{folder}/s/study.db")
        study_id = storage.get_study_id_from_name("s")
        attributes.append(storage.get_study_system_attrs(study_id))
    assert attributes[0] == attributes[1]

"""The Optuna study of a search: kept in study.db, rebuilt from the ledger where it differs.

The ledger is written first, so study.db can be missing, behind (killed between the two), ahead
by a trial that was asked for and never handed out, or damaged. In each case the events are
replayed, pruner included, because pruners keep state of their own in the study.
"""

import contextlib
import sqlite3
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from dexsearch.config.space import Scalar, SearchSpace
from dexsearch.ledger.log import Event
from dexsearch.ledger.study import State, StudyRecord, TrialRecord
from dexsearch.search.algorithms import build_pruner, build_sampler
from dexsearch.search.space import distributions, suggest

DATABASE_NAME = "study.db"
STATES: Mapping[State, TrialState] = {
    "running": TrialState.RUNNING,
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


class OptunaStudy:
    """Asks for parameters, hears about epochs, says when to stop; maximises the objective."""

    def __init__(self, study: optuna.Study, space: SearchSpace) -> None:
        self.study = study
        self._space = space
        self._live: dict[int, optuna.Trial] = {}

    def ask(self, enqueued: Mapping[str, Scalar] | None = None) -> tuple[int, dict[str, Scalar]]:
        """Begin a trial; return its number and parameters, `enqueued` ones as given."""
        n_trials = len(self.study.get_trials(deepcopy=False))
        self.study.sampler = build_sampler(self._space.sampler, n_trials)
        if enqueued is not None:
            self.study.enqueue_trial(dict(enqueued))
        trial = self.study.ask()
        self._live[trial.number] = trial
        return trial.number, suggest(trial, self._space)

    def attach(self, number: int) -> None:
        """Take up a running trial of an earlier process."""
        frozen = self.study.get_trials(deepcopy=False)[number]
        self._live[number] = attached_trial(self.study, frozen)

    def report(self, number: int, epoch: int, value: float) -> None:
        """Store the objective of one epoch."""
        self._live[number].report(value, epoch)

    def should_prune(self, number: int) -> bool:
        """Ask the pruner about the newest report of a trial."""
        return self._live[number].should_prune()

    def note(self, number: int, key: str, value: str | int | bool) -> None:
        """Store a user attribute of a trial."""
        self._live[number].set_user_attr(key, value)

    def tell(self, number: int, state: State, value: float | None = None) -> None:
        """End a trial; only a complete one has a value."""
        trial = self._live.pop(number)
        self.study.tell(trial, value, state=STATES[state], skip_if_finished=True)


def attached_trial(study: optuna.Study, frozen: FrozenTrial) -> optuna.Trial:
    """Return a trial object for a running trial; the one place that uses Optuna's private id."""
    return optuna.Trial(study, frozen._trial_id)


def open_study(
    folder: Path, record: StudyRecord, events: Iterable[Event], space: SearchSpace
) -> OptunaStudy:
    """Open study.db, after rebuilding it where it does not say what the ledger says."""
    path = folder / DATABASE_NAME
    study = _agreeing(path, record, space)
    if study is None:
        _write_database(path, replayed(record.name, events, space), record)
        study = _load(_sqlite(path, is_current=True), record.name, space)
    return OptunaStudy(study, space)


def replayed(name: str, events: Iterable[Event], space: SearchSpace) -> optuna.Study:
    """Replay a ledger into a study in memory, so that pruners find what they stored."""
    study = _load(InMemoryStorage(), name, space)
    replay = _Replay(OptunaStudy(study, space), space)
    for event in events:
        replay.take(event)
    return study


class _Replay:
    """Does to a study, event by event, what the driver did."""

    def __init__(self, study: OptunaStudy, space: SearchSpace) -> None:
        self._study = study
        self._space = space
        self._started: dict[int, Event] = {}
        self._values: dict[int, dict[int, float]] = {}
        self._spared: set[int] = set()
        self._ended: set[int] = set()

    def take(self, event: Event) -> None:
        number = event.get("trial", -1)
        if number in self._ended:
            return
        match event["event"]:
            case "trial_started" if number not in self._started:
                self._start(number, event)
            case "epoch":
                self._epoch(number, event["record"])
            case "would_prune":
                self._spared.add(number)
                self._study.note(number, "would_prune_at", event["epoch"])
            case "trial_ended":
                self._end(number, event)

    def _start(self, number: int, event: Event) -> None:
        all_distributions = distributions(self._space)
        study = self._study.study
        study.add_trial(
            optuna.create_trial(
                state=TrialState.RUNNING,
                params=event["params"],
                distributions={key: all_distributions[key] for key in event["params"]},
            )
        )
        if self._space.sampler.kind == "qmc" and number > 0:
            _advance_qmc(study, self._space, number)
        self._study.attach(number)
        self._study.note(number, "immune", event["immune"])
        self._started[number] = event
        self._values[number] = {}

    def _epoch(self, number: int, record: Event) -> None:
        epoch, value = record["epoch"], record[self._space.objective]
        if epoch in self._values[number]:
            return
        self._values[number][epoch] = value
        if number not in self._spared:
            self._study.report(number, epoch, value)
            if epoch < self._space.epochs:
                self._study.should_prune(number)

    def _end(self, number: int, event: Event) -> None:
        values = self._values[number]
        end_trial(
            self._study, number, event["state"], values,
            failure=event.get("reason"), spared=number in self._spared,
        )  # fmt: skip
        self._ended.add(number)


def end_trial(
    study: OptunaStudy, number: int, state: State, values: Mapping[int, float],
    *, failure: str | None, spared: bool,
) -> None:  # fmt: skip
    """Tell a study how a trial ended: what was kept from the pruner, the reason, the value."""
    if spared:
        frozen = study.study.get_trials(deepcopy=False)[number]
        for epoch in sorted(set(values) - set(frozen.intermediate_values)):
            study.report(number, epoch, values[epoch])
    if state == "failed" and failure:
        study.note(number, "failure", failure[:1000])
    study.tell(number, state, values[max(values)] if state == "complete" else None)


def _advance_qmc(study: optuna.Study, space: SearchSpace, number: int) -> None:
    """Move a rebuilt study's quasi-random sequence past one trial."""
    sampler = build_sampler(space.sampler, number)
    frozen = study.get_trials(deepcopy=False)[number]
    sampler.sample_relative(study, frozen, sampler.infer_relative_search_space(study, frozen))


def _agreeing(path: Path, record: StudyRecord, space: SearchSpace) -> optuna.Study | None:
    """Return the study in a database if it says what the ledger says."""
    if not path.exists():
        return None
    try:
        study = _load(_sqlite(path), record.name, space)
        found = study.get_trials(deepcopy=False)
    except (SQLAlchemyError, sqlite3.Error, ValueError, KeyError, RuntimeError):
        return None
    agrees = len(found) == len(record.trials) and all(
        _same(frozen, trial, record.objective)
        for frozen, trial in zip(found, record.trials, strict=True)
    )
    return study if agrees else None


def _same(frozen: FrozenTrial, trial: TrialRecord, objective: str) -> bool:
    values = {epoch: record[objective] for epoch, record in trial.epochs.items()}
    held_back = trial.would_prune_at if trial.state == "running" else None
    if held_back is not None:
        values = {epoch: value for epoch, value in values.items() if epoch <= held_back}
    return (
        frozen.number == trial.number
        and frozen.state == STATES[trial.state]
        and frozen.params == trial.params
        and frozen.intermediate_values == values
        and frozen.user_attrs.get("would_prune_at") == trial.would_prune_at
    )


def _write_database(path: Path, source: optuna.Study, record: StudyRecord) -> None:
    """Write a study in memory to a database, under its name only when it is whole."""
    partial = path.with_name(path.name + ".partial")
    for leftover in (partial, partial.with_name(partial.name + "-journal")):
        leftover.unlink(missing_ok=True)
    storage = _sqlite(partial)
    copy = optuna.create_study(
        storage=storage, study_name=source.study_name, directions=source.directions
    )
    for frozen, trial in zip(source.get_trials(), record.trials, strict=True):
        frozen.datetime_start = datetime.fromtimestamp(trial.started)
        if trial.ended is not None:
            frozen.datetime_complete = datetime.fromtimestamp(trial.ended)
        copy.add_trial(frozen)
    for key, value in source._storage.get_study_system_attrs(source._study_id).items():
        storage.set_study_system_attr(copy._study_id, key, value)
    storage.remove_session()
    storage.engine.dispose()
    with contextlib.suppress(FileNotFoundError):
        path.with_name(path.name + "-journal").unlink()
    partial.replace(path)


def _load(storage: BaseStorage, name: str, space: SearchSpace) -> optuna.Study:
    return optuna.create_study(
        storage=storage,
        study_name=name,
        direction="maximize",
        load_if_exists=True,
        sampler=build_sampler(space.sampler, 0),
        pruner=build_pruner(space.pruner, epochs=space.epochs),
    )


def _sqlite(path: Path, *, is_current: bool = False) -> RDBStorage:
    """Open a database without waiting for the disk at each commit.

    A killed process loses nothing by that; after a power cut the ledger, which does wait, has
    what the database lacks. One that this process has written `is_current` and is not checked.
    """
    storage = RDBStorage(
        f"sqlite:///{path}",
        engine_kwargs={"connect_args": {"timeout": 60}},
        skip_compatibility_check=is_current,
        skip_table_creation=is_current,
    )
    sqlalchemy.event.listen(storage.engine, "connect", _do_not_wait_for_disk)
    storage.engine.dispose()
    return storage


def _do_not_wait_for_disk(connection: sqlite3.Connection, record: object) -> None:
    connection.execute("PRAGMA synchronous = OFF")

"""study.db: the Optuna study of a search for others to look at, at most a trial behind.

The study that a search asks is in memory. A database would be asked about every earlier trial at
each epoch, and that takes longer with each trial; so the file is only written to, several epochs
at a time. What a killed process did not copy is in the ledger, from which study.db is rebuilt.

What a file says of CMA-ES is never unpickled: where that is the sampler, a study.db is not read
but written anew from the ledger, so that it holds nothing but what this process computed.
"""

import contextlib
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import TrialIntermediateValueModel
from optuna.trial import FrozenTrial
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from dexsearch.config.space import SearchSpace
from dexsearch.ledger.log import Event
from dexsearch.ledger.study import StudyRecord, TrialRecord
from dexsearch.search.optuna_study import STATES, OptunaStudy
from dexsearch.search.study_rebuild import empty_study, replayed, unjudged_trial

DATABASE_NAME = "study.db"
LONGEST_BEHIND_S = 2.0
"""How long an epoch may be missing in study.db while trials report."""

_PICKLING = "cmaes"
_LOCKED_S = 5  # how long a reader may keep the file to itself


def open_study(
    folder: Path, record: StudyRecord, events: Sequence[Event], space: SearchSpace
) -> tuple[OptunaStudy, "StudyDatabase"]:
    """Return the study as the ledger has it, in memory, and the study.db that follows it.

    A study.db that agrees with the ledger is read, which is faster than a replay. It is rebuilt
    whenever a trial is unfinished: a pruner changes its state while it answers, and the process
    may have been killed before it wrote the answer down.
    """
    path = folder / DATABASE_NAME
    is_trusted = space.sampler.kind != _PICKLING and not record.in_state("running")
    found = _agreeing(path, record) if is_trusted else None
    if found is None:
        study = replayed(record.name, events, space)
        _write(path, study, record)
    else:
        study = empty_study(record.name, space)
        _copy(found, study)
    ours = OptunaStudy(study, space, unjudged=unjudged_trial(events))
    return ours, StudyDatabase(path, study)


class StudyDatabase:
    """Brings study.db up to date with a study in memory, of which it is a copy at first."""

    def __init__(
        self, path: Path, source: optuna.Study, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`clock` is in seconds."""
        self._source = source
        self._storage = _sqlite(path, is_current=True)
        self._study_id = self._storage.get_study_id_from_name(source.study_name)
        self._clock = clock
        self._copied_at = clock()
        copied = self._storage.get_all_trials(self._study_id, deepcopy=False)
        self._n_trials = len(copied)
        self._unfinished = {t.number: t for t in copied if not t.state.is_finished()}
        self._attributes = self._storage.get_study_system_attrs(self._study_id)

    def follow(self) -> None:
        """Copy what is new, if a trial has ended or the newest copy is `LONGEST_BEHIND_S` old."""
        trials = self._source.get_trials(deepcopy=False)
        open_ones = [*self._unfinished, *range(self._n_trials, len(trials))]
        has_ended = any(trials[number].state.is_finished() for number in open_ones)
        if has_ended or self._clock() - self._copied_at >= LONGEST_BEHIND_S:
            self.bring_up_to_date()

    def bring_up_to_date(self) -> None:
        """Copy what is new; leave it for the next time while a reader keeps the file locked."""
        with contextlib.suppress(StorageInternalError, OperationalError):
            self._copy_what_is_new()
        self._copied_at = self._clock()

    def _copy_what_is_new(self) -> None:
        attributes = self._source._storage.get_study_system_attrs(self._source._study_id)
        for key, value in attributes.items():
            if self._attributes.get(key) != value:
                self._storage.set_study_system_attr(self._study_id, key, value)
                self._attributes[key] = value
        trials = self._source.get_trials(deepcopy=False)
        for number in sorted(self._unfinished):
            self._update(self._unfinished[number], trials[number])
        for trial in trials[self._n_trials :]:
            trial_id = self._storage.create_new_trial(self._study_id, template_trial=trial)
            self._n_trials += 1
            if not trial.state.is_finished():
                self._unfinished[trial.number] = self._storage.get_trial(trial_id)

    def _update(self, old: FrozenTrial, new: FrozenTrial) -> None:
        """Copy what a trial has become; its state last, so that an ended one is whole."""
        storage, trial_id = self._storage, old._trial_id
        epochs = sorted(new.intermediate_values.keys() - old.intermediate_values.keys())
        self._add_epochs(trial_id, {epoch: new.intermediate_values[epoch] for epoch in epochs})
        old.intermediate_values.update(new.intermediate_values)
        for before, now, store in (
            (old.user_attrs, new.user_attrs, storage.set_trial_user_attr),
            (old.system_attrs, new.system_attrs, storage.set_trial_system_attr),
        ):
            for key, value in now.items():
                if key not in before or before[key] != value:
                    store(trial_id, key, value)
                    before[key] = value
        if new.state.is_finished():
            storage.set_trial_state_values(trial_id, new.state, new.values)
            del self._unfinished[new.number]

    def _add_epochs(self, trial_id: int, values: Mapping[int, float]) -> None:
        """Add epochs in one transaction; the storage itself takes one for each."""
        stored = TrialIntermediateValueModel.intermediate_value_to_stored_repr
        rows = []
        for epoch, value in values.items():
            number, kind = stored(value)
            rows.append(
                TrialIntermediateValueModel(
                    trial_id=trial_id,
                    step=epoch,
                    intermediate_value=number,
                    intermediate_value_type=kind,
                )
            )
        with self._storage.scoped_session() as session, session.begin():
            session.add_all(rows)


def _agreeing(path: Path, record: StudyRecord) -> optuna.Study | None:
    """Return the study in a database if it says what the ledger says."""
    if not path.exists():
        return None
    try:
        study = optuna.load_study(study_name=record.name, storage=_sqlite(path))
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
    return (
        frozen.number == trial.number
        and frozen.state == STATES[trial.state]
        and frozen.params == trial.params
        and frozen.intermediate_values == values
        and frozen.user_attrs.get("would_prune_at") == trial.would_prune_at
    )


def _write(path: Path, source: optuna.Study, record: StudyRecord) -> None:
    """Write a study in memory to a database, under its name only when it is whole."""
    partial = path.with_name(path.name + ".partial")
    for leftover in (partial, partial.with_name(partial.name + "-journal")):
        leftover.unlink(missing_ok=True)
    storage = _sqlite(partial)
    copy = optuna.create_study(
        storage=storage, study_name=source.study_name, directions=source.directions
    )
    _copy(source, copy, record)
    storage.remove_session()
    storage.engine.dispose()
    with contextlib.suppress(FileNotFoundError):
        path.with_name(path.name + "-journal").unlink()
    partial.replace(path)


def _copy(source: optuna.Study, copy: optuna.Study, record: StudyRecord | None = None) -> None:
    """Copy a study into an empty one; with a record, begins and ends as the ledger has them."""
    for frozen in source.get_trials():
        if record is not None:
            trial = record.trials[frozen.number]
            frozen.datetime_start = datetime.fromtimestamp(trial.started)
            if trial.ended is not None:
                frozen.datetime_complete = datetime.fromtimestamp(trial.ended)
        copy.add_trial(frozen)
    for key, value in source._storage.get_study_system_attrs(source._study_id).items():
        copy._storage.set_study_system_attr(copy._study_id, key, value)


def _sqlite(path: Path, *, is_current: bool = False) -> RDBStorage:
    """Open a database without waiting for the disk at each commit.

    A killed process loses nothing by that; after a power cut the ledger, which does wait, has
    what the database lacks. One that this process has written `is_current` and is not checked.
    """
    storage = RDBStorage(
        f"sqlite:///{path}",
        engine_kwargs={"connect_args": {"timeout": _LOCKED_S}},
        skip_compatibility_check=is_current,
        skip_table_creation=is_current,
    )
    sqlalchemy.event.listen(storage.engine, "connect", _do_not_wait_for_disk)
    storage.engine.dispose()
    return storage


def _do_not_wait_for_disk(connection: sqlite3.Connection, record: object) -> None:
    connection.execute("PRAGMA synchronous = OFF")

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
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from dexsearch.config.space import SearchSpace
from dexsearch.ledger.log import Event
from dexsearch.ledger.study import StudyRecord, TrialRecord
from dexsearch.search.optuna_study import STATES, OptunaStudy
from dexsearch.search.study_rebuild import empty_study, replayed, unjudged_trial
from dexsearch.search.study_rows import CopiedTrial, StudyRows

DATABASE_NAME = "study.db"
LONGEST_BEHIND_S = 2.0
"""How long an epoch may be missing in study.db while trials report."""

_PICKLING = "cmaes"
_LOCKED_S = 5  # how long a reader may keep the file to itself


def open_study(
    folder: Path,
    record: StudyRecord,
    events: Sequence[Event],
    space: SearchSpace,
    tell: Callable[[str], None] = lambda told: None,
) -> tuple[OptunaStudy, "StudyDatabase"]:
    """Return the study as the ledger has it, in memory, and the study.db that follows it.

    A study.db that agrees with the ledger is read, which is faster than a replay. It is rebuilt
    whenever a trial is unfinished: a pruner changes its state while it answers, and the process
    may have been killed before it wrote the answer down. `tell` is given a line for people if
    study.db is damaged later on.
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
    return ours, StudyDatabase(path, study, tell=tell)


class StudyDatabase:
    """Brings study.db up to date with a study in memory, of which it is a copy at first."""

    def __init__(
        self, path: Path, source: optuna.Study, clock: Callable[[], float] = time.monotonic,
        tell: Callable[[str], None] = lambda told: None,
    ) -> None:  # fmt: skip
        """`clock` is in seconds; `tell` is given a line if the file can be followed no more."""
        self._source = source
        self._tell = tell
        self._is_damaged = False
        self._storage = _sqlite(path, is_current=True)
        self._study_id = self._storage.get_study_id_from_name(source.study_name)
        self._clock = clock
        self._copied_at = clock()
        copied = self._storage.get_all_trials(self._study_id, deepcopy=False)
        self._n_trials = len(copied)
        self._next_id = 1 + max((trial._trial_id for trial in copied), default=0)
        self._unfinished = {
            trial.number: CopiedTrial.of(trial, trial._trial_id)
            for trial in copied
            if not trial.state.is_finished()
        }
        self._attributes = self._storage.get_study_system_attrs(self._study_id)

    def follow(self) -> None:
        """Copy what is new, if a trial has ended or the newest copy is `LONGEST_BEHIND_S` old."""
        trials = self._source.get_trials(deepcopy=False)
        open_ones = [*self._unfinished, *range(self._n_trials, len(trials))]
        has_ended = any(trials[number].state.is_finished() for number in open_ones)
        if has_ended or self._clock() - self._copied_at >= LONGEST_BEHIND_S:
            self.bring_up_to_date()

    def bring_up_to_date(self) -> None:
        """Copy what is new; leave it for the next time while a reader keeps the file locked.

        A file that is damaged is left alone: the next start writes it anew from the ledger.
        """
        if self._is_damaged:
            return
        try:
            self._copy_what_is_new()
        except (StorageInternalError, OperationalError):
            pass
        except SQLAlchemyError as error:
            self._is_damaged = True
            self._tell(
                f"{DATABASE_NAME} is damaged ({error.__cause__ or error}); the search goes on "
                "without it, and its next start writes it anew from the ledger"
            )
        self._copied_at = self._clock()

    def _copy_what_is_new(self) -> None:
        """Write what is new in one transaction, and note it once it is in the file."""
        rows, attributes = StudyRows(self._study_id), _attributes(self._source)
        for key, value in attributes.items():
            if self._attributes.get(key) != value:
                rows.add_study_attribute(key, value)
        trials = self._source.get_trials(deepcopy=False)
        for number, copied in self._unfinished.items():
            rows.update_trial(trials[number], copied)
        new = trials[self._n_trials :]
        for trial_id, trial in enumerate(new, start=self._next_id):
            rows.add_trial(trial, trial_id)
        with self._storage.engine.begin() as connection:
            rows.write(connection)
        ids = {number: copied.trial_id for number, copied in self._unfinished.items()}
        ids.update((trial.number, place) for place, trial in enumerate(new, start=self._next_id))
        self._note(ids, trials)
        self._attributes = attributes

    def _note(self, ids: Mapping[int, int], trials: Sequence[FrozenTrial]) -> None:
        """Note what the file has now of the trials of which it may hear more."""
        self._unfinished = {
            number: CopiedTrial.of(trials[number], trial_id)
            for number, trial_id in ids.items()
            if not trials[number].state.is_finished()
        }
        self._next_id += len(trials) - self._n_trials
        self._n_trials = len(trials)


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
    rows = StudyRows(storage.create_new_study(source.directions, source.study_name))
    for trial_id, frozen in enumerate(source.get_trials(), start=1):
        trial = record.trials[frozen.number]
        frozen.datetime_start = datetime.fromtimestamp(trial.started)
        if trial.ended is not None:
            frozen.datetime_complete = datetime.fromtimestamp(trial.ended)
        rows.add_trial(frozen, trial_id)
    for key, value in _attributes(source).items():
        rows.add_study_attribute(key, value)
    with storage.engine.begin() as connection:
        rows.write(connection)
    storage.remove_session()
    storage.engine.dispose()
    with contextlib.suppress(FileNotFoundError):
        path.with_name(path.name + "-journal").unlink()
    partial.replace(path)


def _copy(source: optuna.Study, copy: optuna.Study) -> None:
    """Copy a study into an empty one."""
    copy.add_trials(source.get_trials(deepcopy=False))
    for key, value in _attributes(source).items():
        copy._storage.set_study_system_attr(copy._study_id, key, value)


def _attributes(study: optuna.Study) -> dict[str, Any]:
    """Return what samplers and pruners keep in a study."""
    return dict(study._storage.get_study_system_attrs(study._study_id))


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

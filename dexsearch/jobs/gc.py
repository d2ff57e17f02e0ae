"""Free the disk of what nobody will read again; what an alias or a version needs stays.

Each study is collected while its ledger is locked, packages while nobody packs, artifacts while
nobody writes MLflow; whatever is in use is passed over and told. A folder loses its name before
its files go, so a crash leaves at most an orphan, which the next `gc` takes.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dexsearch.durable import remove_folder
from dexsearch.errors import ConfigurationError, DataError, EnvironmentFault, StudyBusy
from dexsearch.jobs.collection import Collected, Collection
from dexsearch.jobs.garbage import (
    Garbage,
    StudyKeeper,
    artifact_garbage,
    freed_bytes,
    is_plain,
    package_garbage,
    study_garbage,
)
from dexsearch.ledger.log import lock_of, read_events
from dexsearch.ledger.study import LEDGER_NAME, REPLICATES, StudyRecord, study_from_events
from dexsearch.location import above, is_elsewhere
from dexsearch.locking import hold_lock, is_locked
from dexsearch.registry.address import DATABASE
from dexsearch.registry.inspection import run_ids
from dexsearch.registry.packing import nobody_packing
from dexsearch.registry.record import Registry, read_registry
from dexsearch.search.lease import is_held

LOCK_NAME = "gc.lock"


def collect_garbage(
    workspace: Path, *, keep: int, dry_run: bool, progress: Callable[[int, int], None]
) -> Collection:
    """Delete what nobody will read again, or say what that would be.

    Args:
        workspace: what to clear up; nothing outside it is touched, also not through a symlink.
        keep: how many of the best complete trials of a study, of each head, keep their
            checkpoint; what registering still needs stays besides.
        dry_run: delete and lock nothing.
        progress: is given (done, total) folders.

    Raises:
        ConfigurationError: if there is no such workspace.
        DataError: if the registry is damaged; then nothing is deleted.
        StudyBusy: if another `gc` is at work here.
        EnvironmentFault: if something cannot be deleted; what was deleted until then is gone.
    """
    if not workspace.is_dir():
        raise ConfigurationError(
            f"workspace {str(workspace)!r} is not there", hint="name a folder: --workspace DIR"
        )
    collector = _Collector(workspace, keep=keep, dry_run=dry_run, progress=progress)
    with collector.alone():
        collector.checkpoints_and_packages()
        collector.artifacts()
    return Collection(tuple(collector.items), tuple(collector.passed_over), dry_run)


class _Collector:
    """Goes through the rooms of a workspace, holding the lock of each while it is in there."""

    def __init__(
        self, workspace: Path, *, keep: int, dry_run: bool, progress: Callable[[int, int], None]
    ) -> None:
        self.workspace = workspace
        self.registry = Registry(workspace, (), {})
        self.items: list[Collected] = []
        self.passed_over: list[str] = []
        self._keep = keep
        self._dry_run = dry_run
        self._progress = progress

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep a second `gc` out."""
        with self._locked(self.workspace / LOCK_NAME, "the workspace"):
            yield

    def checkpoints_and_packages(self) -> None:
        """Collect what registering reads and writes, unless somebody registers."""
        with nobody_packing(self.workspace, ask_only=self._dry_run) as is_free:
            if not is_free:
                self.passed_over.append("studies and packages: a search registers just now")
                return
            self.registry = read_registry(self.workspace)
            ledgers = self.workspace.glob(f"studies/*/{LEDGER_NAME}")
            for folder in sorted(ledger.parent for ledger in ledgers):
                self._study(folder)
            self._take(list(package_garbage(self.workspace, self.registry)))

    def _study(self, folder: Path) -> None:
        """Collect in one study, unless somebody works on it."""
        name, ledger = folder.name, folder / LEDGER_NAME
        if not is_plain(self.workspace, "studies", name):
            self.passed_over.append(f"study {name}: a symlink leads to it")
            return
        try:
            if is_held(folder):  # by another machine, which the lock may not tell of
                raise StudyBusy("a process holds it; dexsearch status tells which")
            with self._locked(lock_of(ledger), f"study {name}"):
                events = read_events(ledger)
                if events:
                    record = study_from_events(events, folder)
                    self._tell_of_storage(record)
                    keep = 0 if name.endswith(REPLICATES) else self._keep  # nobody reads those
                    keeper = StudyKeeper(record, self.registry, keep, _has_checkpoint)
                    self._take(list(study_garbage(keeper)))
        except (DataError, StudyBusy) as error:
            self.passed_over.append(f"study {name}: {error}")

    def artifacts(self) -> None:
        """Collect among the artifacts of MLflow's runs, unless somebody writes MLflow."""
        with self._nobody_writes_mlflow() as is_free:
            if not is_free:
                self.passed_over.append("artifacts: MLflow is written just now")
                return
            runs = run_ids(self.workspace)
            if runs is not None:
                self._take(list(artifact_garbage(self.workspace, self.registry, runs)))

    def _take(self, garbage: list[Garbage]) -> None:
        """Delete the garbage, what died first, and note what that gave."""
        freed = freed_bytes(garbage)
        garbage.sort(key=lambda item: item.kind != "unfinished")
        for done, item in enumerate(garbage, start=1):
            if not self._dry_run:
                _delete(item.path)
            self.items.append(
                Collected(item.kind, item.place, item.path, item.why, freed[item.path])
            )
            self._progress(done, len(garbage))

    def _tell_of_storage(self, record: StudyRecord) -> None:
        elsewhere = {
            above(trial.checkpoint, 3)
            for trial in record.trials
            if trial.checkpoint is not None and is_elsewhere(trial.checkpoint)
        }
        self.passed_over += [
            f"checkpoints of study {record.folder.name}: they lie in {place}, outside its folder"
            for place in sorted(elsewhere)
        ]

    @contextmanager
    def _nobody_writes_mlflow(self) -> Iterator[bool]:
        lock = self.workspace / f"{DATABASE}.lock"
        if self._dry_run or not lock.is_file():
            yield not is_locked(lock)
            return
        with lock.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    @contextmanager
    def _locked(self, lock: Path, what: str) -> Iterator[None]:
        """Hold a lock; a dry run only asks whether it is free."""
        busy = StudyBusy(
            f"{what} is in use by another process", hint="wait until it ends, then run gc again"
        )
        if self._dry_run:
            if is_locked(lock):
                raise busy
            yield
            return
        descriptor = hold_lock(
            lock, what=what, busy=StudyBusy, elsewhere="put the workspace on a local disk"
        )
        try:
            yield
        finally:
            os.close(descriptor)


def _delete(path: Path) -> None:
    try:
        remove_folder(path) if path.is_dir() else path.unlink()
        if path.parent.parent.name == "trials" and not any(path.parent.iterdir()):
            path.parent.rmdir()
    except OSError as error:
        raise EnvironmentFault(
            f"cannot delete {str(path)!r}: {error.strerror or error}",
            hint="correct its permissions, then run gc again; what is gone so far stays gone",
        ) from error


def _has_checkpoint(location: str) -> bool:
    from dexsearch.training.checkpoint import open_checkpoint

    try:
        open_checkpoint(location)
    except ValueError:
        return False
    except OSError as error:
        raise DataError(f"passed over, because a checkpoint cannot be read: {error}") from error
    return True

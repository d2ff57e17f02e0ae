"""Begin or continue a search; the one function that the rest of dexsearch calls."""

import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from dexsearch.config.space import SearchSpace
from dexsearch.errors import EnvironmentFault
from dexsearch.ledger.log import Event, EventLog
from dexsearch.ledger.study import LEDGER_NAME, StudyRecord, read_study, study_from_events
from dexsearch.location import is_uri
from dexsearch.search.algorithms import sampler_note
from dexsearch.search.backend import Backend
from dexsearch.search.continuation import StudyRequest, refuse_changed
from dexsearch.search.disk_guard import DiskGuard
from dexsearch.search.displays import progress_for
from dexsearch.search.driver import StudyDriver
from dexsearch.search.lease import Lease, study_lease
from dexsearch.search.machine import this_machine
from dexsearch.search.progress import Progress
from dexsearch.search.signals import StopOnSignals
from dexsearch.search.site import HERE, Site
from dexsearch.search.storage import study_location
from dexsearch.search.study_database import DATABASE_NAME, open_study
from dexsearch.search.training_backend import training_backend
from dexsearch.training.metrics import METRIC_DEFINITION


@dataclass(frozen=True, slots=True)
class StudyOutcome:
    """What a call of `run_study` left: the study, and the exit code of a signal that ended it."""

    record: StudyRecord
    interrupted: int | None = None
    """130 after Ctrl-C, 143 after SIGTERM or SIGUSR1; None if the search came to its end."""
    at_once: bool = False
    """Whether a second signal asked to stop without any delay."""
    out_of_time: bool = False
    """Whether the search stopped, to be continued, because its time was over."""


def run_study(
    space: SearchSpace,
    *,
    study: str,
    folder: Path,
    dataset: Path,
    dataset_digest: str,
    size_px: tuple[int, int],
    site: Site = HERE,
    progress: Progress | None = None,
    backend: Backend | None = None,
    time_s: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> StudyOutcome:
    """Run a search to its total number of trials, from wherever its ledger says that it is.

    The same call after Ctrl-C, a kill or a power cut continues the same search: unfinished
    trials first, each from its newest valid checkpoint. A signal does not raise; it shows in
    the outcome, so that the caller can still register what is complete.

    Args:
        space: what to search; `space.trials` is the total, earlier trials included.
        study: name of the study.
        folder: the study's folder; made if it is missing.
        dataset: the dataset's folder, as every worker sees it.
        dataset_digest: what must not change while the study lives.
        size_px: height and width of the images.
        site: where it runs and keeps its checkpoints.
        progress: a display; otherwise the one that fits standard error.
        backend: where trials run; otherwise real training on Ray.
        time_s: once so many seconds have passed since the call, no trial is handed out and the
            running ones stop at their next report, to be continued by the same call; None: no
            limit.
        clock: tells seconds; for tests.

    Raises:
        ConfigurationError: if the study was begun as another search.
        StudyBusy: if another process works on it, or has taken it over meanwhile.
        EnvironmentFault: if Ray cannot be started or joined, or a disk is full.
        DataError: if the dataset cannot be used.
    """
    deadline = None if time_s is None else clock() + time_s
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder = folder.resolve()  # workers have another current folder
    checkpoints = study_location(folder, site.storage, study)
    request = StudyRequest(
        study, space, dataset, dataset_digest, size_px, METRIC_DEFINITION,
        machine=this_machine() if site.address is None else None,
    )  # fmt: skip
    display = progress or progress_for()
    with (
        _closing(display),
        study_lease(folder, takeover=site.takeover, tell=display.message) as lease,
        EventLog(folder / LEDGER_NAME, check=lease.check, outlived=lease.void_locks) as log,
    ):
        lease.settle()
        events = _opened_events(log, request, folder, token=lease.token_after_takeover)
        record = study_from_events(events, folder)
        display.opened(record, trials=space.trials, epochs=space.epochs)
        if (note := sampler_note(space)) is not None:
            display.message(note)
        with _told_unwritable(folder / DATABASE_NAME):
            study_asked, database = open_study(folder, record, events, space, display.message)

        def follow() -> None:
            lease.check()
            database.follow()

        guard = _disk_guard(folder, checkpoints, site)
        driver = StudyDriver(
            space, record, log, study_asked, storage=checkpoints, progress=display,
            is_time_over=lambda: deadline is not None and clock() >= deadline,
            follow=follow, token=lease.token, check_lease=lease.check,
            shortage=lambda: guard.shortage(at_once=max(1, len(driver.running))),
        )  # fmt: skip
        driver.farewell = _farewell(display, lease)
        signals = StopOnSignals(driver.request_stop, is_idle=lambda: not driver.running)
        interrupted = False
        if driver.n_left:
            runner = backend or training_backend(request, folder, site)
            interrupted = _was_interrupted(runner, driver, signals)
        lease.check()
        database.bring_up_to_date()
    code = signals.exit_code or (130 if interrupted else None)
    return StudyOutcome(
        read_study(folder),
        interrupted=code,
        at_once=signals.at_once,
        out_of_time=driver.out_of_time,
    )


def _was_interrupted(backend: Backend, driver: StudyDriver, signals: StopOnSignals) -> bool:
    """Run the trials; return whether that was broken off at once."""
    driver.on_backend_ready = signals.install  # Ray takes some of them for itself
    driver.exit_code = lambda: signals.exit_code
    with signals, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Ray and Optuna, about themselves
        try:
            backend.run(driver)
        except KeyboardInterrupt:
            return True
    return False


def _farewell(display: Progress, lease: Lease) -> Callable[[], None]:
    """Return what leaves terminal and study in order before the process is ended."""
    stack = ExitStack()
    stack.callback(lease.release)
    stack.callback(display.closed)
    return stack.close


def _disk_guard(folder: Path, checkpoints: str, site: Site) -> DiskGuard:
    """Return the guard of the disks that this machine sees the search write to."""
    return DiskGuard(
        [folder] if site.address else [folder, Path(tempfile.gettempdir())],
        None if is_uri(checkpoints) else Path(checkpoints),
    )


def _opened_events(
    log: EventLog, request: StudyRequest, folder: Path, *, token: int | None
) -> list[Event]:
    """Return the ledger's events, after writing what is asked for where that is new.

    Or where the study was taken over, with the fencing token: events after it are the taker's.
    """
    events = list(log.events_at_opening)
    asked = request.as_event() | ({} if token is None else {"token": token})
    if any(event["event"] == "study" for event in events):
        record = study_from_events(events, folder)
        refuse_changed(record, request)
        known = {"space": record.space, "dataset": record.dataset}
        is_over = len(record.trials) >= request.space.trials and not record.in_state("running")
        is_known = is_over or request.machine is None or request.machine in record.machines
        if token is None and is_known and known == {key: asked[key] for key in known}:
            return events
    return [*events, log.append(asked)]


@contextmanager
def _told_unwritable(path: Path) -> Iterator[None]:
    """Turn what a database or a disk raises into the fault that it is."""
    try:
        yield
    except (OSError, SQLAlchemyError, StorageInternalError) as error:
        cause = error.__cause__ or error
        raise EnvironmentFault(
            f"cannot write {path}: {cause}",
            hint="free some disk space; the same command then continues",
        ) from error


@contextmanager
def _closing(progress: Progress) -> Iterator[None]:
    try:
        yield
    finally:
        progress.closed()

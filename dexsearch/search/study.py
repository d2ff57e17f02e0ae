"""Begin or continue a search; the one function that the rest of dexsearch calls."""

import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import optuna

from dexsearch.config.space import SearchSpace
from dexsearch.errors import DexSearchError, EnvironmentFault, Interrupted, Terminated
from dexsearch.ledger.study import StudyRecord, read_study
from dexsearch.location import is_uri
from dexsearch.search.backend import Backend
from dexsearch.search.continuation import StudyRequest
from dexsearch.search.disk_guard import DiskGuard
from dexsearch.search.displays import progress_for
from dexsearch.search.driver import StudyDriver
from dexsearch.search.lease import Lease
from dexsearch.search.machine import this_machine
from dexsearch.search.progress import Progress
from dexsearch.search.signals import StopOnSignals
from dexsearch.search.site import HERE, Site
from dexsearch.search.storage import study_location
from dexsearch.search.study_opening import OpenStudy, opened_study
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
    the outcome, so that the caller can still register what is complete. Only where the search
    cannot be ended tidily, because a disk is full for example, the signal is raised.

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
        Interrupted: after a signal, where a fault met the search as well: what it says.
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
    with _closing(display), opened_study(request, folder, site, display) as opened:
        driver = _driver(
            opened, space, display, storage=checkpoints,
            guard=_disk_guard(folder, checkpoints, site),
            is_time_over=lambda: deadline is not None and clock() >= deadline,
        )  # fmt: skip
        signals = StopOnSignals(driver.request_stop, is_idle=lambda: not driver.running)
        interrupted = False
        with _signal_first(signals):
            if driver.n_left:
                runner = backend or training_backend(request, folder, site)
                interrupted = _was_interrupted(runner, driver, signals)
            opened.lease.check()
            opened.database.bring_up_to_date()
    code = signals.exit_code or (130 if interrupted else None)
    return StudyOutcome(
        read_study(folder),
        interrupted=code,
        at_once=signals.at_once,
        out_of_time=driver.out_of_time,
    )


def _driver(
    opened: OpenStudy,
    space: SearchSpace,
    display: Progress,
    *,
    storage: str,
    guard: DiskGuard,
    is_time_over: Callable[[], bool],
) -> StudyDriver:
    """Return what takes up the search where its ledger ends."""
    lease = opened.lease
    driver = StudyDriver(
        space, opened.record, opened.log, opened.proposals, storage=storage, progress=display,
        is_time_over=is_time_over, follow=opened.follow, token=lease.token,
        check_lease=lease.check,
        shortage=lambda: guard.shortage(at_once=max(1, len(driver.running))),
    )  # fmt: skip
    driver.farewell = _farewell(driver, display, lease)
    return driver


def _was_interrupted(backend: Backend, driver: StudyDriver, signals: StopOnSignals) -> bool:
    """Run the trials; return whether that was broken off at once."""
    driver.on_backend_ready = signals.install  # Ray takes some of them for itself
    driver.exit_code = lambda: signals.exit_code
    with signals, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Ray and Optuna, about themselves
        try:
            with _acquitting(driver):
                backend.run(driver)
        except KeyboardInterrupt:
            return True
    return False


@contextmanager
def _acquitting(driver: StudyDriver) -> Iterator[None]:
    """Suspect no trial of an end of the search that is told: a fault or a signal, no kill."""
    try:
        yield
    except BaseException as error:
        is_told = isinstance(error, DexSearchError | KeyboardInterrupt)
        if is_told or driver.exit_code() is not None:
            _acquit(driver)
        raise
    _acquit(driver)


def _acquit(driver: StudyDriver, is_suspect: Callable[[int], bool] = lambda number: False) -> None:
    driver.request_stop()  # no waiting for a full disk
    driver.journal.acquit(is_suspect=is_suspect)


@contextmanager
def _signal_first(signals: StopOnSignals) -> Iterator[None]:
    """Let a signal that came decide the exit code, which a scheduler goes by; tell the fault."""
    try:
        yield
    except EnvironmentFault as fault:
        if signals.exit_code is None:
            raise
        kind = Terminated if signals.exit_code == Terminated.exit_code else Interrupted
        raise kind(f"stopped by a signal; besides, {fault}", hint=fault.hint) from fault


def _farewell(driver: StudyDriver, display: Progress, lease: Lease) -> Callable[[], None]:
    """Return what leaves terminal and study in order before the process is ended.

    Where a trial ran, it may have taken Ray along; one that only waited for room has not.
    """

    def acquit() -> None:
        is_asked_to_end = driver.exit_code() is not None
        _acquit(driver, lambda number: not is_asked_to_end and number in driver.watchdog)

    stack = ExitStack()
    stack.callback(lease.release)
    stack.callback(acquit)
    stack.callback(display.closed)
    return stack.close


def _disk_guard(folder: Path, checkpoints: str, site: Site) -> DiskGuard:
    """Return the guard of the disks that this machine sees the search write to."""
    return DiskGuard(
        [folder] if site.address else [folder, Path(tempfile.gettempdir())],
        None if is_uri(checkpoints) else Path(checkpoints),
    )


@contextmanager
def _closing(progress: Progress) -> Iterator[None]:
    try:
        yield
    finally:
        progress.closed()

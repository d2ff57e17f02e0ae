"""Take hold of a study: its lease, what is asked for in its ledger, and its study.db."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from dexsearch.errors import EnvironmentFault
from dexsearch.ledger.log import Event, EventLog
from dexsearch.ledger.study import LEDGER_NAME, StudyRecord, study_from_events
from dexsearch.search.algorithms import sampler_note
from dexsearch.search.continuation import StudyRequest, refuse_changed
from dexsearch.search.lease import Lease, study_lease
from dexsearch.search.optuna_study import OptunaStudy
from dexsearch.search.progress import Progress
from dexsearch.search.site import Site
from dexsearch.search.study_database import DATABASE_NAME, StudyDatabase, open_study


@dataclass(frozen=True, slots=True)
class OpenStudy:
    """A study that this process alone works on, and what its search writes to."""

    record: StudyRecord
    lease: Lease
    log: EventLog
    proposals: OptunaStudy
    database: StudyDatabase

    def follow(self) -> None:
        """Let study.db follow the ledger, as long as no other process has the study."""
        self.lease.check()
        self.database.follow()


@contextmanager
def opened_study(
    request: StudyRequest, folder: Path, site: Site, display: Progress
) -> Iterator[OpenStudy]:
    """Take the study's lease, write down what is asked for and open study.db.

    Raises:
        ConfigurationError, StudyBusy, EnvironmentFault: as `study.run_study`.
    """
    space = request.space
    with (
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
            proposals, database = open_study(folder, record, events, space, display.message)
        yield OpenStudy(record, lease, log, proposals, database)


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

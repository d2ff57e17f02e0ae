"""The job behind `dexsearch report`: gather everything about a study, write one HTML file."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dexsearch.durable import partial_beside, write_durably
from dexsearch.errors import ConfigurationError, DexSearchError, EnvironmentFault
from dexsearch.jobs.out_file import refuse_unwritable
from dexsearch.jobs.report_pictures import open_gallery
from dexsearch.ledger.log import Event, read_events
from dexsearch.ledger.studies import study_folder
from dexsearch.ledger.study import LEDGER_NAME, StudyRecord, study_from_events
from dexsearch.registry.record import Registry, read_registry
from dexsearch.wording import printable

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ReportResult:
    """Where the report is and how its verdict reads."""

    study: str
    file: Path
    bytes: int
    verdict: str
    missing: tuple[str, ...]

    def __str__(self) -> str:
        """Return the path: what a script wants."""
        return printable(str(self.file))


def write_report(
    workspace: Path, study: str | None, out: Path | None, *, tell: Tell
) -> ReportResult:
    """Write the report of a study, also of an unfinished one or one with nothing complete.

    Args:
        workspace: where studies and registry are.
        study: its name; the one whose ledger was written last where it is None.
        out: the file; `<study>-report.html` in the current folder where it is None.
        tell: is given one line for each thing that could not be shown.

    Raises:
        ConfigurationError: if there is no such study, or `out` cannot be written.
        DataError: if the ledger was damaged by more than a torn last line.
        EnvironmentFault: if the disk refuses.
    """
    from dexsearch.jobs.report_contents import gather
    from dexsearch.report.page import render

    record, events = _read(workspace, study)
    file = out or Path(f"{record.folder.name}-report.html")
    refuse_unwritable(file, "report", example="report.html")
    registry = _registry(workspace, tell)
    gallery = open_gallery(record, registry, workspace)
    contents = gather(record, events, gallery, workspace=workspace, made=_now())
    for line in contents.pictures.missing:
        tell(line)
    text = render(contents)
    _write(file, text)
    return ReportResult(
        study=record.name, file=file, bytes=len(text.encode()),
        verdict=f"{contents.verdict.winner} {contents.verdict.evidence}",
        missing=contents.pictures.missing,
    )  # fmt: skip


def _read(workspace: Path, study: str | None) -> tuple[StudyRecord, list[Event]]:
    folder = study_folder(workspace, study)
    events = read_events(folder / LEDGER_NAME)
    if not events:
        raise ConfigurationError(
            f"study {folder.name!r} has just begun and says nothing yet", hint="try again later"
        )
    return study_from_events(events, folder), events


def _registry(workspace: Path, tell: Tell) -> Registry:
    """Read the registry; a damaged one costs the report its pictures, not its existence."""
    try:
        return read_registry(workspace)
    except DexSearchError as error:
        tell(f"the registry is passed over: {error}")
        return Registry(workspace, (), {})


def _write(file: Path, text: str) -> None:
    """Write the file whole or not at all."""
    partial = partial_beside(file.absolute())
    try:
        write_durably(partial, text.encode())
        partial.replace(file.absolute())
    except OSError as error:
        raise EnvironmentFault(
            f"cannot write the report {str(file)!r}: {error.strerror or error}",
            hint="check the folder's permissions and the free space",
        ) from None
    finally:
        partial.unlink(missing_ok=True)


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M %Z")

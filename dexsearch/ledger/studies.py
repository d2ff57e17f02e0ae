"""The studies of a workspace: their names, their folders and their records."""

from collections.abc import Callable
from pathlib import Path

from dexsearch.errors import ConfigurationError, DataError
from dexsearch.ledger.log import read_events
from dexsearch.ledger.study import LEDGER_NAME, REPLICATES, StudyRecord, study_from_events


def read_studies(workspace: Path, tell: Callable[[str], None]) -> tuple[StudyRecord, ...]:
    """Read every study that can be read, the newest ledger first.

    Args:
        workspace: where `studies` is.
        tell: is given one line for each study that was passed over; one that begins just now
            has no events yet and is passed over in silence.
    """
    studies = []
    for name in list_studies(workspace):
        folder = workspace / "studies" / name
        try:
            events = read_events(folder / LEDGER_NAME)
            if events:
                studies.append(study_from_events(events, folder))
        except (DataError, OSError) as error:
            tell(f"study {name!r} is passed over: {error}")
    return tuple(studies)


def study_folder(workspace: Path, study: str | None) -> Path:
    """Return the folder of a study, by default the one whose ledger was written last.

    Replicates are meant only where they are named; otherwise they stand for what they replicate.

    Raises:
        ConfigurationError: if there is no such study.
    """
    names = list_studies(workspace)
    if not names or (study is not None and study not in names):
        given = f"no study {study!r}" if study else "no study"
        raise ConfigurationError(
            f"{given} in {workspace}; there is {', '.join(names) or 'none yet'}",
            hint="dexsearch tune --space quickstart.yaml starts one",
        )
    sources = (name.removesuffix(REPLICATES) for name in names)
    default = next((name for name in sources if name in names), names[0])
    return workspace / "studies" / (study or default)


def list_studies(workspace: Path) -> tuple[str, ...]:
    """Return the names of a workspace's studies, the newest ledger first."""
    ledgers = (workspace / "studies").glob(f"*/{LEDGER_NAME}")
    newest = sorted(ledgers, key=lambda path: path.stat().st_mtime, reverse=True)
    return tuple(path.parent.name for path in newest)

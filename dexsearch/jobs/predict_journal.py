"""What was predicted from what, in OUT/predictions.jsonl; so the same command continues.

An image is passed over if the same weights made its files in the same way from the same content,
and if those files still are what was written. One process at a time writes a folder.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dexsearch.durable import file_sha256
from dexsearch.errors import DataError, EnvironmentFault
from dexsearch.ledger.log import Event, EventLog, read_events

JOURNAL_NAME = "predictions.jsonl"
_KEYS = {"output", "size_px", "lowest", "files"}


@dataclass(slots=True)
class Journal:
    """The journal of an output folder; opened for writing with the first image."""

    folder: Path
    _log: EventLog | None = None
    _known: dict[str, Event] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Read what earlier commands did."""
        try:
            self._take(read_events(self.folder / JOURNAL_NAME))
        except OSError as error:
            raise _unwritable(self.folder, error) from None

    def find(self, stem: Path, made_from: dict[str, Any]) -> Event | None:
        """Return how an image was predicted before, if that is whole and was done as now."""
        event = self._known.get(self._name(stem))
        if event is None or any(event.get(key) != value for key, value in made_from.items()):
            return None
        files = event["files"]
        whole = all(
            (self.folder / name).is_file() and file_sha256(self.folder / name) == sha256
            for name, sha256 in files.items()
        )
        return event if whole else None

    def files(self) -> frozenset[Path]:
        """Return every file that was made."""
        names = (name for event in self._known.values() for name in event["files"])
        return frozenset(self.folder / name for name in names)

    def refuse_foreign(self, files: Sequence[Path]) -> None:
        """Refuse to replace a file that this command has not made.

        Raises:
            DataError: naming the file.
        """
        own = self.files()
        for file in files:
            if file.exists() and file not in own:
                raise DataError(
                    f"{str(file)!r} exists and was not made by dexsearch predict",
                    hint="name another output, or move that file away",
                )

    def open(self) -> None:
        """Become the one writer of the folder, which is made if it is missing.

        Raises:
            StudyBusy: if another process writes it.
            EnvironmentFault: if it cannot be written.
        """
        if self._log is not None:
            return
        try:
            self._log = EventLog(self.folder / JOURNAL_NAME)
        except OSError as error:
            raise _unwritable(self.folder, error) from None
        self._take(self._log.events_at_opening)

    def record(
        self, stem: Path, made_from: dict[str, Any], files: Sequence[Path], told: dict[str, Any]
    ) -> None:
        """Write that an image is done, after its files are whole."""
        self.open()
        hashes = {self._name(file): file_sha256(file) for file in files}
        event = {"event": "predicted", "output": self._name(stem), **made_from, **told,
                 "files": hashes}  # fmt: skip
        if self._log is not None:
            self._take([self._log.append(event)])

    def close(self) -> None:
        """Let other processes write."""
        if self._log is not None:
            self._log.close()

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _take(self, events: Sequence[Event]) -> None:
        for event in events:
            if event.get("event") == "predicted" and event.keys() >= _KEYS:
                self._known[str(event["output"])] = event


def _unwritable(folder: Path, error: OSError) -> EnvironmentFault:
    return EnvironmentFault(
        f"cannot write {str(folder)!r}: {error.strerror or error}",
        hint="name a folder that can be made and written",
    )

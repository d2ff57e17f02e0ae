"""Is there room for what a search writes next? Asked before trials are handed out again.

Looks and never writes. Quotas of users are not seen by looking: a file system tells of them only
when something is written (EDQUOT), so a disk without a shortage may still refuse a checkpoint.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

MARGIN_BYTES = 50 * 2**20
"""Wanted in every folder besides checkpoints: the ledger, study.db, logs, Ray's own files."""
MARGIN_FILES = 100
FILES_PER_CHECKPOINT = 10
PLENTY_BYTES = 4 * 2**30
"""More than a checkpoint takes; with so much room for each, nobody looks how large they are."""
_TRIALS_LOOKED_AT = 64


@dataclass(frozen=True, slots=True)
class DiskGuard:
    """Tells whether folders have room for what the running trials may write next."""

    folders: Sequence[Path]
    """Where a search writes: its own folder, Ray's. One that is missing counts as its parent."""
    storage: Path | None = None
    """The folder that has `trials` with the checkpoints; None where they go to a URI."""
    _sizes: dict[int, int] = field(default_factory=dict)
    """Trial -> bytes of its largest checkpoint when it was first looked at."""

    def shortage(self, *, at_once: int = 1) -> str | None:
        """Return `3 MiB free in FOLDER, 500 MiB wanted` of the first folder in want, or None.

        A folder that cannot be looked at, such as one of a server that is gone, is in want too.

        Args:
            at_once: trials that may save a checkpoint at the same time.
        """
        if self.storage is not None and (told := self._shortage_of_storage(self.storage, at_once)):
            return told
        for folder in self.folders:
            if told := _shortage(folder, MARGIN_BYTES, MARGIN_FILES):
                return told
        return None

    def _shortage_of_storage(self, storage: Path, at_once: int) -> str | None:
        files = at_once * FILES_PER_CHECKPOINT + MARGIN_FILES
        if _shortage(storage, at_once * PLENTY_BYTES, files) is None:
            return None
        checkpoints = at_once * largest_checkpoint_bytes(storage, self._sizes)
        return _shortage(storage, checkpoints + MARGIN_BYTES, files)


def _shortage(folder: Path, wanted_bytes: int, wanted_files: int) -> str | None:
    try:
        found = os.statvfs(_existing(folder))
    except OSError as error:
        return f"{folder} cannot be looked at: {error.strerror}"
    free_bytes = found.f_bavail * found.f_frsize
    if free_bytes < wanted_bytes:
        return f"{_mib(free_bytes)} free in {folder}, {_mib(wanted_bytes)} wanted"
    if found.f_files and found.f_favail < wanted_files:  # some have no such limit
        return f"{found.f_favail} more files fit in {folder}, {wanted_files} wanted"
    return None


def largest_checkpoint_bytes(storage: Path, known: dict[int, int]) -> int:
    """Return the size of the largest checkpoint among those of the newest 64 trials, or 0.

    Args:
        storage: the folder that has `trials`.
        known: trial -> bytes of its largest one; used, and completed. The checkpoints of a trial
            are as large as each other but for some records of epochs.
    """
    try:
        names = [name for name in os.listdir(storage / "trials") if name.isdecimal()]
    except OSError:
        return 0
    newest = sorted(map(int, names), reverse=True)[:_TRIALS_LOOKED_AT]
    for number in newest:
        if number not in known:
            folders = _checkpoints(storage / "trials" / str(number))
            if n_bytes := max(map(_size, folders), default=0):
                known[number] = n_bytes
    return max((known.get(number, 0) for number in newest), default=0)


def _checkpoints(trial: Path) -> Iterator[Path]:
    """Yield the folders of a trial that are named for an epoch."""
    try:
        entries = [entry.name for entry in os.scandir(trial) if entry.name.isdecimal()]
    except OSError:  # it was cleared up just now
        return
    yield from (trial / name for name in entries)


def _size(folder: Path) -> int:
    try:
        return sum(entry.stat().st_size for entry in os.scandir(folder) if entry.is_file())
    except OSError:
        return 0


def _existing(folder: Path) -> Path:
    """Return the folder, or its nearest parent that is there."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _mib(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:.0f} MiB"

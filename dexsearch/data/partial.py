"""The folder that a dataset is written in until it is whole: one writer, continued after a crash.

OUT.partial/                    renamed to OUT at the end
OUT.partial/.writing/lock       locked while a writer lives; names its process and host
OUT.partial/.writing/request    what was asked for (JSON)
OUT.partial/.writing/journal    one line per finished batch (JSON)
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dexsearch.durable import flush_folder, write_durably
from dexsearch.errors import DataError, EnvironmentFault
from dexsearch.locking import hold_lock

WRITING = ".writing"


class PartialFolder:
    """The partial folder of one dataset, held by this process.

    Attributes:
        final: what it becomes.
        is_kept: whether it stays after an interruption, and so keeps a journal.
    """

    def __init__(self, final: Path, *, is_kept: bool) -> None:
        self.final = final
        self.is_kept = is_kept
        self.path = final.with_name(f"{final.name}.partial")
        self.journal = self.path / WRITING / "journal"
        self._request = self.path / WRITING / "request"

    def begin(self, request: Mapping[str, Any]) -> None:
        """Prepare for a request: empty the folder, or keep what the same request left there."""
        text = json.dumps(dict(request), sort_keys=True, indent=1).encode() + b"\n"
        if self.is_kept and self._request.is_file() and self._request.read_bytes() == text:
            return
        self._clear()
        write_durably(self._request, text)

    def _clear(self) -> None:
        """Delete what was written so far; the lock stays, the request goes first."""
        self._request.unlink(missing_ok=True)
        for entry in self.path.iterdir():
            if entry.name != WRITING:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        self.journal.unlink(missing_ok=True)

    def finish(self) -> None:
        """Give the folder its final name; nothing of the writing stays in it."""
        for folder in (*self.path.iterdir(), self.path):
            if folder.is_dir() and folder.name != WRITING:
                flush_folder(folder)
        self.path.rename(self.final)
        flush_folder(self.final.parent)
        tidy(self.final)

    def discard(self) -> None:
        """Delete the folder, where it has not been finished."""
        shutil.rmtree(self.path, ignore_errors=True)


def tidy(final: Path) -> None:
    """Remove what stays of the writing in a finished folder after a crash at the very end."""
    shutil.rmtree(final / WRITING, ignore_errors=True)


@contextmanager
def held_partial(final: Path, *, is_kept: bool) -> Iterator[PartialFolder]:
    """Hold the partial folder of `final`; a crashed writer's is free at once.

    Raises:
        DataError: if a folder of that name is something else.
        EnvironmentFault: if a living process holds it, or the file system has no locks.
    """
    partial = PartialFolder(final, is_kept=is_kept)
    _refuse_other_folder(partial.path)
    lock = partial.path / WRITING / "lock"
    descriptor = _lock(lock)
    # The last holder may have renamed or deleted the folder between our opening and locking.
    while not _is_same(descriptor, lock):
        os.close(descriptor)
        descriptor = _lock(lock)
    try:
        yield partial
    finally:
        os.close(descriptor)


def _refuse_other_folder(path: Path) -> None:
    """Never delete what no writer of ours has left."""
    is_ours = not path.exists() or (path / WRITING).is_dir()
    if not is_ours and (path.is_file() or any(path.iterdir())):
        raise DataError(
            f"{str(path)!r} is in the way: the dataset would be written there, but it holds "
            "something else",
            hint="rename it, or name another OUT",
        )


def _lock(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return hold_lock(
        path,
        what=f"dataset {str(path.parents[1])!r}",
        busy=EnvironmentFault,
        elsewhere="write the dataset to a local disk",
    )


def _is_same(descriptor: int, path: Path) -> bool:
    """Return whether the open file still is the one at `path`."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False

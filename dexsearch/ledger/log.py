"""An append-only log of JSON events: one line each, one writer, readable while written.

An event that was torn by a crash is the last line, without its newline or not JSON; a writer
cuts it off when it opens the log, a reader passes over it. Any other line that is not JSON
means that somebody edited the file, which is refused.

    ledger.jsonl        the events
    ledger.jsonl.lock   locked by the writer as long as it lives; names it to a second one

A writer may have outlived another one that is only suspended, or cut off from the file system. It
then puts a copy in the place of the log, so that nothing of what the other one may still write
can ever be in it.
"""

import contextlib
import errno
import json
import os
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from dexsearch.durable import flush_folder, partial_beside, write_durably
from dexsearch.errors import DataError, EnvironmentFault, StudyBusy
from dexsearch.locking import hold_lock

Event = dict[str, Any]


def lock_of(path: Path) -> Path:
    """Return the file that the writer of a log holds locked as long as it lives."""
    return path.with_name(path.name + ".lock")


class EventLog:
    """The one writer of a log; use it as a context manager, or call `close`.

    Raises:
        StudyBusy: if another process writes this log.
        DataError: if a line other than the last is not JSON.
        EnvironmentFault: if the file system cannot lock files and nothing else keeps a second
            writer out, or if the log cannot be written.
    """

    def __init__(
        self,
        path: Path,
        *,
        check: Callable[[], None] | None = None,
        outlived: Collection[str] = (),
    ) -> None:
        """Open a log.

        Args:
            path: of the log; its folder is made if it is missing.
            check: is called before each event, and raises if the caller must not write any more.
                Whoever has it keeps a second writer out by it, also where files have no locks.
            outlived: former writers, by the names in their locks, that may still try to write.
        """
        self.path = path
        self._check = check or (lambda: None)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = hold_lock(
            lock_of(path),
            what=str(path.parent),
            busy=StudyBusy,
            elsewhere="put the workspace on a local disk",
            void=outlived,
            is_needed=check is None,
        )
        try:
            self.events_at_opening = tuple(_opened(path, as_copy=bool(outlived)))
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError as error:
            os.close(self._lock)
            raise _unwritable(path, error) from error
        except BaseException:
            os.close(self._lock)
            raise

    def append(self, event: Mapping[str, Any], *, sync: bool = True) -> Event:
        """Write one event with the time, in seconds since 1970, and return what was written.

        A killed process loses nothing that was appended; with `sync`, neither does a power cut.

        Raises:
            EnvironmentFault: if the event does not fit on the disk; the log is as it was before.
                Or if the log was deleted or replaced; then nothing was written.
        """
        self._check()
        stamped = {**event, "time": round(time.time(), 3)}
        line = json.dumps(stamped, separators=(",", ":"), allow_nan=True) + "\n"
        self._write(line.encode(), sync=sync)
        return stamped

    def _write(self, line: bytes, *, sync: bool) -> None:
        """Write a whole line or nothing: the next one would be glued to a torn one."""
        found = os.fstat(self._file)
        if found.st_nlink == 0:
            self._refuse_replaced()
        size = found.st_size
        try:
            written = os.write(self._file, line)
            if written < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if sync:
                os.fsync(self._file)
        except OSError as error:
            with contextlib.suppress(OSError):  # a torn end is cut off at the next opening
                os.ftruncate(self._file, size)
            if error.errno == errno.ESTALE:  # how NFS tells of a file that was replaced
                self._refuse_replaced()
            raise _unwritable(self.path, error) from error

    def _refuse_replaced(self) -> NoReturn:
        self._check()
        raise EnvironmentFault(
            f"{self.path} was deleted or replaced while it was written",
            hint="put it back from a copy if it is gone; the same command then continues",
        )

    def close(self) -> None:
        """Release the log to the next writer; closing twice is allowed.

        Raises:
            EnvironmentFault: if the disk does not take what was written last.
        """
        if self._file < 0:
            return
        file, lock = self._file, self._lock
        self._file = self._lock = -1
        try:
            os.fsync(file)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        finally:
            os.close(file)
            os.close(lock)

    def __enter__(self) -> Self:
        """Return the log itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the log; an error that is on its way is not replaced by another one."""
        try:
            self.close()
        except EnvironmentFault:
            if kind is None:
                raise


def read_events(path: Path) -> list[Event]:
    """Return the events of a log in order, without a torn last one; none if there is no file.

    Raises:
        DataError: if a line other than the last is not JSON.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    return _parse(content, path)[0]


def _parse(content: bytes, path: Path) -> tuple[list[Event], int]:
    """Return the events, and how many bytes of `content` they take."""
    whole = content[: content.rfind(b"\n") + 1]
    lines = whole.split(b"\n")[:-1]
    try:
        return json.loads(b"[" + b",".join(lines) + b"]"), len(whole)
    except ValueError:
        return _parse_line_by_line(lines, path)


def _parse_line_by_line(lines: list[bytes], path: Path) -> tuple[list[Event], int]:
    events: list[Event] = []
    size = 0
    for number, line in enumerate(lines, start=1):
        try:
            events.append(json.loads(line))
        except ValueError:
            if number == len(lines):
                break
            given = line[:60].decode(errors="replace")
            raise DataError(
                f"{path}:{number}: expected a JSON event, got {given!r}",
                hint="put the file back from a copy, or delete that line",
            ) from None
        size += len(line) + 1
    return events, size


def _opened(path: Path, *, as_copy: bool) -> list[Event]:
    """Truncate the log, or a copy in its place, after its last whole event; return the events."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    events, size = _parse(content, path)
    if as_copy:
        partial = partial_beside(path)
        try:
            write_durably(partial, content[:size])
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        flush_folder(path.parent)
    elif size < len(content):
        os.truncate(path, size)
    return events


def _unwritable(path: Path, error: OSError) -> EnvironmentFault:
    return EnvironmentFault(
        f"cannot write {path}: {error.strerror}",
        hint="free some disk space; the same command then continues",
    )

"""One writer at a time: a locked file that names its holder and is free when that process ends."""

import fcntl
import os
import socket
from collections.abc import Collection
from pathlib import Path
from typing import Literal

from dexsearch.errors import DexSearchError, EnvironmentFault


def is_locked(path: Path) -> bool:
    """Return whether a living process holds the lock; False where that cannot be told."""
    return _state(path) == "held"


def has_locks(path: Path) -> bool:
    """Return whether a file can be locked; one that is missing counts as such."""
    return _state(path) in ("free", "held", "missing")


def _state(path: Path) -> Literal["free", "held", "missing", "unknown"]:
    """Find out by a shared lock, which is given back at once."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return "missing"
    except OSError:
        return "unknown"
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return "held"
    except OSError:
        return "unknown"
    finally:
        os.close(descriptor)
    return "free"


def hold_lock(
    path: Path,
    *,
    what: str,
    busy: type[DexSearchError],
    elsewhere: str,
    void: Collection[str] = (),
    is_needed: bool = True,
) -> int:
    """Lock a file, made where it is missing, and write our name into it; return the open file.

    Closing the file, or the end of this process however it comes, gives the lock back.

    Args:
        path: of the lock file.
        what: is being written, for messages.
        busy: raised if a living process holds the lock.
        elsewhere: where to write instead if the file system has no locks, as in "write the
            dataset to a local disk".
        void: names of holders, as in `process 7 on host`, that the caller knows to have no say
            any more: their lock is left to them, and the file put in its place is locked.
        is_needed: without it a file system that has no locks is no fault; who calls then has
            another way to be alone.

    Raises:
        EnvironmentFault: if the file system has no working locks, or no room for our name.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 1000).decode(errors="replace").strip()
            os.close(descriptor)
            if holder in void:
                path.unlink(missing_ok=True)
                continue
            raise busy(
                f"{what} is being written by {holder or 'another process'}",
                hint="wait until it ends, or stop it; the same command then continues",
            ) from None
        except OSError as error:
            if not is_needed:
                return descriptor
            os.close(descriptor)
            raise EnvironmentFault(
                f"cannot lock {path}: {error.strerror}; its file system has no working locks",
                hint=f"{elsewhere}, or mount that file system with locks",
            ) from error
        if _is_at(descriptor, path):
            break
        os.close(descriptor)  # somebody has put another file in its place meanwhile
    try:
        _write_name(descriptor)
    except OSError as error:
        os.close(descriptor)
        raise EnvironmentFault(
            f"cannot write {path}: {error.strerror}",
            hint="free some disk space; the same command then continues",
        ) from error
    return descriptor


def _is_at(descriptor: int, path: Path) -> bool:
    """Return whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _write_name(descriptor: int) -> None:
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)

"""One writer at a time: a locked file that names its holder and is free when that process ends."""

import fcntl
import os
import socket
from pathlib import Path

from dexsearch.errors import DexSearchError, EnvironmentFault


def is_locked(path: Path) -> bool:
    """Return whether a living process holds the lock; False where that cannot be told."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def hold_lock(path: Path, *, what: str, busy: type[DexSearchError], elsewhere: str) -> int:
    """Lock a file, made where it is missing, and write our name into it; return the open file.

    Closing the file, or the end of this process however it comes, gives the lock back.

    Args:
        path: of the lock file.
        what: is being written, for messages.
        busy: raised if a living process holds the lock.
        elsewhere: where to write instead if the file system has no locks, as in "write the
            dataset to a local disk".

    Raises:
        EnvironmentFault: if the file system has no working locks.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 1000).decode(errors="replace").strip() or "another process"
        os.close(descriptor)
        raise busy(
            f"{what} is being written by {holder}",
            hint="wait until it ends, or stop it; the same command then continues",
        ) from None
    except OSError as error:
        os.close(descriptor)
        raise EnvironmentFault(
            f"cannot lock {path}: {error.strerror}; its file system has no working locks",
            hint=f"{elsewhere}, or mount that file system with locks",
        ) from error
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
    return descriptor

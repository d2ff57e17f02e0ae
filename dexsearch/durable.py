"""Files and folders that are whole on the disk or absent, whatever crashes in between.

What takes long to write goes to `partial_beside(path)` and is renamed to `path` at the end. A
crash leaves that partial one behind; `remove_orphans` clears it up and spares living writers.
"""

import hashlib
import os
import shutil
import socket
from glob import escape
from pathlib import Path

_MIDDLE = f".partial-{socket.gethostname()}-"


def write_durably(path: Path, content: bytes) -> None:
    """Write a small file so that it is whole on the disk when this returns."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    flush_folder(path.parent)


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush_folder(folder: Path) -> None:
    """Make durable what was created, renamed or deleted in a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def partial_beside(path: Path) -> Path:
    """Return where this process writes what becomes `path`; machine and process name it."""
    return path.with_name(f"{path.name}{_MIDDLE}{os.getpid()}")


def remove_orphans(folder: Path, pattern: str) -> None:
    """Delete the partial folders in `folder` that crashed processes of this machine left.

    Args:
        folder: where to look.
        pattern: glob pattern of the names that they were to become.
    """
    for partial in folder.glob(f"{pattern}{escape(_MIDDLE)}*"):
        if is_orphan(partial):
            shutil.rmtree(partial, ignore_errors=True)


def is_orphan(path: Path) -> bool:
    """Return whether a name is that of a partial which nobody finishes any more.

    One of this process counts too: it asks between two writings. What another machine writes
    never does, because nobody here can tell whether its process lives.
    """
    process = path.name.rpartition(_MIDDLE)[2]
    if _MIDDLE not in path.name or not process.isdecimal():
        return False
    return int(process) == os.getpid() or not _is_running(int(process))


def remove_folder(path: Path) -> None:
    """Delete a folder; a crash in between leaves an orphan, never a part under its old name.

    Raises:
        OSError: if it cannot be deleted; what is left is an orphan or whole.
    """
    partial = path if is_orphan(path) else partial_beside(path)
    if partial != path:
        path.rename(partial)
        flush_folder(path.parent)
    shutil.rmtree(partial)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

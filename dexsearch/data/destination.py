"""Where a dataset folder goes: what stands in its way is told before any work, not after it."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dexsearch.errors import DataError, EnvironmentFault

_HINTS = {
    errno.ENAMETOOLONG: "name a shorter OUT",
    errno.ENOTDIR: "OUT lies below a file; name another OUT",
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM, errno.EROFS),
        "check the folder's permissions, or name another OUT; the same command continues",
    ),
}
_HINT = "check the folder's permissions and the free space; the same command continues"


def final_folder(path: Path) -> Path:
    """Return the place that `path` leads to, following links; it need not exist.

    A folder is written beside its place and renamed, so that has to be on the same disk.

    Raises:
        DataError: if it is a file, the working folder (which a rename would take away from under
            the user), or a link in a circle.
    """
    final = Path(os.path.realpath(path))
    if final.is_symlink():
        raise DataError(f"{str(path)!r} is a link in a circle", hint="name another OUT")
    if final.exists() and not final.is_dir():
        raise DataError(f"{str(path)!r} is a file; a dataset is a folder", hint="name another OUT")
    if final.is_dir() and not is_filled(final) and final.samefile(Path.cwd()):
        raise DataError(
            f"{str(path)!r} is the working folder; a dataset is made as a new folder",
            hint="name a folder in it as OUT, such as ./cohort",
        )
    return final


def is_filled(folder: Path) -> bool:
    """Return whether the folder is there and holds something."""
    return folder.is_dir() and any(folder.iterdir())


def make_way(final: Path) -> None:
    """Remove the empty folder at the place of the dataset, if there is one.

    Raises:
        EnvironmentFault: if it has to stay, as the root of a mounted disk does.
    """
    if not final.is_dir():
        return
    try:
        with suppress(FileNotFoundError):  # another process has just done it
            final.rmdir()
    except OSError as error:
        raise EnvironmentFault(
            f"{str(final)!r} cannot be replaced by a finished dataset: {error.strerror}",
            hint="name a folder in it as OUT",
        ) from error


@contextmanager
def disk_faults(path: Path) -> Iterator[None]:
    """Tell what the operating system refuses as a fault of the machine.

    Raises:
        EnvironmentFault: for any `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise EnvironmentFault(
            f"cannot write dataset {str(path)!r}: {error.strerror or error}",
            hint=_HINTS.get(error.errno or 0, _HINT),
        ) from error

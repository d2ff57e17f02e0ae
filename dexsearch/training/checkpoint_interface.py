"""What a place that keeps the checkpoints of one run can do, whatever it is made of."""

import contextlib
import errno
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from dexsearch.location import below

MANIFEST = "manifest.json"
WRITER = "writer"
ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
"""What reading a file raises where there is none."""
_UNREACHABLE = (
    errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EREMOTEIO, errno.EHOSTDOWN,
    errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH,
)  # fmt: skip
"""What folders of a server that is gone raise, or a disk that fails."""


_DENIED = (
    "ACCESS_DENIED", "AccessDenied", "INVALID_ACCESS_KEY", "InvalidAccessKey", "EXPIRED_TOKEN",
    "ExpiredToken", "CLIENT_TOKEN", "SIGNATURE", "SignatureDoesNotMatch", "PERMISSION_DENIED",
    "UNAUTHENTICATED", "OAuth2", "HTTP status 401", "HTTP status 403",
)  # fmt: skip
_FULL = ("quota exceeded", "quotaexceeded", "storage full", "no space left")


class StorageDeniedError(PermissionError):
    """Object storage answers, and does not let this process in: its keys are not valid there."""


class SupersededError(Exception):
    """Another process has begun to write the same checkpoints; this one must stop."""

    def __init__(self, message: str = "", *, token: int = 0) -> None:
        """`token` is that of the other one's lease; 0 if it has none."""
        super().__init__(message)
        self.token = token


class CheckpointStore(ABC):
    """The checkpoints of one run; each is a set of named files, whole or passed over.

    A full disk raises the OSError of the system, and so does object storage over its quota;
    storage that does not answer raises ConnectionError, which says nothing about what it holds.
    Object storage that lets nobody in raises StorageDeniedError.
    """

    def __init__(self, location: str) -> None:
        self.location = location

    @abstractmethod
    def epochs(self) -> list[int]:
        """Return the epochs of what is there, whole or not, the newest first."""

    @abstractmethod
    def write(
        self, epoch: int, hashes: Mapping[str, str], files: Mapping[str, bytes],
        before_it_counts: Callable[[], None],
    ) -> None:  # fmt: skip
        """Write a checkpoint that counts only when every byte of it is stored.

        Args:
            epoch: its number; what is there already is replaced.
            hashes: the sha256 of each file but the manifest.
            files: the content of each, the manifest's last.
            before_it_counts: what it raises leaves no checkpoint behind.
        """

    @abstractmethod
    def read(self, epoch: int, name: str, sha256: str | None = None) -> bytes:
        """Return a file of a checkpoint; all but the manifest have a hash. May raise OSError."""

    @abstractmethod
    def delete(self, epoch: int) -> None:
        """Delete a checkpoint; broken off in between, none is left."""

    @abstractmethod
    def owner(self) -> str | None:
        """Return the mark of who writes here; None if nobody ever did."""

    @abstractmethod
    def set_owner(self, name: str) -> None:
        """Replace the mark of who writes here, in one step."""

    def files(self, epoch: int) -> dict[str, bytes]:
        """Read one checkpoint and verify every file.

        Raises:
            ValueError: naming the file that is missing or not what was written.
            ConnectionError: if it cannot be read from here and now, which says nothing about it.
        """
        place = below(self.location, f"{epoch:05d}")
        try:
            hashes: dict[str, str] = json.loads(self.read(epoch, MANIFEST))["sha256"]
            strange = [name for name in hashes if name != Path(name).name]
            if strange:
                raise ValueError(f"{strange[0]!r} is no name of a file in it")
            contents = {name: self.read(epoch, name, hashes[name]) for name in hashes}
        except (*ABSENT, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{place}: incomplete checkpoint ({error})") from None
        except (ConnectionError, StorageDeniedError):
            raise
        except OSError as error:
            raise ConnectionError(f"{place}: cannot be read ({error})") from error
        for name, content in contents.items():
            if hashlib.sha256(content).hexdigest() != hashes[name]:
                raise ValueError(f"{below(place, name)}: not what was written (sha256 differs)")
        return contents


@contextlib.contextmanager
def answering(location: str) -> Iterator[None]:
    """Tell an error of the storage itself from one of a file.

    Object storage has no numbers: words tell whether it is full, or lets nobody in.
    """
    try:
        yield
    except (ConnectionError, StorageDeniedError):
        raise
    except OSError as error:
        if error.errno is not None and error.errno not in _UNREACHABLE:
            raise
        told = f"{location}: {str(error).splitlines()[0][:300]}"
        if error.errno is not None:
            raise ConnectionError(told) from None
        if any(words in told.lower() for words in _FULL):
            raise OSError(errno.EDQUOT, told) from None
        if any(word in told for word in _DENIED):
            raise StorageDeniedError(errno.EACCES, told) from None
        raise ConnectionError(told) from None

"""Where the checkpoints of one run are kept: in a folder, or as objects behind a URI.

    LOCATION/00012/              a checkpoint, by its epoch: files, and
                   manifest.json the sha256 of each of them; without it there is no checkpoint
             writer              the mark of the one who may write here

A folder is filled under another name and renamed into place. Objects cannot be renamed: the
manifest comes last and goes first, and the name of each other one begins with its hash, so that
two writers of one epoch never spoil each other's.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dexsearch.durable import flush_folder, partial_beside, remove_orphans, write_durably
from dexsearch.location import below, is_uri

MANIFEST = "manifest.json"
WRITER = "writer"
_UPLOADS = 4
_UNREACHABLE = (
    errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EREMOTEIO, errno.EHOSTDOWN,
    errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH,
)  # fmt: skip
"""What folders of a server that is gone raise, or a disk that fails."""


_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class SupersededError(Exception):
    """Another process has begun to write the same checkpoints; this one must stop."""

    def __init__(self, message: str = "", *, token: int = 0) -> None:
        """`token` is that of the other one's lease; 0 if it has none."""
        super().__init__(message)
        self.token = token


class CheckpointStore(ABC):
    """The checkpoints of one run; each is a set of named files, whole or passed over.

    A full disk raises the OSError of the system; storage that does not answer raises
    ConnectionError, which says nothing about what it holds.
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
        except (*_ABSENT, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{place}: incomplete checkpoint ({error})") from None
        except ConnectionError:
            raise
        except OSError as error:
            raise ConnectionError(f"{place}: cannot be read ({error})") from error
        for name, content in contents.items():
            if hashlib.sha256(content).hexdigest() != hashes[name]:
                raise ValueError(f"{below(place, name)}: not what was written (sha256 differs)")
        return contents


class FolderStore(CheckpointStore):
    """Checkpoints in a folder of this machine, or in one that several machines share."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self._folder = Path(location)

    def epochs(self) -> list[int]:
        """Leave out the folders that are being filled."""
        try:
            with _answering(self.location), os.scandir(self._folder) as entries:
                found = [int(e.name) for e in entries if e.name.isdecimal() and e.is_dir()]
        except _ABSENT:
            return []
        return sorted(found, reverse=True)

    def write(
        self, epoch: int, hashes: Mapping[str, str], files: Mapping[str, bytes],
        before_it_counts: Callable[[], None],
    ) -> None:  # fmt: skip
        """Flush every file, then rename the folder into place."""
        final = self._path(epoch)
        partial = partial_beside(final)
        with _answering(self.location):
            self._folder.mkdir(parents=True, exist_ok=True)
            remove_orphans(self._folder, "*")
            try:
                partial.mkdir()
                for name, content in files.items():
                    write_durably(partial / name, content)
                before_it_counts()
                if final.exists():  # an unusable one, passed over when this run continued
                    shutil.rmtree(final)
                partial.rename(final)
                flush_folder(self._folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)

    def read(self, epoch: int, name: str, sha256: str | None = None) -> bytes:
        """Files have their own names."""
        with _answering(self.location):
            return (self._path(epoch) / name).read_bytes()

    def delete(self, epoch: int) -> None:
        """What cannot be deleted stays, and is tried again after the next checkpoint."""
        with contextlib.suppress(OSError):
            (self._path(epoch) / MANIFEST).unlink()
        shutil.rmtree(self._path(epoch), ignore_errors=True)

    def owner(self) -> str | None:
        """Read it from its file."""
        try:
            with _answering(self.location):
                return (self._folder / WRITER).read_text()
        except FileNotFoundError:
            return None

    def set_owner(self, name: str) -> None:
        """Rename a new file into place."""
        partial = partial_beside(self._folder / WRITER)
        with _answering(self.location):
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                write_durably(partial, name.encode())
                os.replace(partial, self._folder / WRITER)
            finally:
                partial.unlink(missing_ok=True)

    def _path(self, epoch: int) -> Path:
        return self._folder / f"{epoch:05d}"


class ObjectStore(CheckpointStore):
    """Checkpoints behind a URI that pyarrow knows: s3, gs, hdfs, file and others."""

    def __init__(self, location: str) -> None:
        """Raise ValueError if it is no such URI, ConnectionError if nothing answers."""
        from dexsearch.training.object_storage import open_storage  # noqa: PLC0415  (pyarrow)

        super().__init__(location)
        with _answering(location):
            self._objects = open_storage(location)

    def epochs(self) -> list[int]:
        """Count half-uploaded ones too."""
        with _answering(self.location):
            names = self._objects.folders()
        return sorted((int(name) for name in names if name.isdecimal()), reverse=True)

    def write(
        self, epoch: int, hashes: Mapping[str, str], files: Mapping[str, bytes],
        before_it_counts: Callable[[], None],
    ) -> None:  # fmt: skip
        """Upload all but the manifest side by side, and the manifest last."""

        def upload(name: str) -> None:
            self._objects.put(_object_name(epoch, name, hashes.get(name)), files[name])

        with _answering(self.location), ThreadPoolExecutor(_UPLOADS) as uploads:
            list(uploads.map(upload, hashes))
        before_it_counts()
        with _answering(self.location):
            upload(MANIFEST)

    def read(self, epoch: int, name: str, sha256: str | None = None) -> bytes:
        """All but the manifest are found by hash and name."""
        with _answering(self.location):
            return self._objects.get(_object_name(epoch, name, sha256))

    def delete(self, epoch: int) -> None:
        """Delete the manifest first."""
        with _answering(self.location):
            self._objects.delete(_object_name(epoch, MANIFEST, None))
            self._objects.delete_folder(f"{epoch:05d}")

    def owner(self) -> str | None:
        """Read it from its object."""
        try:
            with _answering(self.location):
                return self._objects.get(WRITER).decode()
        except FileNotFoundError:
            return None

    def set_owner(self, name: str) -> None:
        """An object is replaced in one step."""
        with _answering(self.location):
            self._objects.put(WRITER, name.encode())


def checkpoint_store(location: str | Path) -> CheckpointStore:
    """Return the store at a folder or URI.

    Raises:
        ValueError: if the URI is of an unknown kind.
        ConnectionError: if nothing answers there.
    """
    place = str(location)
    return ObjectStore(place) if is_uri(place) else FolderStore(place)


def _object_name(epoch: int, name: str, sha256: str | None) -> str:
    return f"{epoch:05d}/{name if sha256 is None else f'{sha256[:16]}-{name}'}"


@contextlib.contextmanager
def _answering(location: str) -> Iterator[None]:
    """Tell an error of the storage itself from one of a file; object storage has no numbers."""
    try:
        yield
    except ConnectionError:
        raise
    except OSError as error:
        if error.errno is not None and error.errno not in _UNREACHABLE:
            raise
        raise ConnectionError(f"{location}: {str(error).splitlines()[0][:300]}") from None

"""Checkpoints as objects behind a URI: the manifest comes last and goes first."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from dexsearch.training.checkpoint_interface import (
    MANIFEST,
    WRITER,
    CheckpointStore,
    StorageDeniedError,
    answering,
)

_UPLOADS = 4


class ObjectStore(CheckpointStore):
    """Checkpoints behind a URI that pyarrow knows: s3, gs, hdfs, file and others."""

    def __init__(self, location: str) -> None:
        """Raise ValueError if it is no such URI, ConnectionError if nothing answers."""
        from dexsearch.training.object_storage import open_storage  # noqa: PLC0415  (pyarrow)

        super().__init__(location)
        with answering(location):
            self._objects = open_storage(location)

    def epochs(self) -> list[int]:
        """Count half-uploaded ones too."""
        with answering(self.location):
            names = self._objects.folders()
        return sorted((int(name) for name in names if name.isdecimal()), reverse=True)

    def write(
        self, epoch: int, hashes: Mapping[str, str], files: Mapping[str, bytes],
        before_it_counts: Callable[[], None],
    ) -> None:  # fmt: skip
        """Upload all but the manifest side by side, and the manifest last."""

        def upload(name: str) -> None:
            self._objects.put(_object_name(epoch, name, hashes.get(name)), files[name])

        with answering(self.location), ThreadPoolExecutor(_UPLOADS) as uploads:
            list(uploads.map(upload, hashes))
        before_it_counts()
        with answering(self.location):
            upload(MANIFEST)

    def read(self, epoch: int, name: str, sha256: str | None = None) -> bytes:
        """All but the manifest are found by hash and name."""
        with answering(self.location):
            return self._objects.get(_object_name(epoch, name, sha256))

    def delete(self, epoch: int) -> None:
        """Delete the manifest first; keys that may only write leave what is superfluous."""
        try:
            with answering(self.location):
                self._objects.delete(_object_name(epoch, MANIFEST, None))
                self._objects.delete_folder(f"{epoch:05d}")
        except StorageDeniedError as error:
            raise ConnectionError(str(error)) from None

    def owner(self) -> str | None:
        """Read it from its object."""
        try:
            with answering(self.location):
                return self._objects.get(WRITER).decode()
        except FileNotFoundError:
            return None

    def set_owner(self, name: str) -> None:
        """An object is replaced in one step."""
        with answering(self.location):
            self._objects.put(WRITER, name.encode())


def _object_name(epoch: int, name: str, sha256: str | None) -> str:
    return f"{epoch:05d}/{name if sha256 is None else f'{sha256[:16]}-{name}'}"

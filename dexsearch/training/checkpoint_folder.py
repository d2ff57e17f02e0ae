"""Checkpoints in a folder: filled under another name, and renamed into place."""

import contextlib
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from dexsearch.durable import flush_folder, partial_beside, remove_orphans, write_durably
from dexsearch.training.checkpoint_interface import (
    ABSENT,
    MANIFEST,
    WRITER,
    CheckpointStore,
    answering,
)


class FolderStore(CheckpointStore):
    """Checkpoints in a folder of this machine, or in one that several machines share."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self._folder = Path(location)

    def epochs(self) -> list[int]:
        """Leave out the folders that are being filled."""
        try:
            with answering(self.location), os.scandir(self._folder) as entries:
                found = [int(e.name) for e in entries if e.name.isdecimal() and e.is_dir()]
        except ABSENT:
            return []
        return sorted(found, reverse=True)

    def write(
        self, epoch: int, hashes: Mapping[str, str], files: Mapping[str, bytes],
        before_it_counts: Callable[[], None],
    ) -> None:  # fmt: skip
        """Flush every file, then rename the folder into place."""
        final = self._path(epoch)
        partial = partial_beside(final)
        with answering(self.location):
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
        with answering(self.location):
            return (self._path(epoch) / name).read_bytes()

    def delete(self, epoch: int) -> None:
        """What cannot be deleted stays, and is tried again after the next checkpoint."""
        with contextlib.suppress(OSError):
            (self._path(epoch) / MANIFEST).unlink()
        shutil.rmtree(self._path(epoch), ignore_errors=True)

    def owner(self) -> str | None:
        """Read it from its file."""
        try:
            with answering(self.location):
                return (self._folder / WRITER).read_text()
        except FileNotFoundError:
            return None

    def set_owner(self, name: str) -> None:
        """Rename a new file into place."""
        partial = partial_beside(self._folder / WRITER)
        with answering(self.location):
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                write_durably(partial, name.encode())
                os.replace(partial, self._folder / WRITER)
            finally:
                partial.unlink(missing_ok=True)

    def _path(self, epoch: int) -> Path:
        return self._folder / f"{epoch:05d}"

"""Where a worker gets the images of a search: from a folder, or from what its driver sent.

Knows no Ray; data_shipping.py is the other source. Whatever the place, the worker trains on the
dataset that the search was begun with, or not at all.
"""

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from dexsearch.data.dataset import OPEN_SUBSETS, Arrays, open_dataset
from dexsearch.data.manifest import EDGES, Manifest
from dexsearch.data.pairs import SubsetImages
from dexsearch.data.splits import Subset
from dexsearch.errors import DataError


class DataSource(Protocol):
    """Opens the training and validation images where a worker runs; small when pickled."""

    def open(self) -> SubsetImages:
        """Return the images of the search's dataset.

        Raises:
            DataError: naming this machine, if they are not here or not those of the search.
        """
        ...


@dataclass(frozen=True, slots=True)
class FolderSource:
    """A dataset folder that the machine sees under the same path as the driver."""

    path: Path
    digest: str | None = None
    """Of the search's dataset; None takes whatever is there."""

    check_bytes: bool = False
    """Whether every byte is compared with its hash, as on a machine that may hold a copy."""

    def open(self) -> SubsetImages:
        """Return the folder's images, memory-mapped."""
        with _naming_machine():
            dataset = open_dataset(self.path)
            found = dataset.manifest.digest
            if self.digest is not None and found != self.digest:
                raise DataError(
                    f"{str(self.path)!r} holds another dataset: its digest is {found[:12]}.., "
                    f"that of the search {self.digest[:12]}..",
                    hint="copy the search's dataset to this machine, or remove the folder there",
                )
            if self.check_bytes:
                dataset.check_files(OPEN_SUBSETS)
            return dataset

    @property
    def is_here(self) -> bool:
        """Whether this machine has the folder, with the digest that it has to have."""
        try:
            self.open()
        except DataError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class ArrayTable:
    """Images whose arrays are not in a folder: `arrays` has them by `SUBSET/NAME`."""

    manifest: Manifest
    table: Mapping[str, NDArray[Any]]

    def arrays(self, subset: Subset) -> Arrays:
        """Return the arrays of one subset."""
        targets = {name: self._array(subset, name) for name in self.manifest.targets}
        return Arrays(self._array(subset, "input"), self._array(subset, "mask"), targets)

    def path_lengths(self, subset: Subset) -> tuple[NDArray[Any], NDArray[Any]] | None:
        """Return the clean path lengths of soft tissue and bone; None where there are none."""
        names = self.manifest.path_lengths
        if names is None:
            return None
        return self._array(subset, names.soft), self._array(subset, names.bone)

    def edges(self, subset: Subset) -> NDArray[Any] | None:
        """Return what edges within a pixel let through; None where not stored."""
        return self._array(subset, EDGES) if EDGES in self.manifest.arrays else None

    def _array(self, subset: Subset, name: str) -> NDArray[Any]:
        if subset not in OPEN_SUBSETS:
            raise ValueError(f"got subset {subset!r}; a search sees {' and '.join(OPEN_SUBSETS)}")
        return self.table[array_name(subset, name)]


def array_name(subset: Subset, name: str) -> str:
    """Return the name of one array of a dataset, as its manifest calls the file."""
    return f"{subset}/{name}"


@contextmanager
def _naming_machine() -> Iterator[None]:
    """Say on which machine data cannot be used."""
    try:
        yield
    except DataError as error:
        raise DataError(f"on {socket.gethostname()}: {error}", hint=error.hint) from None

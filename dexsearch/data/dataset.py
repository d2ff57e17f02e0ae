"""Open a dataset folder and map its arrays into memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dexsearch.data.manifest import EDGES, MANIFEST_NAME, Manifest
from dexsearch.data.manifest_reading import read_manifest
from dexsearch.data.splits import Subset
from dexsearch.durable import file_sha256
from dexsearch.errors import DataError

OPEN_SUBSETS: tuple[Subset, ...] = ("train", "validation")
"""What a search may see; the hold-out is opened for evidence alone."""

_REMEDY = "copy the folder again, or remove it and make the dataset again"


@dataclass(frozen=True, slots=True)
class Arrays:
    """The images of one subset, memory-mapped, N H W each.

    Path lengths are float16 and everything else float32: convert before computing.
    """

    input: NDArray[np.float32]
    mask: NDArray[np.bool_]
    targets: Mapping[str, NDArray[Any]]

    @property
    def bone(self) -> NDArray[Any]:
        """The bone images; see `target`."""
        return self.target("bone")

    @property
    def tissue(self) -> NDArray[Any]:
        """The tissue images; see `target`."""
        return self.target("tissue")

    def target(self, name: str) -> NDArray[Any]:
        """Return the array of one target by its name, float16 or float32.

        Raises:
            DataError: if the dataset does not hold it.
        """
        if name not in self.targets:
            raise DataError(
                f"the dataset holds no {name} images; it holds {' and '.join(self.targets)} alone",
                hint=f"set the task to {' or '.join(self.targets)}, or import the {name} images",
            )
        return self.targets[name]


@dataclass(frozen=True, slots=True)
class Dataset:
    """An opened dataset folder."""

    path: Path
    manifest: Manifest

    def arrays(self, subset: Subset) -> Arrays:
        """Map the arrays of one subset into memory.

        Raises:
            DataError: if a file is missing, cut short or not what the manifest says.
        """
        loaded = {name: self._load(subset, name) for name in self.manifest.arrays}
        targets = {name: loaded[name] for name in self.manifest.targets}
        return Arrays(input=loaded["input"], mask=loaded["mask"], targets=targets)

    def path_lengths(
        self, subset: Subset
    ) -> tuple[NDArray[np.float16], NDArray[np.float16]] | None:
        """Map the clean path lengths of soft tissue and bone in cm; None where there are none.

        Raises:
            DataError: if a file is missing, cut short or not what the manifest says.
        """
        names = self.manifest.path_lengths
        if names is None:
            return None
        return self._load(subset, names.soft), self._load(subset, names.bone)

    def edges(self, subset: Subset) -> NDArray[np.float16] | None:
        """Map what edges within a pixel let through, see `manifest.EDGES`; None where not stored.

        Raises:
            DataError: as `path_lengths`.
        """
        return self._load(subset, EDGES) if EDGES in self.manifest.arrays else None

    def check_files(self, subsets: Sequence[Subset] = OPEN_SUBSETS) -> None:
        """Compare the files of some subsets, and the manifest, with its hashes.

        Reads every byte. The hold-out's files are not looked at unless it is named;
        `checking.check_dataset` looks at everything and collects all that it finds.

        Raises:
            DataError: naming the file that is missing, cut short or changed.
        """
        if not self.manifest.is_unchanged:
            raise DataError(
                f"{self.path / MANIFEST_NAME}: changed since it was written",
                hint=_REMEDY,
            )
        for subset in subsets:
            self.arrays(subset)
            for name in (f"{subset}/{array}.npy" for array in self.manifest.arrays):
                found = file_sha256(self.path / name)
                expected = str(self.manifest.files.get(name))
                if found != expected:
                    raise DataError(
                        f"{self.path / name}: changed since it was written "
                        f"(sha256 {found[:12]}.., the manifest says {expected[:12]}..)",
                        hint=_REMEDY,
                    )

    def _load(self, subset: Subset, name: str) -> NDArray[Any]:
        shape = (len(self.manifest.images[subset]), *self.manifest.size_px)
        path = self.path / subset / f"{name}.npy"
        return _load_array(path, shape, np.dtype(self.manifest.arrays[name]))


def open_dataset(path: Path) -> Dataset:
    """Open a dataset folder; the hold-out's files are not even looked for.

    Raises:
        DataError: if it is missing, not a dataset, half-written or of another format.
    """
    manifest = read_manifest(path)
    missing = [
        f"{subset}/{name}.npy"
        for subset in OPEN_SUBSETS
        for name in manifest.arrays
        if not (path / subset / f"{name}.npy").is_file()
    ]
    if missing:
        raise DataError(
            f"dataset {str(path)!r} lacks {missing[0]}",
            hint=_REMEDY,
        )
    return Dataset(path=path, manifest=manifest)


def _load_array(path: Path, shape: tuple[int, int, int], expected: np.dtype[Any]) -> NDArray[Any]:
    try:
        array: Any = np.load(path, mmap_mode="r", allow_pickle=False)
    except PermissionError:
        raise DataError(
            f"{path}: may not be read", hint="make the file readable for you"
        ) from None
    except FileNotFoundError:
        raise DataError(f"{path}: is missing", hint=_REMEDY) from None
    except (OSError, ValueError, EOFError) as error:
        # NumPy's own words advise to unpickle; damaged is all that is known.
        raise DataError(
            f"{path}: unreadable, damaged or cut short ({type(error).__name__})", hint=_REMEDY
        ) from None
    if not isinstance(array, np.ndarray):
        array.close()
        raise DataError(f"{path}: an archive in place of an array", hint=_REMEDY)
    if array.shape != shape or array.dtype != expected:
        raise DataError(
            f"{path}: holds {array.dtype} {array.shape}, the manifest says {expected} {shape}",
            hint=_REMEDY,
        )
    return array

"""The dataset folder: a manifest and memory-mapped arrays, written whole or not at all.

    DATASET/manifest.json                              written last; without it there is no dataset
    DATASET/{train,validation,holdout}/input.npy       float32 N H W
    DATASET/{train,validation,holdout}/{bone,tissue}.npy
    DATASET/{train,validation,holdout}/mask.npy        bool N H W, the body

While it is written, the folder is called DATASET.partial-<host>-<process>; a rename finishes it.
The hold-out is in files of its own, so that a search can run where they are not.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dexsearch.data.manifest import (
    ARRAYS,
    MANIFEST_NAME,
    TARGETS,
    ImageInfo,
    Manifest,
    Origin,
    as_json_values,
    read_manifest,
)
from dexsearch.data.splits import Split, Subset
from dexsearch.data.writing import (
    Sample,
    build_manifest,
    file_sha256,
    partial_folder,
    write_arrays,
)
from dexsearch.durable import write_durably
from dexsearch.errors import DataError

__all__ = [
    "ARRAYS",
    "TARGETS",
    "Arrays",
    "Dataset",
    "ImageInfo",
    "Manifest",
    "Sample",
    "Subset",
    "open_dataset",
    "write_dataset",
]


OPEN_SUBSETS: tuple[Subset, ...] = ("train", "validation")
"""What a search may see; the hold-out is opened for evidence alone."""

_REMEDY = "copy the folder again, or remove it and make the dataset again"


@dataclass(frozen=True, slots=True)
class Arrays:
    """The images of one subset, memory-mapped, N H W each."""

    input: NDArray[np.float32]
    bone: NDArray[np.float32]
    tissue: NDArray[np.float32]
    mask: NDArray[np.bool_]

    def target(self, name: str) -> NDArray[np.float32]:
        """Return the array of one target by its name."""
        return {"bone": self.bone, "tissue": self.tissue}[name]


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
        shape = (len(self.manifest.images[subset]), *self.manifest.size_px)
        folder = self.path / subset
        loaded = {name: _load_array(folder / f"{name}.npy", shape, name) for name in ARRAYS}
        return Arrays(**loaded)

    def check_files(self) -> None:
        """Compare the training and validation files, and the manifest, with its hashes.

        Reads every byte. The hold-out's files are not looked at.

        Raises:
            DataError: naming the file that is missing, cut short or changed.
        """
        if self.manifest.digest != self.manifest.digest_of_contents:
            raise DataError(
                f"{self.path / MANIFEST_NAME}: changed since it was written",
                hint=_REMEDY,
            )
        for subset in OPEN_SUBSETS:
            self.arrays(subset)
            for name in (f"{subset}/{array}.npy" for array in ARRAYS):
                found = file_sha256(self.path / name)
                expected = str(self.manifest.files.get(name))
                if found != expected:
                    raise DataError(
                        f"{self.path / name}: changed since it was written "
                        f"(sha256 {found[:12]}.., the manifest says {expected[:12]}..)",
                        hint=_REMEDY,
                    )


def open_dataset(path: Path) -> Dataset:
    """Open a dataset folder; the hold-out's files are not even looked for.

    Raises:
        DataError: if it is missing, not a dataset, half-written or of another format.
    """
    manifest = read_manifest(path)
    missing = [
        f"{subset}/{name}.npy"
        for subset in OPEN_SUBSETS
        for name in ARRAYS
        if not (path / subset / f"{name}.npy").is_file()
    ]
    if missing:
        raise DataError(
            f"dataset {str(path)!r} lacks {missing[0]}",
            hint=_REMEDY,
        )
    return Dataset(path=path, manifest=manifest)


def write_dataset(
    path: Path,
    samples: Iterable[Sample],
    split: Split,
    *,
    kind: str,
    pixel_mm: float | None,
    units: Mapping[str, str],
    source: Mapping[str, Any],
) -> Dataset:
    """Write a dataset folder from a stream of samples; only one sample is in memory at a time.

    Where `path` already holds the dataset of the same request (kind, split rule, pixel size,
    units, source), it is returned and `samples` stays untouched.

    Raises:
        DataError: on an existing other `path`, on NaN or a shape that differs (naming the
            image), on images given twice, on a subset without images.
        EnvironmentFault: if the disk refuses.
    """
    origin = Origin(kind, pixel_mm, dict(units), split.rule, as_json_values(source))
    if path.is_dir() and any(path.iterdir()):
        return _same_dataset(path, origin)
    if path.exists() and not path.is_dir():
        raise DataError(f"{str(path)!r} is a file; a dataset is a folder", hint="name another OUT")
    with partial_folder(path) as partial:
        images, size_px = write_arrays(partial, samples, split)
        manifest = build_manifest(partial, images, size_px, origin)
        write_durably(partial / MANIFEST_NAME, manifest.to_json().encode())
    return open_dataset(path)


def _load_array(path: Path, shape: tuple[int, int, int], name: str) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else f"unreadable: {error}"
        raise DataError(f"{path}: {reason}", hint=_REMEDY) from None
    expected = np.dtype(np.bool_ if name == "mask" else np.float32)
    if array.shape != shape or array.dtype != expected:
        raise DataError(
            f"{path}: holds {array.dtype} {array.shape}, the manifest says {expected} {shape}",
            hint=_REMEDY,
        )
    return array


def _same_dataset(path: Path, asked: Origin) -> Dataset:
    """Open the dataset that is already there, if it is the one that was asked for."""
    existing = open_dataset(path)
    found = _flat(existing.manifest.origin)
    wanted = _flat(asked)
    for key in sorted(found | wanted):
        if found.get(key) != wanted.get(key):
            raise DataError(
                f"{str(path)!r} already holds a dataset with {key} {found.get(key)!r}, "
                f"asked for {wanted.get(key)!r}",
                hint="name another OUT, or remove the folder",
            )
    return existing


def _flat(origin: Origin) -> dict[str, Any]:
    values = asdict(origin)
    return {**values.pop("source"), **values}

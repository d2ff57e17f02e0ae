"""The dataset folder: a manifest and memory-mapped arrays, written whole or not at all.

    DATASET/manifest.json                              written last; without it there is no dataset
    DATASET/{train,validation,holdout}/input.npy       float32 N H W
    DATASET/{train,validation,holdout}/{bone,tissue}.npy     float16 where they are path lengths
    DATASET/{train,validation,holdout}/mask.npy        bool N H W, the body
    DATASET/{train,validation,holdout}/{soft_cm,bone_cm}.npy float16, where not the targets
    DATASET/{train,validation,holdout}/edges.npy       float16, where a pixel has several rays

While it is written, the folder is called DATASET.partial; the same request continues there. The
hold-out is in files of its own, so that a search can run where they are not.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dexsearch import __version__
from dexsearch.data.dataset import OPEN_SUBSETS, Arrays, Dataset, open_dataset
from dexsearch.data.describing import build_manifest
from dexsearch.data.destination import disk_faults, final_folder, is_filled, make_way
from dexsearch.data.image_info import ImageInfo, Tumour
from dexsearch.data.manifest import (
    FORMAT,
    MANIFEST_NAME,
    TARGETS,
    Manifest,
    Origin,
    as_json_values,
)
from dexsearch.data.partial import PartialFolder, held_partial, tidy
from dexsearch.data.samples import Sample
from dexsearch.data.splits import Split, Subset
from dexsearch.data.writing import BatchesFrom, write_arrays
from dexsearch.durable import write_durably
from dexsearch.errors import DataError

__all__ = [
    "OPEN_SUBSETS",
    "TARGETS",
    "Arrays",
    "BatchesFrom",
    "Dataset",
    "ImageInfo",
    "Manifest",
    "Sample",
    "Subset",
    "Tumour",
    "open_dataset",
    "write_dataset",
]

_BATCH = 16  # images held in memory where single samples are given


def write_dataset(
    path: Path,
    samples: Iterable[Sample] | BatchesFrom,
    split: Split,
    *,
    kind: str,
    pixel_mm: float | None,
    units: Mapping[str, str],
    source: Mapping[str, Any],
    made_with: Mapping[str, str] = MappingProxyType({}),
    leave_out_unusable: bool = False,
    n_expected: int | None = None,
) -> Dataset:
    """Write a dataset folder; only one batch of samples is in memory at a time.

    Where `path` already holds the dataset of the same request (kind, split rule, pixel size,
    units, source), it is returned and `samples` stays untouched. A request that was interrupted
    before continues after the batches that are on the disk, where `samples` can begin in the
    middle; what another request left half-written is replaced. The finished bytes do not depend
    on interruptions.

    Args:
        path: the folder to make.
        samples: a function that yields the batches after the first n (and is asked for n = 0
            first): interruptions, except by a `DataError`, then keep what is done. Or the single
            samples: then nothing is kept.
        split: the subset of every image.
        kind: `phantom`, `ct` or `import`.
        pixel_mm: pixel spacing at the isocentre, None where it is not known.
        units: unit of `input`, `bone` and `tissue`; both targets in `cm` are path lengths, unless
            samples bring `soft_cm` and `bone_cm`.
        source: how the images are made; together with the above it names the request.
        made_with: the code that makes the images, such as the projector; the version of dexsearch
            is added. A half-written dataset is continued only by the same; a finished one is
            returned whatever made it.
        leave_out_unusable: leave out, and count, views that show too little of the body to be
            scored, instead of refusing them.
        n_expected: number of images that the samples comprise, those left out too; None where
            it is not known.

    Raises:
        DataError: on an existing other `path`, or one that cannot become a folder; on NaN or a
            shape that differs (naming the image), on images given twice, on a subset without
            images.
        EnvironmentFault: if the disk refuses, another process is writing this dataset, a file
            that samples are made from cannot be read, or images are lost on their way.
    """
    origin = Origin(kind, pixel_mm, dict(units), split.rule, as_json_values(source))
    made = {**made_with, "dexsearch": __version__}
    request = as_json_values(
        {
            "format": FORMAT,
            "made_with": made,
            "leave_out_unusable": leave_out_unusable,
            "origin": asdict(origin),
        }
    )
    batches = samples if callable(samples) else _batches_of(samples)
    with disk_faults(path), ExitStack() as stack:
        final = final_folder(path)
        if is_filled(final):
            return _same_dataset(path, origin)
        make_way(final)
        partial = stack.enter_context(held_partial(final, is_kept=callable(samples)))
        if is_filled(final):  # finished by another process just now
            partial.discard()
            return _same_dataset(path, origin)
        stack.enter_context(_discarded_if_useless(partial))
        partial.begin(request)
        written = write_arrays(
            partial,
            batches,
            split,
            units=units,
            leave_out_unusable=leave_out_unusable,
            n_expected=n_expected,
        )
        manifest = build_manifest(partial.path, written, origin, made_with=made)
        write_durably(partial.path / MANIFEST_NAME, manifest.to_json().encode())
        partial.finish()
    return open_dataset(path)


@contextmanager
def _discarded_if_useless(partial: PartialFolder) -> Iterator[None]:
    """Delete a partial folder when bad data end the writing, or it cannot be continued."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, DataError) or not partial.is_kept:
            partial.discard()
        raise


def _batches_of(samples: Iterable[Sample]) -> BatchesFrom:
    """Return the samples in batches, from the first on whatever was done before."""

    def batches(n_done: int) -> Iterator[Sequence[Sample]]:
        batch: list[Sample] = []
        for sample in samples:
            batch.append(sample)
            if len(batch) == _BATCH:
                yield batch
                batch = []
        yield batch

    return batches


def _same_dataset(path: Path, asked: Origin) -> Dataset:
    """Open the dataset that is already there, if it is the one that was asked for."""
    if not (path / MANIFEST_NAME).exists():
        raise DataError(
            f"{str(path)!r} already holds something else than a dataset",
            hint="name another OUT",
        )
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
    tidy(path)
    return existing


def _flat(origin: Origin) -> dict[str, Any]:
    """Return every entry under a name of its own, such as `detector.size_px`."""
    values = asdict(origin)
    flat: dict[str, Any] = {}
    for key, value in {**values.pop("source"), **values}.items():
        inner = value if isinstance(value, dict) else {}
        flat |= {f"{key}.{name}": entry for name, entry in inner.items()} or {key: value}
    return flat

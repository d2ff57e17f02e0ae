"""Write the parts of a dataset folder: arrays as samples stream in, then the manifest."""

import hashlib
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import minimum_filter

from dexsearch.data.array_stream import ArrayStream
from dexsearch.data.manifest import (
    ARRAYS,
    FORMAT,
    TARGETS,
    ImageInfo,
    Manifest,
    Origin,
)
from dexsearch.data.splits import SUBSETS, Pose, Split, Subset
from dexsearch.data.statistics import data_range, mean_and_std
from dexsearch.durable import flush_folder, partial_beside, remove_orphans
from dexsearch.errors import DataError, EnvironmentFault

SCORED_MARGIN_PX = 5
"""Masked scores look this far inside the mask; `training.metrics.EROSION_PX`."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One image pair on its way into a dataset; all images H W, of one shape.

    Attributes:
        subject: name of the anatomy, the unit of splitting.
        pose_deg: rotation angles about x, y and z.
        input: single-energy log image.
        bone: bone image.
        tissue: soft-tissue image.
        mask: where the body is; scores and statistics look nowhere else.
    """

    subject: str
    pose_deg: Pose
    input: NDArray[np.float32]
    bone: NDArray[np.float32]
    tissue: NDArray[np.float32]
    mask: NDArray[np.bool_]

    @property
    def name(self) -> str:
        """How messages call this image."""
        return f"{self.subject} at {', '.join(f'{angle:g}' for angle in self.pose_deg)} degrees"


@contextmanager
def partial_folder(path: Path) -> Iterator[Path]:
    """Give a folder that becomes `path` on success and disappears on any failure."""
    partial = partial_beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_orphans(path.parent, escape(path.name))
        partial.mkdir()
        yield partial
        partial.rename(path)
        flush_folder(path.parent)
    except OSError as error:
        raise EnvironmentFault(
            f"cannot write dataset {str(path)!r}: {error.strerror or error}",
            hint="check the folder's permissions and the free space",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_arrays(
    folder: Path, samples: Iterable[Sample], split: Split
) -> tuple[dict[str, tuple[ImageInfo, ...]], tuple[int, int]]:
    """Write the arrays of every subset; return the images of each subset and the common size.

    Raises:
        DataError: on an image that is not usable, given twice, or of another size; on a subset
            that stays empty.
    """
    images: dict[Subset, list[ImageInfo]] = {subset: [] for subset in SUBSETS}
    seen: set[tuple[str, Pose]] = set()
    size_px: tuple[int, int] | None = None
    with ExitStack() as stack:
        streams: dict[tuple[Subset, str], ArrayStream] = {}
        for sample in samples:
            size_px = size_px or _size_of(sample)
            if not streams:
                streams = _open_streams(stack, folder, size_px)
            _refuse_unusable(sample, size_px)
            if (sample.subject, sample.pose_deg) in seen:
                raise DataError(f"image {sample.name} is given twice", hint="remove one of them")
            seen.add((sample.subject, sample.pose_deg))
            subset = split.subset(sample.subject, sample.pose_deg)
            if subset is None:
                continue
            images[subset].append(ImageInfo(sample.subject, sample.pose_deg))
            for name in ARRAYS:
                streams[subset, name].append(getattr(sample, name))
    empty = [subset for subset in SUBSETS if not images[subset]]
    if empty or size_px is None:
        raise DataError(
            f"{len(seen)} images leave the {empty[0]} subset without any", hint="give more images"
        )
    return {subset: tuple(infos) for subset, infos in images.items()}, size_px


def build_manifest(
    folder: Path,
    images: dict[str, tuple[ImageInfo, ...]],
    size_px: tuple[int, int],
    origin: Origin,
) -> Manifest:
    """Measure the training arrays, hash all files, and return the manifest.

    Raises:
        DataError: if the training inputs or a target are constant inside the mask.
    """
    train = {name: np.load(folder / "train" / f"{name}.npy", mmap_mode="r") for name in ARRAYS}
    mean, std = mean_and_std(train["input"], train["mask"])
    ranges = {name: data_range(train[name], train["mask"]) for name in TARGETS}
    for name, spread in {"input": std, **ranges}.items():
        if not spread > 0:
            raise DataError(
                f"the {name} images of the training subset are constant inside the mask",
                hint="check that the right images were given",
            )
    files = {
        f"{subset}/{name}.npy": file_sha256(folder / subset / f"{name}.npy")
        for subset in SUBSETS
        for name in ARRAYS
    }
    manifest = Manifest(
        format=FORMAT,
        kind=origin.kind,
        digest="",
        size_px=size_px,
        pixel_mm=origin.pixel_mm,
        input_mean=mean,
        input_std=std,
        data_ranges=ranges,
        units=origin.units,
        split_rule=origin.split_rule,
        images=images,
        files=files,
        source=origin.source,
    )
    return replace(manifest, digest=manifest.digest_of_contents)


def _open_streams(
    stack: ExitStack, folder: Path, size_px: tuple[int, int]
) -> dict[tuple[Subset, str], ArrayStream]:
    streams = {}
    for subset in SUBSETS:
        (folder / subset).mkdir()
        for name in ARRAYS:
            dtype = np.bool_ if name == "mask" else np.float32
            stream = ArrayStream(folder / subset / f"{name}.npy", size_px, dtype)
            streams[subset, name] = stack.enter_context(stream)
    return streams


def _size_of(sample: Sample) -> tuple[int, int]:
    if sample.input.ndim != 2:
        raise DataError(
            f"image {sample.name}: expected rows and columns, got {sample.input.shape}"
        )
    rows, columns = sample.input.shape
    return rows, columns


def _refuse_unusable(sample: Sample, size_px: tuple[int, int]) -> None:
    for name in ARRAYS:
        image: NDArray[Any] = getattr(sample, name)
        if image.shape != size_px:
            raise DataError(
                f"{name} image {sample.name} has shape {image.shape}; the images before it have "
                f"{size_px}",
                hint="all images of a dataset have one size",
            )
        if name != "mask" and not np.isfinite(image).all():
            raise DataError(
                f"{name} image {sample.name} holds {int((~np.isfinite(image)).sum())} NaN or "
                "infinite pixels",
                hint="remove the image or repair its source",
            )
    if not sample.mask.any():
        raise DataError(f"image {sample.name} has an empty mask: nothing of the body is in view")
    window_px = 2 * SCORED_MARGIN_PX + 1
    if not minimum_filter(sample.mask, window_px, mode="constant", cval=False).any():
        raise DataError(
            f"image {sample.name} shows so little of the body that nothing lies "
            f"{SCORED_MARGIN_PX} pixels inside its mask, where images are scored",
            hint="make larger images (--size), or leave out the view",
        )


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""One image pair on its way into a dataset: what it holds, how it is stored, what is refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import minimum_filter

from dexsearch.data.image_info import ImageInfo, Tumour, image_label
from dexsearch.data.manifest import (
    EDGES,
    PATH_LENGTH_ARRAYS,
    TARGETS,
    ArrayType,
    PathLengths,
)
from dexsearch.data.splits import Pose
from dexsearch.errors import DataError

SCORED_MARGIN_PX = 5
"""Masked scores look this far inside the mask; equal to `training.metrics.EROSION_PX`."""

OPTIONAL_ARRAYS = (*TARGETS, *PATH_LENGTH_ARRAYS, EDGES)

LARGEST_PATH_LENGTH = 60_000.0
"""What float16 holds, rounded down."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One image pair; all images H W, of one shape.

    Attributes:
        subject: name of the anatomy, the unit of splitting.
        pose_deg: rotation angles about x, y and z.
        input: single-energy log image.
        bone: bone image; None only for imported data that lacks this target throughout.
        tissue: soft-tissue image; None likewise.
        mask: where the body is; scores and statistics look nowhere else.
        soft_cm: clean path length of soft tissue, where `tissue` is not that already.
        bone_cm: clean path length of bone, where `bone` is not that already.
        edges: what edges within a pixel let through, see `manifest.EDGES`; None where there is
            one ray a pixel, or none is known.
        tumour: where a known tumour lies in this view.
        name: of the image where its pose alone does not name it.
    """

    subject: str
    pose_deg: Pose
    input: NDArray[np.float32]
    bone: NDArray[np.float32] | None
    tissue: NDArray[np.float32] | None
    mask: NDArray[np.bool_]
    soft_cm: NDArray[np.float32] | None = None
    bone_cm: NDArray[np.float32] | None = None
    tumour: Tumour | None = None
    name: str = ""
    edges: NDArray[np.float32] | None = None

    @property
    def info(self) -> ImageInfo:
        """What the manifest keeps of this image."""
        return ImageInfo(self.subject, self.pose_deg, self.name, self.tumour)

    @property
    def label(self) -> str:
        """How messages call this image."""
        return image_label(self.subject, self.pose_deg, self.name)

    def image(self, array: str) -> NDArray[Any] | None:
        """Return one image by the name of its array."""
        found: NDArray[Any] | None = getattr(self, array)
        return found


@dataclass(frozen=True, slots=True)
class Layout:
    """What every sample of one dataset has in common: arrays, their types and their size.

    Attributes:
        size_px: rows and columns.
        arrays: type on the disk by the array's name.
        path_lengths: where the clean path lengths are.
    """

    size_px: tuple[int, int]
    arrays: dict[str, ArrayType]
    path_lengths: PathLengths | None


def layout_of(sample: Sample, units: Mapping[str, str]) -> Layout:
    """Return the layout of the dataset that begins with `sample`.

    Path lengths are `soft_cm` and `bone_cm` where the sample has them, else the targets where
    both are in cm. Path lengths and edges are stored as float16, everything else as float32
    (mask: bool).

    Raises:
        DataError: on a sample without a target, or with one path length alone.
    """
    if sample.input.ndim != 2:
        raise DataError(
            f"image {sample.label}: expected rows and columns, got {sample.input.shape}"
        )
    given = [name for name in OPTIONAL_ARRAYS if sample.image(name) is not None]
    if not set(given) & set(TARGETS):
        raise DataError(
            f"image {sample.label} has neither a bone nor a tissue image",
            hint="give at least one of the two",
        )
    lengths = _path_lengths(sample, given, units)
    halved = {EDGES, lengths.soft, lengths.bone} if lengths else {EDGES}
    arrays: dict[str, ArrayType] = {"input": "float32"}
    arrays |= {name: "float16" if name in halved else "float32" for name in given}
    arrays["mask"] = "bool"
    rows, columns = sample.input.shape
    return Layout(size_px=(rows, columns), arrays=arrays, path_lengths=lengths)


def _path_lengths(
    sample: Sample, given: list[str], units: Mapping[str, str]
) -> PathLengths | None:
    separate = [name for name in PATH_LENGTH_ARRAYS if name in given]
    if len(separate) == 1:
        raise DataError(f"image {sample.label} has {separate[0]} alone; give both path lengths")
    if separate:
        return PathLengths(soft="soft_cm", bone="bone_cm")
    if all(name in given and units.get(name) == "cm" for name in TARGETS):
        return PathLengths(soft="tissue", bone="bone")
    return None


def refuse_unlike(sample: Sample, layout: Layout) -> None:
    """Refuse a sample that does not fit the others, or holds values that cannot be stored.

    Raises:
        DataError: naming the image, the array and what is wrong.
    """
    for name in OPTIONAL_ARRAYS:
        if (sample.image(name) is not None) != (name in layout.arrays):
            state = "a" if name not in layout.arrays else "no"
            raise DataError(
                f"image {sample.label} has {state} {name} image, unlike the images before it",
                hint="all images of a dataset have the same targets",
            )
    for name, dtype in layout.arrays.items():
        image = sample.image(name)
        if image is None or image.shape != layout.size_px:
            raise DataError(
                f"{name} image {sample.label} has shape {None if image is None else image.shape}; "
                f"the images before it have {layout.size_px}",
                hint="all images of a dataset have one size",
            )
        if name != "mask":
            _refuse_values(image, f"{name} image {sample.label}", dtype)


def _refuse_values(image: NDArray[Any], label: str, dtype: ArrayType) -> None:
    n_bad = int((~np.isfinite(image)).sum())
    if n_bad:
        raise DataError(
            f"{label} holds {n_bad} NaN or infinite pixels",
            hint="remove the image or repair its source",
        )
    largest = float(np.abs(image).max())
    if dtype == "float16" and largest > LARGEST_PATH_LENGTH:
        raise DataError(
            f"{label} holds {largest:g} cm; path lengths are at most {LARGEST_PATH_LENGTH:g} cm",
            hint="check the unit of the images",
        )


def refusal_of_view(sample: Sample) -> DataError | None:
    """Return why a view shows too little of the body to be scored; None if it shows enough."""
    if not sample.mask.any():
        return DataError(f"image {sample.label} has an empty mask: nothing of the body is in view")
    window_px = 2 * SCORED_MARGIN_PX + 1
    if not minimum_filter(sample.mask, window_px, mode="constant", cval=False).any():
        return DataError(
            f"image {sample.label} shows so little of the body that nothing lies "
            f"{SCORED_MARGIN_PX} pixels inside its mask, where images are scored",
            hint="make larger images (--size), or leave out the view",
        )
    return None

"""A CT on disk: what its header says, and its voxels once they are asked for.

Every file format is one `ScanReader`; `scan_readers.open_scan` chooses it by the path.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import error as ZlibError  # noqa: N812

import numpy as np
from numpy.typing import NDArray

from dexsearch.errors import DataError

Voxels = NDArray[np.int16] | NDArray[np.float32]
"""int16 wherever that is exact, which halves the memory of nearly every CT."""

VOXEL_RANGE_MM = (0.1, 20.0)
SPACING_TOLERANCE = 1e-3
HOUNSFIELD_HINT = (
    "give a CT in Hounsfield units (air about -1000, water 0); convert the series "
    "with its rescale slope and intercept"
)


@dataclass(frozen=True, slots=True)
class ScanHeader:
    """The grid of a scan and how it was taken.

    Axes: 0 head to feet, 1 front to back, 2 the patient's right to left.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    centre_mm: tuple[float, float, float] | None = None
    """Of the volume, in the scanner's coordinates (to the left, back, head); None: unknown."""
    kvp: float | None = None
    """Tube voltage, None where the file does not tell it."""
    contrast_agent: str | None = None
    """None where there is none, or the file does not tell it."""
    patient: str | None = field(default=None, repr=False)
    """PatientID; None where the file tells none. Kept out of messages: it is personal."""
    frame_of_reference: str | None = field(default=None, repr=False)
    """UID of one positioning of one patient, None where the file tells none."""


class ScanReader(ABC):
    """A volume that is known to be there and readable as far as its header goes."""

    path: Path
    header: ScanHeader

    @abstractmethod
    def values(self) -> Voxels:
        """Return the voxels in our axes, perhaps as a view with negative strides.

        Raises:
            DataError: if the file is damaged or holds NaN or infinite values.
        """


def exact_voxels(path: Path, values: NDArray[Any]) -> Voxels:
    """Return numbers as int16 where all of them are whole and fit, else as float32.

    Raises:
        DataError: if a value is NaN, infinite, a colour or a complex number.
    """
    if values.dtype == np.int16:
        return values
    if values.dtype.kind not in "biuf":
        raise DataError(
            f"{path} holds {values.dtype} instead of one number per voxel", hint=HOUNSFIELD_HINT
        )
    n_bad = sum(int((~np.isfinite(part)).sum()) for part in values)
    if n_bad:
        raise DataError(
            f"{path} holds {n_bad} values that are NaN or infinite", hint=HOUNSFIELD_HINT
        )
    if all(_whole_and_small(part) for part in values):
        return values.astype(np.int16)
    return values.astype(np.float32, copy=False)


def refuse_what_is_not_hu(path: Path, values: Voxels) -> None:
    """Refuse a volume whose values cannot be Hounsfield numbers of a body in air.

    Raises:
        DataError: if it holds no air or no tissue.
    """
    low, high = float(values.min()), float(values.max())
    if low > -500.0 or high < -400.0:
        raise DataError(
            f"{path} holds values from {low:g} to {high:g}; a chest CT in Hounsfield units has "
            "air below -500 and tissue above -400",
            hint=HOUNSFIELD_HINT,
        )


def refuse_absurd_grid(path: Path, shape: Iterable[int], spacing_mm: Iterable[float]) -> None:
    """Refuse what is no volume of three axes with voxels of a CT's size.

    Raises:
        DataError: naming the shape or the spacing.
    """
    sizes, sides = tuple(shape), tuple(spacing_mm)
    if len(sizes) != 3 or min(sizes) < 1:
        raise DataError(
            f"{path} has the shape {'x'.join(map(str, sizes))}; a CT volume has three axes",
            hint="give one volume, not a slice, a colour image or a time series",
        )
    low, high = VOXEL_RANGE_MM
    if not all(low <= side <= high for side in sides):
        raise DataError(
            f"{path} has voxels of {times(sides)} mm; allowed are {low:g}..{high:g} mm",
            hint="correct the voxel size in the file's header",
        )


def refuse_other_grid(
    path: Path, header: ScanHeader, reference_path: Path, reference: ScanHeader
) -> None:
    """Refuse two volumes whose voxels are not the same places in the patient.

    Raises:
        DataError: naming what differs.
    """
    differs = grid_difference(header, reference)
    if differs is not None:
        raise DataError(
            f"{path} has {differs[0]} (head to feet, front to back, right to left), "
            f"{reference_path} has {differs[1]}; both must lie on one grid",
            hint="resample one onto the grid of the other, for example in 3D Slicer",
        )


def grid_difference(header: ScanHeader, reference: ScanHeader) -> tuple[str, str] | None:
    """Return what differs between two grids, in the words of either; None where they are one.

    Where both tell the position, the centres may differ by half a voxel.
    """
    sides = zip(header.spacing_mm, reference.spacing_mm, strict=True)
    if header.shape != reference.shape:
        return f"{times(header.shape)} voxels", f"{times(reference.shape)}"
    if any(abs(side - other) > SPACING_TOLERANCE * other for side, other in sides):
        return f"voxels of {times(header.spacing_mm)} mm", f"{times(reference.spacing_mm)} mm"
    if header.centre_mm is not None and reference.centre_mm is not None:
        apart = np.abs(np.subtract(header.centre_mm, reference.centre_mm))
        if apart.max() > 0.5 * min(reference.spacing_mm):
            return f"its centre at {times(header.centre_mm)} mm", times(reference.centre_mm)
    return None


@contextmanager
def damage_told(path: Path) -> Iterator[None]:
    """Tell a file that breaks off or does not unpack as what it is."""
    try:
        yield
    except (OSError, EOFError, ValueError, ZlibError) as error:
        raise DataError(f"{path} cannot be read: {error}", hint="copy the file again") from None


def times(numbers: Iterable[float]) -> str:
    """Return the numbers as a person writes a size: 2 x 2 x 3."""
    return " x ".join(f"{number:g}" for number in numbers)


def _whole_and_small(values: NDArray[Any]) -> bool:
    limits = np.iinfo(np.int16)
    if values.size and not limits.min <= values.min() <= values.max() <= limits.max:
        return False
    return values.dtype.kind in "iub" or bool((np.rint(values) == values).all())

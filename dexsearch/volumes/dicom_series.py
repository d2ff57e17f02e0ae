"""A DICOM CT series as one volume: slices sorted along their normal, with nothing missing.

Order  position = ImagePositionPatient . normal, normal = row direction x column direction;
       neither file names nor instance numbers count.
Source DICOM PS3.3, C.7.6.2.1.1 (image plane) and C.11.1.1.2 (modality LUT).
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from dexsearch.errors import DataError
from dexsearch.volumes.axes import centre_lps_mm, orientation_of
from dexsearch.volumes.dicom_slices import CONVERT_HINT, DAMAGE, Slice, series_slices
from dexsearch.volumes.scan import (
    ScanHeader,
    ScanReader,
    Voxels,
    damage_told,
    refuse_absurd_grid,
    times,
)

SELECTOR = "#"
SAME_PLACE_MM = 1e-2
SAME_SPACING_MM = 1e-3
SAME_DIRECTION = 1e-3
UNEVEN_MM = 0.1
"""Positions are often rounded to a tenth of a millimetre."""
UNEVEN_SHARE = 0.01
SIDEWAYS_MM = 1.0


def split_selector(path: Path) -> tuple[Path, str | None]:
    """Return the folder and the end of the series' UID of `FOLDER#UID`."""
    folder, mark, series = path.name.rpartition(SELECTOR)
    if not mark or not series or path.exists():
        return path, None
    return path.parent / folder, series


class DicomSeriesReader(ScanReader):
    """The one CT series in a folder, or the one that `series` names."""

    def __init__(self, folder: Path, *, series: str | None = None) -> None:
        self.path = folder if series is None else folder.with_name(folder.name + SELECTOR + series)
        self._slices, step_mm = _in_order(folder, series_slices(folder, series=series))
        first = self._slices[0]
        normal, row, column = _directions(first)
        between_rows, between_columns = first.pixel_spacing_mm
        directions = np.stack([normal, column, row], axis=1)
        shape = (len(self._slices), first.rows, first.columns)
        spacing = (step_mm, between_rows, between_columns)
        refuse_absurd_grid(folder, shape, spacing)
        try:
            self._orientation = orientation_of(directions)
        except ValueError as error:
            raise DataError(
                f"{folder} {error}", hint="reconstruct the series in axial slices"
            ) from None
        centre = centre_lps_mm(np.array(first.position_mm), directions * spacing, shape)
        self.header = ScanHeader(
            shape=self._orientation.sorted(shape),
            spacing_mm=self._orientation.sorted(spacing),
            centre_mm=centre,
            kvp=_one_kvp(folder, self._slices),
            contrast_agent=_first(one.contrast_agent for one in self._slices),
            patient=_one_patient(folder, self._slices),
            frame_of_reference=_first(one.frame_of_reference for one in self._slices),
        )

    def values(self) -> Voxels:
        """Read every slice and apply its own rescale slope and intercept."""
        first = self._slices[0]
        shape = (len(self._slices), first.rows, first.columns)
        volume: NDArray[Any] = np.empty(shape, dtype=np.int16)
        limits = np.iinfo(np.int16)
        for index, one in enumerate(self._slices):
            hu = _pixels(one) * one.slope + one.intercept
            exact = limits.min <= hu.min() <= hu.max() <= limits.max and (np.rint(hu) == hu).all()
            if volume.dtype == np.int16 and not exact:
                volume = volume.astype(np.float32)
            volume[index] = hu
        return self._orientation.turned(volume)


def _pixels(one: Slice) -> NDArray[np.float64]:
    with damage_told(one.file):
        try:
            pixels = pydicom.dcmread(one.file).pixel_array
        except DAMAGE as error:
            raise ValueError(str(error)) from None
        if pixels.shape != (one.rows, one.columns):
            raise ValueError(f"it holds pixels of the shape {times(pixels.shape)}")
    return np.asarray(pixels, dtype=np.float64)


def _in_order(folder: Path, slices: Sequence[Slice]) -> tuple[list[Slice], float]:
    """Return the slices along their normal and the distance of neighbours in mm."""
    first = slices[0]
    for other in slices[1:]:
        _refuse_another_grid(first, other)
    normal, row, column = _directions(first)
    ordered = sorted(slices, key=lambda one: float(np.dot(one.position_mm, normal)))
    if len(ordered) < 2:
        raise DataError(
            f"{folder} holds one slice, {first.file.name}; a volume needs several",
            hint="give the folder of the whole series",
        )
    along = [float(np.dot(one.position_mm, normal)) for one in ordered]
    _refuse_gaps(folder, ordered, along)
    moved = np.subtract([one.position_mm for one in ordered], ordered[0].position_mm)
    sideways = float(np.hypot(moved @ row, moved @ column).max())
    if sideways > SIDEWAYS_MM:
        tilt_deg = math.degrees(math.atan2(sideways, along[-1] - along[0]))
        raise DataError(
            f"{folder}: the slices are shifted sideways by up to {sideways:.1f} mm, as by a "
            f"gantry tilt of {tilt_deg:.1f} degrees; allowed is {SIDEWAYS_MM:g} mm",
            hint="resample the series to straight slices first, for example with dcm2niix, "
            "which corrects the tilt",
        )
    return ordered, (along[-1] - along[0]) / (len(ordered) - 1)


def _refuse_gaps(folder: Path, ordered: Sequence[Slice], along: Sequence[float]) -> None:
    steps = np.diff(along)
    same = [index for index, step in enumerate(steps) if step < SAME_PLACE_MM]
    if same:
        one, other = ordered[same[0]], ordered[same[0] + 1]
        lie = "slice lies" if len(same) == 1 else "slices lie"
        raise DataError(
            f"{folder}: {len(same)} {lie} where another one does; "
            f"{one.file.name} and {other.file.name} are both at {along[same[0]]:g} mm",
            hint="take copies away; of a series with several phases keep one",
        )
    step = float(np.median(steps))
    uneven = [i for i, s in enumerate(steps) if abs(s - step) > UNEVEN_MM + UNEVEN_SHARE * step]
    if uneven:
        at = uneven[0]
        one, other = ordered[at], ordered[at + 1]
        n_missing = sum(max(0, round(float(steps[i]) / step) - 1) for i in uneven)
        raise DataError(
            f"{folder}: {'slices are missing' if n_missing else 'the slices are uneven'}: from "
            f"{one.file.name} at {along[at]:g} mm to {other.file.name} at {along[at + 1]:g} mm "
            f"are {steps[at]:.3g} mm, elsewhere {step:.3g} mm; {len(uneven)} such places"
            + (f", {n_missing} slices" if n_missing else ""),
            hint="copy the missing slices, or give a series of even spacing",
        )
    _refuse_every_nth(folder, ordered, step)


def _refuse_every_nth(folder: Path, ordered: Sequence[Slice], step_mm: float) -> None:
    """Refuse an even series whose numbers and thickness agree that slices were left out."""
    numbers = [one.number for one in ordered if one.number is not None]
    thickness = ordered[0].thickness_mm
    if len(numbers) < len(ordered) or not thickness:
        return
    apart = set(np.abs(np.diff(numbers)).tolist())
    nth = min(apart)
    if len(apart) == 1 and nth > 1 and step_mm > (nth - 0.5) * thickness:
        raise DataError(
            f"{folder}: slices are missing: their InstanceNumbers are {nth} apart, and slices of "
            f"{thickness:g} mm lie {step_mm:g} mm apart",
            hint="copy the whole series",
        )


def _refuse_another_grid(first: Slice, other: Slice) -> None:
    if (first.rows, first.columns) != (other.rows, other.columns):
        what = "size", f"{first.rows} x {first.columns}", f"{other.rows} x {other.columns} pixels"
    elif _apart(first.pixel_spacing_mm, other.pixel_spacing_mm) > SAME_SPACING_MM:
        what = "pixel spacing", times(first.pixel_spacing_mm), times(other.pixel_spacing_mm)
    elif _apart(first.orientation, other.orientation) > SAME_DIRECTION:
        what = "orientation", str(first.orientation), str(other.orientation)
    else:
        return
    raise DataError(
        f"{first.file} and {other.file.name} differ in {what[0]}: {what[1]} and {what[2]}; all "
        "slices of a series have one",
        hint="give the folder of one reconstruction; take other images out",
    )


def _directions(
    one: Slice,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the unit vectors along the normal, a row and a column."""
    row, column = np.array(one.orientation[:3]), np.array(one.orientation[3:])
    right_angle = abs(float(row @ column)) < SAME_DIRECTION
    if not right_angle or abs(np.linalg.norm(row) - 1) > 0.01:
        raise DataError(
            f"{one.file} has ImageOrientationPatient = {list(one.orientation)}, which are no two "
            "directions at a right angle",
            hint=CONVERT_HINT,
        )
    normal = np.cross(row, column)
    return normal / np.linalg.norm(normal), row, column


def _one_kvp(folder: Path, slices: Sequence[Slice]) -> float | None:
    known = sorted({one.kvp for one in slices if one.kvp is not None})
    if len(known) > 1:
        raise DataError(
            f"{folder} holds slices taken at {' and '.join(f'{kvp:g}' for kvp in known)} kVp",
            hint="give each tube voltage as a series of its own",
        )
    return known[0] if known else None


def _one_patient(folder: Path, slices: Sequence[Slice]) -> str | None:
    known = {one.patient for one in slices if one.patient is not None}
    if len(known) > 1:
        raise DataError(
            f"{folder} holds slices of {len(known)} patients by their PatientID",
            hint="give the series of one patient",
        )
    return _first(known)


def _first(told: Iterable[str | None]) -> str | None:
    return next((one for one in told if one), None)


def _apart(first: Sequence[float], second: Sequence[float]) -> float:
    return float(np.abs(np.subtract(first, second)).max())

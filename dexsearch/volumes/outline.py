"""The skin of a procedural thorax: torso, shoulders with the beginning of the arms, neck, breasts.

The arms end below the shoulder, as if cut off by the edge of a film.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from dexsearch.volumes.anatomy import Anatomy, CageProfile, cage_profile
from dexsearch.volumes.shapes import Grid, Slices, coverage

Row = NDArray[np.float32]

FAT_FRACTION = 0.864
"""Adipose tissue as soft tissue: mu at 60 keV against ICRU-44 soft tissue's."""
SKIN_MM = 2.0
SMOOTHING_MM = 9.0
FOLD_MM = 26.0
"""How softly shoulders, neck and torso flow into each other."""
WIDEST_SHOULDER_MM = 222.0
AIR_MM = 10.0


def shoulder_reach_mm(anatomy: Anatomy) -> float:
    """Return half of the breadth over the shoulders."""
    soft = 0.35 * (anatomy.fat_mm + anatomy.muscle_mm - 30.0)
    return min(205.0 * (0.4 + 0.6 * anatomy.width) + soft, WIDEST_SHOULDER_MM)


def half_extents_mm(anatomy: Anatomy) -> tuple[float, float]:
    """Return how far a volume must reach along y and x to hold the body with some air."""
    z = np.arange(-220.0, 220.0, 4.0)
    torso = _torso(z, anatomy, cage_profile(anatomy), smoothing=2.0)
    front = (torso.half_depth_mm - torso.centre_y_mm).max() + anatomy.breast_mm
    back = (torso.half_depth_mm + torso.centre_y_mm).max()
    side = max(float(torso.half_width_mm.max()), shoulder_reach_mm(anatomy))
    return float(max(front, back)) + AIR_MM, side + AIR_MM


@dataclass(frozen=True, slots=True)
class Outline:
    """The bodies whose smooth union is the outline, on the slices of one grid."""

    torso: Slices
    shoulders: Slices
    neck: Slices
    last_fold: int
    """Below this slice there is only the torso."""
    breast_mm: Row
    """How far the breasts stand out, by slice and column."""
    y_mm: Row
    x_mm: Row

    def distance_mm(self, chunk: slice, under_mm: float) -> Row:
        """Return the distance to the body without its outermost `under_mm`."""
        bodies = [self.torso]
        if chunk.start < self.last_fold:
            bodies += [self.shoulders, self.neck]
        fields = (
            body.part(chunk).inner(under_mm).distance_mm(self.y_mm, self.x_mm) for body in bodies
        )
        field = next(fields)
        for other in fields:
            fold = np.maximum(FOLD_MM - np.abs(field - other), 0.0)
            np.minimum(field, other, out=field)
            field -= fold * fold * np.float32(0.25 / FOLD_MM)
        return field

    def skin_distance_mm(self, chunk: slice) -> Row:
        """Return the distance to the skin, breasts included."""
        field = self.distance_mm(chunk, 0.0)
        breast = self.breast_mm[chunk]
        if breast.max() > 0.1:
            front = np.clip(-self.y_mm / 40.0, 0.0, 1.0)
            field -= breast[:, None, :] * front[None, :, None]
        return field


def outline(grid: Grid, anatomy: Anatomy) -> Outline:
    """Return the outline of a body on a grid."""
    z = grid.axis_mm(0).astype(np.float64)
    smoothing = SMOOTHING_MM / grid.voxel_mm
    t1 = anatomy.vertebra_mm(0)[0]
    return Outline(
        torso=_torso(z, anatomy, cage_profile(anatomy), smoothing=smoothing),
        shoulders=_shoulders(z, anatomy, smoothing=smoothing),
        neck=_neck(z, anatomy, smoothing=smoothing),
        last_fold=int(np.searchsorted(z, t1 + 165.0)),
        breast_mm=_breasts(z, grid.axis_mm(2), anatomy),
        y_mm=grid.axis_mm(1),
        x_mm=grid.axis_mm(2),
    )


def paint_body(soft: NDArray[np.float32], grid: Grid, anatomy: Anatomy, *, chunk: int) -> None:
    """Fill an empty volume with skin, fat and muscle."""
    body = outline(grid, anatomy)
    fat_ends_mm = SKIN_MM + anatomy.fat_mm
    for first in range(0, grid.shape[0], chunk):
        part = slice(first, min(first + chunk, grid.shape[0]))
        skin = body.skin_distance_mm(part)
        fat = coverage(skin + np.float32(SKIN_MM), grid.voxel_mm)
        fat -= coverage(body.distance_mm(part, fat_ends_mm), grid.voxel_mm)
        np.maximum(fat, 0.0, out=fat)
        fat *= np.float32(FAT_FRACTION - 1.0)
        fat += coverage(skin, grid.voxel_mm)
        soft[part] = fat


def _torso(
    z: NDArray[np.float64], anatomy: Anatomy, cage: CageProfile, *, smoothing: float
) -> Slices:
    soft_mm = anatomy.muscle_mm + anatomy.fat_mm + SKIN_MM
    t1 = anatomy.vertebra_mm(0)[0]
    width = np.maximum(cage.half_width_mm, 0.96 * np.maximum.accumulate(cage.half_width_mm))
    width = np.interp(z, cage.z_mm, width) + soft_mm
    front = np.interp(z, cage.z_mm, cage.centre_y_mm - cage.half_depth_mm) - 0.6 * soft_mm - 4.0
    back = np.interp(z, cage.z_mm, cage.centre_y_mm + cage.half_depth_mm) + 0.6 * soft_mm + 18.0
    top = np.clip((z - t1 + 20.0) / 45.0, 0.0, 1.0)
    grow = np.sqrt(top * (2.0 - top))
    return _slices(grow * width, grow * 0.5 * (back - front), 0.5 * (back + front), 2.5, smoothing)


def _shoulders(z: NDArray[np.float64], anatomy: Anatomy, *, smoothing: float) -> Slices:
    t1 = anatomy.vertebra_mm(0)[0] + 12.0
    reach, neck = shoulder_reach_mm(anatomy), 56.0 + 0.4 * anatomy.fat_mm
    heights = np.array([-78, -56, -38, -26, -16, -4, 14, 44, 74, 96, 112, 122]) + t1
    share = np.array([0, 0.04, 0.22, 0.5, 0.75, 0.9, 0.985, 1, 0.97, 0.86, 0.6, 0])
    width = np.interp(z, heights, neck + share * (reach - neck), left=1.0, right=1.0)
    thick = 1.0 + 0.006 * (anatomy.fat_mm + anatomy.muscle_mm - 30.0)
    depth = np.interp(z, heights, [20, 44, 54, 58, 60, 60, 58, 55, 52, 46, 30, 1]) * thick
    centre = np.full_like(z, anatomy.vertebra_mm(1)[1] - 8.0)
    return _slices(width, depth, centre, 2.3, smoothing)


def _neck(z: NDArray[np.float64], anatomy: Anatomy, *, smoothing: float) -> Slices:
    t1, y, _ = anatomy.vertebra_mm(0)
    half = 56.0 + 0.4 * anatomy.fat_mm
    fade = np.clip((t1 + 30.0 - z) / 20.0, 0.02, 1.0)
    centre = np.full_like(z, y - 10.0)
    return _slices(half * fade, (half + 10.0) * fade, centre, 2.0, smoothing)


def _slices(
    width: NDArray[np.float64],
    depth: NDArray[np.float64],
    centre: NDArray[np.float64],
    power: float,
    smoothing: float,
) -> Slices:
    rows = (np.maximum(width, 1.0), np.maximum(depth, 1.0), centre)
    half_width, half_depth, middle = (
        gaussian_filter1d(row, smoothing, mode="nearest").astype(np.float32) for row in rows
    )
    return Slices(half_width, half_depth, middle, power)


def _breasts(z: NDArray[np.float64], x: Row, anatomy: Anatomy) -> Row:
    """Return teardrops: a slow rise from above, a quick end below."""
    level = anatomy.vertebra_mm(8)[0] + 10.0
    spread = np.where(z < level, 50.0, 26.0)
    rise = ((z - level) / spread) ** 2
    across = ((np.abs(x) - 76.0 * anatomy.width) / 42.0) ** 2
    hill = np.exp(-0.5 * (rise[:, None] + across[None, :]) ** 1.4)
    return (anatomy.breast_mm * hill).astype(np.float32)

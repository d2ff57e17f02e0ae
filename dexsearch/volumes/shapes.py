"""Draw bodies on a voxel grid as signed distances in mm, negative inside.

A canvas works on the bounding box of each shape alone, so that a thousand capsules cost less
than a second. `coverage` turns a distance into the share of the voxel that is inside.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Point = tuple[float, float, float]
FAR_MM = 1e3


@dataclass(frozen=True, slots=True)
class Grid:
    """A regular grid around the origin; axes as in `Subject`."""

    shape: tuple[int, int, int]
    voxel_mm: float

    def axis_mm(self, axis: int) -> NDArray[np.float32]:
        """Return the voxel centres along one axis."""
        n = self.shape[axis]
        return ((np.arange(n) - (n - 1) / 2.0) * self.voxel_mm).astype(np.float32)

    def axes_mm(self) -> tuple[NDArray[np.float32], ...]:
        """Return the three axes, shaped to broadcast against a volume."""
        return (
            self.axis_mm(0)[:, None, None],
            self.axis_mm(1)[None, :, None],
            self.axis_mm(2)[None, None, :],
        )

    def far(self) -> NDArray[np.float32]:
        """Return a distance field with nothing in it."""
        return np.full(self.shape, FAR_MM, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Capsule:
    """A rod with round ends; `radii_mm` scales the three axes of its cross-section."""

    start_mm: Point
    end_mm: Point
    radii_mm: Point


@dataclass(frozen=True, slots=True)
class Ellipsoid:
    """An ellipsoid with axes along the grid, or a box with rounded faces when `power` is high."""

    centre_mm: Point
    radii_mm: Point
    power: float = 2.0


def coverage(distance_mm: NDArray[np.float32], voxel_mm: float) -> NDArray[np.float32]:
    """Return the share of each voxel inside, 0..1, for a surface that is flat in the voxel."""
    return np.asarray(np.clip(0.5 - distance_mm / voxel_mm, 0.0, 1.0))


def add_capsule(field: NDArray[np.float32], grid: Grid, capsule: Capsule) -> None:
    """Unite a capsule with a distance field, in place."""
    start, end, radii = capsule.start_mm, capsule.end_mm, capsule.radii_mm
    low = tuple(min(a, b) - r for a, b, r in zip(start, end, radii, strict=True))
    high = tuple(max(a, b) + r for a, b, r in zip(start, end, radii, strict=True))
    box = _box(grid, low, high)
    if box is None:
        return
    axes = zip(_box_axes(grid, box), start, radii, strict=True)
    z, y, x = ((axis - s) / r for axis, s, r in axes)
    d = tuple((b - a) / r for a, b, r in zip(start, end, radii, strict=True))
    length2 = max(sum(component**2 for component in d), 1e-9)
    share = np.clip((z * d[0] + y * d[1] + x * d[2]) / length2, 0.0, 1.0)
    z, y, x = z - share * d[0], y - share * d[1], x - share * d[2]
    _unite(field, box, _distance(z, y, x, np.sqrt(z * z + y * y + x * x), radii))


def add_ellipsoid(field: NDArray[np.float32], grid: Grid, body: Ellipsoid) -> None:
    """Unite an ellipsoid with a distance field, in place; distances are exact to first order."""
    centre, radii = body.centre_mm, body.radii_mm
    low = tuple(c - r for c, r in zip(centre, radii, strict=True))
    high = tuple(c + r for c, r in zip(centre, radii, strict=True))
    box = _box(grid, low, high)
    if box is None:
        return
    axes = zip(_box_axes(grid, box), centre, radii, strict=True)
    z, y, x = (np.abs(axis - c) / r for axis, c, r in axes)
    p = body.power
    _unite(field, box, _distance(z, y, x, (z**p + y**p + x**p) ** (1.0 / p), radii))


def _distance(
    z: NDArray[np.float32],
    y: NDArray[np.float32],
    x: NDArray[np.float32],
    scaled: NDArray[np.float32],
    radii: Point,
) -> NDArray[np.float32]:
    """Turn a scaled distance (1 on the surface) into mm by the length of its gradient."""
    slope = np.sqrt((z / radii[0]) ** 2 + (y / radii[1]) ** 2 + (x / radii[2]) ** 2)
    # At the very centre both vanish; their ratio is at least the smallest radius.
    reach = np.where(slope > 1e-6, scaled / np.maximum(slope, 1e-6), min(radii))
    return np.asarray((scaled - 1.0) * reach)


def _unite(
    field: NDArray[np.float32], box: tuple[slice, slice, slice], distance: NDArray[np.float32]
) -> None:
    np.minimum(field[box], distance, out=field[box])


def _box(
    grid: Grid, low_mm: tuple[float, ...], high_mm: tuple[float, ...]
) -> tuple[slice, slice, slice] | None:
    """Return the voxels of a bounding box with a margin of two, or None if it is outside."""
    slices = []
    for low, high, n in zip(low_mm, high_mm, grid.shape, strict=True):
        first = int(np.floor(low / grid.voxel_mm + (n - 1) / 2.0)) - 2
        last = int(np.ceil(high / grid.voxel_mm + (n - 1) / 2.0)) + 3
        if last <= 0 or first >= n:
            return None
        slices.append(slice(max(first, 0), min(last, n)))
    return slices[0], slices[1], slices[2]


def _box_axes(grid: Grid, box: tuple[slice, slice, slice]) -> tuple[NDArray[np.float32], ...]:
    return tuple(
        axis[tuple(box[i] if i == j else slice(None) for j in range(3))]
        for i, axis in enumerate(grid.axes_mm())
    )


def ellipse_distance(
    y: NDArray[np.float32],
    x: NDArray[np.float32],
    half_depth: NDArray[np.float32],
    half_width: NDArray[np.float32],
    *,
    power: float,
) -> NDArray[np.float32]:
    """Return the distance to an upright (super)ellipse in every horizontal slice."""
    v, u = np.abs(y) / half_depth, np.abs(x) / half_width
    scaled = np.maximum((v**power + u**power) ** (1.0 / power), 1e-6)
    slope = np.sqrt((v / half_depth) ** 2 + (u / half_width) ** 2) / scaled
    return np.asarray((scaled - 1.0) / np.maximum(slope, 1e-6))

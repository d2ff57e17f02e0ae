"""Draw bodies on a voxel grid as signed distances in mm, negative inside.

Every shape works on its own bounding box alone, so that a thousand capsules cost a fraction of a
second. `coverage` turns a distance into the share of the voxel that is inside.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Point = tuple[float, float, float]
Box = tuple[slice, slice, slice]
FAR_MM = 1e3
MARGIN_VOXELS = 2


@dataclass(frozen=True, slots=True)
class Grid:
    """A regular grid of cubic voxels; axes as in `Subject`."""

    shape: tuple[int, int, int]
    voxel_mm: float
    centre_mm: Point = (0.0, 0.0, 0.0)

    def axis_mm(self, axis: int) -> NDArray[np.float32]:
        """Return the voxel centres along one axis."""
        n = self.shape[axis]
        places = (np.arange(n) - (n - 1) / 2.0) * self.voxel_mm + self.centre_mm[axis]
        return places.astype(np.float32)

    def axes_mm(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Return the three axes, shaped to broadcast against a volume."""
        return (
            self.axis_mm(0)[:, None, None],
            self.axis_mm(1)[None, :, None],
            self.axis_mm(2)[None, None, :],
        )

    def far(self) -> NDArray[np.float32]:
        """Return a distance field with nothing in it."""
        return np.full(self.shape, FAR_MM, dtype=np.float32)

    def box(self, low_mm: Point, high_mm: Point) -> Box | None:
        """Return the voxels of a bounding box with a margin, or None if it is outside."""
        slices = []
        for axis, n in enumerate(self.shape):
            first_mm = self.centre_mm[axis] - (n - 1) / 2.0 * self.voxel_mm
            first = int(np.floor((low_mm[axis] - first_mm) / self.voxel_mm)) - MARGIN_VOXELS
            stop = int(np.ceil((high_mm[axis] - first_mm) / self.voxel_mm)) + MARGIN_VOXELS + 1
            if stop <= 0 or first >= n:
                return None
            slices.append(slice(max(first, 0), min(stop, n)))
        return slices[0], slices[1], slices[2]

    def within(self, box: Box) -> "Grid":
        """Return the grid of the voxels of a box, each where it was."""
        sides = [part.stop - part.start for part in box]
        z, y, x = (
            centre + ((part.start + part.stop - 1) / 2.0 - (n - 1) / 2.0) * self.voxel_mm
            for centre, part, n in zip(self.centre_mm, box, self.shape, strict=True)
        )
        return Grid((sides[0], sides[1], sides[2]), self.voxel_mm, (z, y, x))


@dataclass(frozen=True, slots=True)
class Capsule:
    """A rod with round ends; `radii_mm` scales the three axes of its cross-section."""

    start_mm: Point
    end_mm: Point
    radii_mm: Point

    def bounds_mm(self) -> tuple[Point, Point]:
        """Return the corners of its bounding box."""
        ends = np.array([self.start_mm, self.end_mm])
        return _corners(ends.min(axis=0), ends.max(axis=0), self.radii_mm)


@dataclass(frozen=True, slots=True)
class Ellipsoid:
    """An ellipsoid with axes along the grid, or a box with rounded faces when `power` is high."""

    centre_mm: Point
    radii_mm: Point
    power: float = 2.0

    def bounds_mm(self) -> tuple[Point, Point]:
        """Return the corners of its bounding box."""
        centre = np.array(self.centre_mm)
        return _corners(centre, centre, self.radii_mm)


Shape = Capsule | Ellipsoid


def _corners(
    low: NDArray[np.float64], high: NDArray[np.float64], radii: Point
) -> tuple[Point, Point]:
    (z0, y0, x0), (z1, y1, x1) = (low - radii).tolist(), (high + radii).tolist()
    return (z0, y0, x0), (z1, y1, x1)


def bounds_mm(shapes: Sequence[Shape]) -> tuple[Point, Point]:
    """Return the corners of the box around all shapes."""
    corners = np.array([shape.bounds_mm() for shape in shapes])
    return _corners(corners[:, 0].min(axis=0), corners[:, 1].max(axis=0), (0.0, 0.0, 0.0))


def coverage(distance_mm: NDArray[np.float32], voxel_mm: float) -> NDArray[np.float32]:
    """Return the share of each voxel inside, 0..1, for a surface that is flat in the voxel."""
    share = distance_mm * np.float32(-1.0 / voxel_mm)
    share += np.float32(0.5)
    return np.asarray(np.clip(share, 0.0, 1.0, out=share))


def draw(field: NDArray[np.float32], grid: Grid, shape: Shape) -> None:
    """Unite a shape with a distance field, in place; distances are exact to first order."""
    box = grid.box(*shape.bounds_mm())
    if box is None:
        return
    axes = grid.within(box).axes_mm()
    distance = _capsule(axes, shape) if isinstance(shape, Capsule) else _ellipsoid(axes, shape)
    np.minimum(field[box], distance, out=field[box])


def drawn(shapes: Sequence[Shape], grid: Grid) -> tuple[Box, NDArray[np.float32]] | None:
    """Return the distance to the union of shapes in their own box, or None if it is outside."""
    box = grid.box(*bounds_mm(shapes)) if shapes else None
    if box is None:
        return None
    local = grid.within(box)
    field = local.far()
    for shape in shapes:
        draw(field, local, shape)
    return box, field


def _capsule(axes: tuple[NDArray[np.float32], ...], capsule: Capsule) -> NDArray[np.float32]:
    start, end, radii = capsule.start_mm, capsule.end_mm, capsule.radii_mm
    z, y, x = ((axis - s) / r for axis, s, r in zip(axes, start, radii, strict=True))
    d = tuple((b - a) / r for a, b, r in zip(start, end, radii, strict=True))
    length2 = max(sum(component**2 for component in d), 1e-9)
    d0, d1, d2 = (component / length2 for component in d)
    share = np.clip(z * d0 + y * d1 + x * d2, 0.0, 1.0)
    z, y, x = z - share * d[0], y - share * d[1], x - share * d[2]
    z2, y2, x2 = z * z, y * y, x * x
    return _distance(z2, y2, x2, np.sqrt(z2 + y2 + x2), radii)


def _ellipsoid(axes: tuple[NDArray[np.float32], ...], body: Ellipsoid) -> NDArray[np.float32]:
    centre, radii, p = body.centre_mm, body.radii_mm, body.power
    z, y, x = (np.abs(axis - c) / r for axis, c, r in zip(axes, centre, radii, strict=True))
    z2, y2, x2 = z * z, y * y, x * x
    scaled = np.sqrt(z2 + y2 + x2) if p == 2.0 else (z**p + y**p + x**p) ** (1.0 / p)
    return _distance(z2, y2, x2, scaled, radii)


def _distance(
    z2: NDArray[np.float32],
    y2: NDArray[np.float32],
    x2: NDArray[np.float32],
    scaled: NDArray[np.float32],
    radii: Point,
) -> NDArray[np.float32]:
    """Turn a scaled distance (1 on the surface) into mm by the length of its gradient.

    Takes the squares of the scaled coordinates.
    """
    if radii[0] == radii[1] == radii[2]:
        return np.asarray((scaled - 1.0) * radii[0])
    a, b, c = (1.0 / radius**2 for radius in radii)
    slope = np.sqrt(z2 * a + y2 * b + x2 * c)
    # At the very centre both vanish; their ratio is at least the smallest radius.
    reach = np.where(slope > 1e-6, scaled / np.maximum(slope, 1e-6), min(radii))
    return np.asarray((scaled - 1.0) * reach)


@dataclass(frozen=True, slots=True)
class Slices:
    """An upright body: a superellipse in every horizontal slice.

    Attributes:
        half_width_mm: along x; one value per slice of the grid, as the two below.
        half_depth_mm: along y.
        centre_y_mm: its middle, along y; the middle along x is 0.
        power: 2 is an ellipse, more has squarer corners.
    """

    half_width_mm: NDArray[np.float32]
    half_depth_mm: NDArray[np.float32]
    centre_y_mm: NDArray[np.float32]
    power: float

    def part(self, slices: slice) -> "Slices":
        """Return some of the slices."""
        return Slices(
            self.half_width_mm[slices],
            self.half_depth_mm[slices],
            self.centre_y_mm[slices],
            self.power,
        )

    def inner(self, by_mm: float) -> "Slices":
        """Return the body under a layer of a thickness."""
        return Slices(
            np.maximum(self.half_width_mm - by_mm, 1.0),
            np.maximum(self.half_depth_mm - by_mm, 1.0),
            self.centre_y_mm,
            self.power,
        )

    def distance_mm(self, y: NDArray[np.float32], x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the distance at places along two axes, exact to first order at the surface.

        With F = |v|^p + |u|^p - 1 it is F / |grad F|. Both are sums of a row and a column, so no
        power is taken per voxel. Far from the surface it only keeps its sign and grows.
        """
        p = self.power
        width, depth = self.half_width_mm[:, None, None], self.half_depth_mm[:, None, None]
        v = np.abs(y[None, :, None] - self.centre_y_mm[:, None, None]) / depth
        u = np.abs(x[None, None, :]) / width
        slope = (p * v ** (p - 1.0) / depth) ** 2 + (p * u ** (p - 1.0) / width) ** 2
        slope += np.float32(1e-12)
        distance = (v**p - 1.0) + u**p
        distance /= np.sqrt(slope, out=slope)
        return np.asarray(distance, np.float32)

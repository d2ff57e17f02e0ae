"""Which pixels of a view a longer and wider scan would not change.

A scan ends somewhere. The body is taken to go on above and below it as its first and last slice,
holes filled, and to go on beside it wherever it touches the front, back, left or right face.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from scipy import ndimage

from dexsearch.physics.geometry import (
    Detector,
    Pose,
    Rays,
    detector_position_mm,
    detector_rays,
    source_mm,
)

BODY_ABOVE_FRACTION = 0.05


@dataclass(frozen=True, slots=True)
class _Source:
    """The beam seen along axis 0: all rays run along `towards`, or leave `source_mm`.

    Upright lines then have one sideways position each: a distance in mm beside the beam, or an
    angle in radians around the source. Heights are of a ray above the plane that holds the source:
    in mm, or as a slope.
    """

    towards: NDArray[np.float64]
    slope: float
    """Rise of a parallel beam along axis 0 per mm along `towards`."""
    source_mm: NDArray[np.float64] | None

    def see(
        self, points_mm: Float[np.ndarray, "N 2"], height_mm: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the sideways positions and the heights of points at `height_mm`."""
        relative = points_mm if self.source_mm is None else points_mm - self.source_mm[1:]
        along = relative @ self.towards
        beside = relative @ np.array([-self.towards[1], self.towards[0]])
        if self.source_mm is None:
            return beside, height_mm - self.slope * along
        distance = np.maximum(np.hypot(along, beside), 1e-6)
        return np.arctan2(beside, along), (height_mm - self.source_mm[0]) / distance

    def strip(self, width_mm: float) -> float:
        """Return the width of a strip of sideways positions, `width_mm` at the isocentre."""
        if self.source_mm is None:
            return width_mm
        return width_mm / max(float(np.hypot(*self.source_mm[1:])), width_mm)


@dataclass(frozen=True, slots=True)
class _End:
    """The upper (side -1) or lower (side 1) end of a scan."""

    side: int
    outline_mm: Float[np.ndarray, "N 2"]
    """Where the body's rim is in the last slice: axes 1 and 2."""


class ScanEnds:
    """What a volume's six faces show of the body; made once, asked for every view."""

    def __init__(
        self,
        soft: Float[np.ndarray, "D0 D1 D2"],
        bone: Float[np.ndarray, "D0 D1 D2"],
        voxel_mm: float,
    ) -> None:
        """Look at the faces of the volume; `soft` and `bone` are fractions."""
        self._voxel_mm = voxel_mm
        self._half_mm = 0.5 * voxel_mm * (soft.shape[0] - 1)
        self._ends = tuple(
            _End(side, _outline_mm(soft[index] + bone[index], voxel_mm))
            for side, index in ((-1, 0), (1, -1))
        )
        self._beside_mm = _cut_beside_mm(soft, bone, voxel_mm)

    def seen_whole(self, pose_deg: Pose, detector: Detector) -> Bool[np.ndarray, "H W"]:
        """Return the pixels whose central ray meets no body outside the volume.

        A ray that touches body on a face at the side counts as cut, too. About half a pixel is to
        spare on all sides.
        """
        rays = detector_rays(detector, pose_deg, per_pixel=1)
        cut = self._cut_beside(pose_deg, detector)
        heights, sideways, source = _seen_from_above(rays, pose_deg, detector)
        for end in self._ends:
            if len(end.outline_mm):
                cut |= self._cut_beyond(end, heights, sideways, source, detector)
        return ~cut

    def _cut_beyond(
        self,
        end: _End,
        heights: Float[np.ndarray, "H W"],
        sideways: Float[np.ndarray, "H W"],
        source: _Source,
        detector: Detector,
    ) -> NDArray[np.bool_]:
        """Return the rays that meet the body beyond one end of the volume.

        Every point of the last slice's rim goes on as an upright half-line, which is an upright
        half-line again in the plane of `sideways` and `heights`. The farthest-reaching of them in
        each narrow strip of `sideways` tells all.
        """
        end_mm = end.side * (self._half_mm - 0.5 * detector.pixel_mm)
        position, start = source.see(end.outline_mm, end_mm)
        strip = source.strip(self._voxel_mm)
        first = min(float(position.min()), float(sideways.min())) / strip
        index = (position / strip - first).astype(np.intp)
        asked = (sideways / strip - first).astype(np.intp)
        reach = np.full(max(int(index.max()), int(asked.max())) + 1, np.inf)
        np.minimum.at(reach, index, end.side * start)
        spare = int(np.ceil(0.5 * detector.pixel_mm / self._voxel_mm + np.sqrt(0.5)))
        reach = ndimage.minimum_filter1d(reach, 2 * spare + 1, mode="nearest")
        return np.asarray(end.side * heights >= reach[asked])

    def _cut_beside(self, pose_deg: Pose, detector: Detector) -> NDArray[np.bool_]:
        """Return the rays through body voxels on the faces at the sides."""
        n = detector.size_px
        cut = np.zeros((n, n), dtype=np.bool_)
        if not len(self._beside_mm):
            return cut
        position = detector_position_mm(self._beside_mm, pose_deg, detector)
        pixel = np.floor(position / detector.pixel_mm + n / 2).astype(np.intp)
        row, column = pixel[((pixel >= 0) & (pixel < n)).all(axis=1)].T
        cut[row, column] = True
        # A voxel reaches half its diagonal around its centre, enlarged a little by a cone beam.
        spare = int(np.ceil(self._voxel_mm / detector.pixel_mm))
        return np.asarray(ndimage.maximum_filter(cut, 2 * spare + 1))


def _seen_from_above(
    rays: Rays, pose_deg: Pose, detector: Detector
) -> tuple[Float[np.ndarray, "H W"], Float[np.ndarray, "H W"], _Source]:
    """Return heights and sideways positions of all rays, and the source that sees them so."""
    middle = rays.direction[rays.direction.shape[0] // 2, rays.direction.shape[1] // 2]
    level = max(float(np.hypot(middle[1], middle[2])), 1e-6)
    towards = middle[1:] / level
    if detector.geometry == "parallel":
        source = _Source(towards, float(middle[0]) / level, None)
        flat = rays.origin_mm.reshape(-1, 3)
        sideways, drop = source.see(flat[:, 1:], 0.0)
        heights = flat[:, 0] + drop
    else:
        source = _Source(towards, 0.0, source_mm(pose_deg))
        flat = rays.direction.reshape(-1, 3)
        along = flat[:, 1:] @ towards
        beside = flat[:, 1:] @ np.array([-towards[1], towards[0]])
        sideways = np.arctan2(beside, along)
        heights = flat[:, 0] / np.maximum(np.hypot(along, beside), 1e-6)
    shape = rays.direction.shape[:2]
    return heights.reshape(shape), sideways.reshape(shape), source


def _outline_mm(fraction: Float[np.ndarray, "D1 D2"], voxel_mm: float) -> NDArray[np.float64]:
    """Return the rim of the body in a slice, in mm from the slice's centre."""
    body = np.pad(ndimage.binary_fill_holes(fraction > BODY_ABOVE_FRACTION), 1)
    rim = np.argwhere(body & ~ndimage.binary_erosion(body)) - 1
    return np.asarray((rim - (np.array(fraction.shape) - 1) / 2) * voxel_mm)


def _cut_beside_mm(
    soft: Float[np.ndarray, "D0 D1 D2"], bone: Float[np.ndarray, "D0 D1 D2"], voxel_mm: float
) -> NDArray[np.float64]:
    """Return the body's voxels on the front, back, left and right faces, in mm."""
    middle = (np.array(soft.shape) - 1) / 2
    points = []
    for axis in (1, 2):
        for side in (0, soft.shape[axis] - 1):
            face = soft.take(side, axis=axis) + bone.take(side, axis=axis)
            found = np.argwhere(face > BODY_ABOVE_FRACTION)
            points.append(np.insert(found, axis, side, axis=1))
    return np.asarray((np.concatenate(points) - middle) * voxel_mm)

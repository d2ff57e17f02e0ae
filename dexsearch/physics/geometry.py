"""Poses, detector and rays: where a view's lines run through a volume.

Axes     0 head to feet, 1 front to back (the beam runs along it), 2 the patient's right to left.
         The image's rows are axis 0, its columns axis 2: a front view, head up.
Pose     (x, y, z) in degrees turn in the planes of axes (0, 1), (0, 2) and (1, 2), in this order,
         about the volume's centre; z turns about the body's long axis. The order and the signs
         are those of xray_GAN's three `scipy.ndimage.rotate` calls, here composed into one.
Lengths  mm from the volume's centre, which is the isocentre.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

Geometry = Literal["parallel", "cone"]
Pose = tuple[float, float, float]

SOURCE_AXIS_MM = 1000.0
SOURCE_DETECTOR_MM = 1500.0
WIDEST_CONE_MM = 800.0
"""Beyond that some rays of an oblique view cross the slices of a volume almost sideways."""
FINE_PIXEL_MM = 3.0


@dataclass(frozen=True, slots=True)
class Detector:
    """A square detector centred on the isocentre's projection."""

    size_px: int
    pixel_mm: float
    """Side of a pixel, measured at the isocentre."""
    geometry: Geometry = "parallel"

    @property
    def supersample(self) -> int:
        """Return the rays per pixel and axis, whose mean is the pixel: 2 for pixels over 3 mm."""
        return 2 if self.pixel_mm > FINE_PIXEL_MM else 1

    @property
    def magnification(self) -> float:
        """Return how much larger than at the isocentre things are on the detector."""
        return SOURCE_DETECTOR_MM / SOURCE_AXIS_MM if self.geometry == "cone" else 1.0

    def __post_init__(self) -> None:
        """Refuse an unknown geometry, a detector without pixels, and too wide a cone beam."""
        if self.size_px < 1 or not 0 < self.pixel_mm < np.inf:
            raise ValueError(
                f"got {self.size_px} pixels of {self.pixel_mm:g} mm; a detector has at least one "
                "pixel of more than 0 mm, of finite size"
            )
        if self.geometry not in get_args(Geometry):
            raise ValueError(
                f"got geometry {self.geometry!r}; allowed: {', '.join(get_args(Geometry))}"
            )
        if self.geometry == "cone" and self.size_px * self.pixel_mm > WIDEST_CONE_MM:
            raise ValueError(
                f"got a cone beam {self.size_px * self.pixel_mm:g} mm wide at the isocentre; at "
                f"most {WIDEST_CONE_MM:g} mm, so make the field smaller or choose 'parallel'"
            )


@dataclass(frozen=True, slots=True)
class Rays:
    """Straight lines `origin + s * direction` in the volume's frame."""

    origin_mm: Float[np.ndarray, "H W 3"]
    """Where the ray meets the plane through the isocentre, at s = 0."""
    direction: Float[np.ndarray, "H W 3"]
    """Unit vectors."""


def rotation_matrix(pose_deg: Pose) -> Float[np.ndarray, "3 3"]:
    """Return the matrix that maps a point of the view to the same point of the volume.

    Raises:
        ValueError: if an angle is not finite.
    """
    if not np.isfinite(pose_deg).all():
        raise ValueError(f"got the pose {pose_deg}; give three finite angles in degrees")
    matrix = np.eye(3)
    for (i, j), degrees in zip(((0, 1), (0, 2), (1, 2)), pose_deg, strict=True):
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = np.cos(np.deg2rad(degrees))
        turn[i, j] = np.sin(np.deg2rad(degrees))
        turn[j, i] = -turn[i, j]
        matrix = matrix @ turn
    return matrix


def beam_axis(pose_deg: Pose) -> Float[np.ndarray, "3"]:
    """Return the unit vector along which the central ray crosses the volume."""
    return rotation_matrix(pose_deg)[:, 1]


def source_mm(pose_deg: Pose) -> Float[np.ndarray, "3"]:
    """Return where the X-ray source of a cone beam stands."""
    return -SOURCE_AXIS_MM * beam_axis(pose_deg)


def detector_rays(detector: Detector, pose_deg: Pose, *, per_pixel: int | None = None) -> Rays:
    """Return the rays in the volume's frame, `per_pixel` a side of a pixel; None: supersampled.

    Raises:
        ValueError: if there are no rays in a pixel, or an angle is not finite.
    """
    per_pixel = detector.supersample if per_pixel is None else per_pixel
    if per_pixel < 1:
        raise ValueError(f"got {per_pixel} rays a side of a pixel; at least 1")
    n = detector.size_px * per_pixel
    offset_mm = (np.arange(n) - (n - 1) / 2.0) * (detector.pixel_mm / per_pixel)
    matrix = rotation_matrix(pose_deg)
    rows, columns = np.multiply.outer(offset_mm, matrix[:, 0]), offset_mm[:, None] * matrix[:, 2]
    origin = rows[:, None, :] + columns
    if detector.geometry == "parallel":
        direction = np.empty_like(origin)
        direction[:] = matrix[:, 1]
    else:
        direction = origin - source_mm(pose_deg)
        length = np.sqrt(SOURCE_AXIS_MM**2 + offset_mm[:, None] ** 2 + offset_mm**2)
        direction /= length[..., None]
    return Rays(origin_mm=origin, direction=direction)


def detector_position_mm(
    points_mm: Float[np.ndarray, "N 3"], pose_deg: Pose, detector: Detector
) -> Float[np.ndarray, "N 2"]:
    """Return where points of the volume appear, in rows and columns from the detector's centre.

    In mm at the isocentre, like `Detector.pixel_mm`; the inverse of `detector_rays`.
    """
    in_view = points_mm @ rotation_matrix(pose_deg)
    position = in_view[:, [0, 2]]
    if detector.geometry == "cone":
        position = position * (SOURCE_AXIS_MM / (SOURCE_AXIS_MM + in_view[:, 1:2]))
    return np.asarray(position)


def pixel_means(rays: Float[np.ndarray, "H W"], per_pixel: int) -> Float[np.ndarray, "h w"]:
    """Average over the `per_pixel` x `per_pixel` rays of every pixel.

    Raises:
        ValueError: if the rays are not so many a side of whole pixels.
    """
    if per_pixel == 1:
        return rays
    if per_pixel < 1 or any(side % per_pixel for side in rays.shape):
        raise ValueError(
            f"got {per_pixel} rays a side of a pixel for {rays.shape[0]} x {rays.shape[1]} rays; "
            "both sides are multiples of it"
        )
    rows, columns = (n // per_pixel for n in rays.shape)
    means = rays.reshape(rows, per_pixel, columns, per_pixel).mean(axis=(1, 3))
    return np.asarray(means, dtype=rays.dtype)


def joseph_axis(rays: Rays) -> int:
    """Return the volume's axis that the rays of a view follow most closely."""
    return int(np.abs(rays.direction).mean(axis=(0, 1)).argmax())


def content_box(volume: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """Return the smallest box that holds all that is true; one voxel where nothing is."""
    bounds = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        filled = np.flatnonzero(volume.any(axis=others))
        bounds.append(slice(int(filled[0]), int(filled[-1]) + 1) if filled.size else slice(0, 1))
    return bounds[0], bounds[1], bounds[2]

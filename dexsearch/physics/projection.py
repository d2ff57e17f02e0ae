"""A two-basis volume and a pose to path lengths, in parallel or cone beam.

Axes     0 head to feet, 1 front to back (the beam runs along it), 2 the patient's right to left.
         The image's rows are axis 0, its columns axis 2: a front view, head up.
Values   A voxel holds the fraction of a basis material's own density, so a line integral in
         cm is the path length in cm of that material.
Pose     (x, y, z) in degrees turn in the planes of axes (0, 1), (0, 2) and (1, 2), in this order,
         about the volume's centre; z turns about the body's long axis. The order and the signs
         are those of xray_GAN's three `scipy.ndimage.rotate` calls, here composed into one.

One kernel takes rays (origin, direction); the two geometries differ only in their rays.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

Geometry = Literal["parallel", "cone"]
Pose = tuple[float, float, float]

SOURCE_AXIS_MM = 1000.0
SOURCE_DETECTOR_MM = 1500.0
SLICES_PER_CHUNK = 8
FINE_PIXEL_MM = 3.0
BODY_ABOVE_FRACTION = 0.05
POINTS_BEYOND_SCAN = 64


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
        """Refuse a geometry that is not known, and a detector without pixels."""
        if self.size_px < 1 or not self.pixel_mm > 0:
            raise ValueError(
                f"got {self.size_px} pixels of {self.pixel_mm:g} mm; a detector has at least one "
                "pixel of more than 0 mm"
            )
        if self.geometry not in get_args(Geometry):
            raise ValueError(
                f"got geometry {self.geometry!r}; allowed: {', '.join(get_args(Geometry))}"
            )


@dataclass(frozen=True, slots=True)
class Rays:
    """Straight lines `origin + s * direction`, in mm from the volume's centre."""

    origin_mm: Float[Tensor, "H W 3"]
    direction: Float[Tensor, "H W 3"]
    """Unit vectors; s = 0 lies in the plane through the isocentre."""


def rotation_matrix(pose_deg: Pose) -> Float[np.ndarray, "3 3"]:
    """Return the matrix that maps a point of the view to the same point of the volume."""
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


def detector_rays(detector: Detector, pose_deg: Pose, *, per_pixel: int | None = None) -> Rays:
    """Return the rays in the volume's frame, `per_pixel` a side of a pixel; None: supersampled."""
    per_pixel = per_pixel or detector.supersample
    n = detector.size_px * per_pixel
    pitch_mm = detector.pixel_mm / per_pixel
    offset = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2.0) * pitch_mm
    rows, columns = torch.meshgrid(offset, offset, indexing="ij")
    origin = torch.stack((rows, torch.zeros_like(rows), columns), dim=-1)
    if detector.geometry == "parallel":
        direction = torch.zeros_like(origin)
        direction[..., 1] = 1.0
    else:
        source = torch.tensor([0.0, -SOURCE_AXIS_MM, 0.0], dtype=torch.float64)
        direction = origin - source
        direction = direction / direction.norm(dim=-1, keepdim=True)
    to_volume = torch.from_numpy(rotation_matrix(pose_deg)).T
    return Rays(origin_mm=(origin @ to_volume).float(), direction=(direction @ to_volume).float())


def line_integrals_cm(
    volume: Float[Tensor, "C D0 D1 D2"], voxel_mm: float, rays: Rays
) -> Float[Tensor, "C H W"]:
    """Integrate every channel along every ray by Joseph's method.

    The volume is cut into slices across the axis that the rays follow most closely; every ray
    adds one bilinear sample per slice, times its length within the slice. Outside the volume
    counts as empty. Slices are taken in chunks, so memory stays flat.

    Source: Joseph 1982, IEEE Trans. Med. Imaging 1(3):192, doi:10.1109/TMI.1982.4307572.
    """
    along = int(rays.direction.abs().mean(dim=(0, 1)).argmax())
    row, column = (axis for axis in range(3) if axis != along)
    slices = volume.float().movedim(along + 1, 0)
    n_slices, n_rows, n_columns = slices.shape[0], slices.shape[2], slices.shape[3]
    # grid_sample's coordinates are -1..1 from edge to edge of a slice, its columns first.
    scale = torch.tensor([2.0 / (n_columns * voxel_mm), 2.0 / (n_rows * voxel_mm)])
    slope = rays.direction[..., [column, row]] / rays.direction[..., along : along + 1]
    start = rays.origin_mm[..., [column, row]] - rays.origin_mm[..., along : along + 1] * slope
    slope, start = slope * scale, start * scale
    depth_mm = (torch.arange(n_slices) - (n_slices - 1) / 2.0) * voxel_mm
    total = torch.zeros(volume.shape[0], *start.shape[:2])
    for first in range(0, n_slices, SLICES_PER_CHUNK):
        chunk = slice(first, first + SLICES_PER_CHUNK)
        samples = torch.nn.functional.grid_sample(
            slices[chunk],
            start + depth_mm[chunk, None, None, None] * slope,
            mode="bilinear",
            padding_mode="zeros",
            align_corners=False,
        )
        total += samples.sum(dim=0)
    return total * (0.1 * voxel_mm / rays.direction[..., along].abs())


def ray_lengths_cm(
    soft: Float[np.ndarray, "D0 D1 D2"],
    bone: Float[np.ndarray, "D0 D1 D2"],
    *,
    voxel_mm: float,
    pose_deg: Pose,
    detector: Detector,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the lengths through soft tissue and cortical bone of every ray, in cm.

    A pixel has `detector.supersample` rays a side. Runs on as many threads as torch is set to.
    """
    volume = torch.from_numpy(np.stack((soft, bone)).astype(np.float32, copy=False))
    lengths = line_integrals_cm(volume, voxel_mm, detector_rays(detector, pose_deg))
    return lengths[0].numpy(), lengths[1].numpy()


def pixel_means(rays: Float[np.ndarray, "H W"], per_pixel: int) -> Float[np.ndarray, "h w"]:
    """Average over the `per_pixel` x `per_pixel` rays of every pixel."""
    rows, columns = (n // per_pixel for n in rays.shape)
    means = rays.reshape(rows, per_pixel, columns, per_pixel).mean(axis=(1, 3))
    return np.asarray(means, dtype=rays.dtype)


def path_lengths_cm(
    soft: Float[np.ndarray, "D0 D1 D2"],
    bone: Float[np.ndarray, "D0 D1 D2"],
    *,
    voxel_mm: float,
    pose_deg: Pose,
    detector: Detector,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the mean path lengths of every pixel of one view, in cm; see `ray_lengths_cm`."""
    lengths = ray_lengths_cm(soft, bone, voxel_mm=voxel_mm, pose_deg=pose_deg, detector=detector)
    soft_cm, bone_cm = (pixel_means(rays, detector.supersample) for rays in lengths)
    return soft_cm, bone_cm


def seen_whole(
    soft: Float[np.ndarray, "D0 D1 D2"],
    bone: Float[np.ndarray, "D0 D1 D2"],
    *,
    voxel_mm: float,
    pose_deg: Pose,
    detector: Detector,
) -> NDArray[np.bool_]:
    """Return the pixels whose ray is not cut by the upper or lower end of the volume.

    The body is taken to go on beyond the volume as its first and last slice, holes filled; a ray
    that meets it there would be longer in a whole body. Judged on the pixel's central ray at
    points up to a cm apart, with half a pixel to spare on all sides.
    """
    rays = detector_rays(detector, pose_deg, per_pixel=1)
    origin, direction = rays.origin_mm.reshape(-1, 3), rays.direction.reshape(-1, 3)
    n0, n1, n2 = soft.shape
    half_mm = 0.5 * (n0 - 1) * voxel_mm - 0.5 * detector.pixel_mm
    spare_px = int(np.ceil(0.5 * detector.pixel_mm / voxel_mm))
    # The part of each ray that lies above or below the circle around a slice.
    speed = direction[:, 1:].norm(dim=-1).clamp_min(1e-3)
    middle = -(origin[:, 1:] * direction[:, 1:]).sum(dim=-1) / speed**2
    reach = 0.5 * float(np.hypot(n1, n2)) * voxel_mm / speed
    highest = (origin[:, 0] + middle * direction[:, 0]).abs() + reach * direction[:, 0].abs()
    leaves = torch.nonzero(highest > half_mm)[:, 0]
    steps = torch.linspace(-1.0, 1.0, POINTS_BEYOND_SCAN)
    way = middle[leaves, None] + reach[leaves, None] * steps
    height, row, column = (
        origin[leaves, axis, None] + way * direction[leaves, axis, None] for axis in range(3)
    )
    row, column = (row / voxel_mm + 0.5 * n1).long(), (column / voxel_mm + 0.5 * n2).long()
    met = (height.abs() > half_mm) & (row >= 0) & (row < n1) & (column >= 0) & (column < n2)
    ends = torch.from_numpy(np.stack([_silhouette(soft[k] + bone[k], spare_px) for k in (0, -1)]))
    met[met.clone()] = ends[(height > 0).long()[met], row[met], column[met]]
    whole = np.ones(detector.size_px**2, dtype=np.bool_)
    whole[leaves.numpy()] = ~met.any(dim=-1).numpy()
    return whole.reshape(detector.size_px, detector.size_px)


def _silhouette(fraction: NDArray[np.float32], spare_px: int) -> NDArray[np.bool_]:
    """Return the body in a slice, its holes filled and its rim widened."""
    body = ndimage.binary_fill_holes(fraction > BODY_ABOVE_FRACTION)
    return np.asarray(ndimage.maximum_filter(body, 2 * spare_px + 1))

"""xray_GAN's own recipe: its poses and file names, its three turns and a sum, its two targets.

The recipe takes a phantom's CTs at 80, 120 and 140 kV, in Hounsfield units. Each is clipped at
-1000, turned by three successive splines on integers and summed along axis 1 (`rotated_sum`), and
the sums become logarithms (`log_image`). The input is the 120 kV image, the targets are weighted
differences of the other two (`targets`). `drr_from_lengths` gives the same sums from line
integrals, a hundred times faster.

Its volumes ran from feet to head along axis 0, ours run from head to feet. So its image of pose
(x, y, z) is ours of (-x, -y, z) with the rows in reverse (`own_pose`); its grid has both poses.

The logarithm is of sums of Hounsfield units, not of intensities: large where there is only air,
0 at the densest pixel. It is kept for comparison with its published numbers.
"""

import itertools
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Real
from numpy.typing import NDArray
from scipy import special

from dexsearch.physics.geometry import Detector, Pose
from dexsearch.physics.parity_projection import TURNED_AXES, on_detector, turned

AIR_HU = -1000
WEIGHT_SOFT, WEIGHT_BONE = 0.7, 1.09
"""Of the 80 kV image in the soft-tissue and in the bone image, for its plastics."""
LOG_SCALE, LOG_SHIFT = 10.0, 0.1

TILTS_DEG = (-30.0, -15.0, 0.0, 15.0, 30.0)
TURNS_DEG = tuple(float(z) for z in range(0, 180, 5))


def xray_gan_poses() -> tuple[Pose, ...]:
    """Return xray_GAN's grid: x, y in -30..30 step 15, z in 0..175 step 5; 900 poses."""
    return tuple(itertools.product(TILTS_DEG, TILTS_DEG, TURNS_DEG))


def file_name(pose_deg: Pose) -> str:
    """Return xray_GAN's name of a view in whole degrees, for example `m30_15_45.npy`.

    Raises:
        ValueError: on a pose with fractions of a degree.
    """
    if any(angle != round(angle) for angle in pose_deg):
        raise ValueError(
            f"got the pose {pose_deg}; names of files hold whole degrees, so round it"
        )
    return "_".join(str(round(angle)) for angle in pose_deg).replace("-", "m") + ".npy"


def own_pose(pose_deg: Pose) -> Pose:
    """Return the pose of our volumes that shows xray_GAN's pose with the rows in reverse.

    Its own inverse.
    """
    x, y, z = pose_deg
    return 0.0 - x, 0.0 - y, z


def rotated_sum(hu: Int[np.ndarray, "D0 D1 D2"], pose_deg: Pose) -> NDArray[np.int64]:
    """Return its projection of a CT: three turns on integers, then a sum; in HU.

    The image grows with the angles, to the shape (`rotated_shape` without axis 1).
    """
    return np.asarray(turned(np.maximum(hu, AIR_HU), pose_deg, outside=AIR_HU).sum(axis=1))


def rotated_shape(shape: tuple[int, int, int], pose_deg: Pose) -> tuple[int, int, int]:
    """Return the shape of a volume after three turns whose sides grow to hold all of it."""
    sides = list(shape)
    for degrees, (i, j) in zip(pose_deg, TURNED_AXES, strict=True):
        cosine, sine = abs(special.cosdg(degrees)), abs(special.sindg(degrees))
        before = sides[i], sides[j]
        sides[i] = int(cosine * before[0] + sine * before[1] + 0.5)
        sides[j] = int(sine * before[0] + cosine * before[1] + 0.5)
    return sides[0], sides[1], sides[2]


def drr_on_detector(
    drr: Real[np.ndarray, "H W"],
    *,
    shape: tuple[int, int, int],
    voxel_mm: float,
    pose_deg: Pose,
    detector: Detector,
) -> Float[np.ndarray, "R C"]:
    """Bring a `rotated_sum` onto a detector's rays, as `drr_from_lengths` gives it there.

    Wide pixels average, fine ones interpolate; beyond the turned volume is air.
    """
    background = AIR_HU * rotated_shape(shape, pose_deg)[1]
    return on_detector(drr - background, voxel_mm, detector) + background


def drr_from_lengths(
    lengths_cm: Float[np.ndarray, "R C"],
    *,
    shape: tuple[int, int, int],
    voxel_mm: float,
    pose_deg: Pose,
) -> Float[np.ndarray, "R C"]:
    """Return what `rotated_sum` gives, in HU, from line integrals of `1 + HU / 1000`.

    A ray through N voxels of the turned volume sums `1000 (length / voxel) - 1000 N`; beside the
    body that is -1000 N. `log_image` takes its background from the image, so the detector should
    see past the body somewhere, as the turned volume does.

    Args:
        lengths_cm: line integrals over the CT clipped at -1000 HU, parallel beam, in cm.
        shape: of the volume before it is turned.
        voxel_mm: side of its voxels.
        pose_deg: of the view.
    """
    n_summed = rotated_shape(shape, pose_deg)[1]
    per_voxel = lengths_cm.astype(np.float64) / (0.1 * voxel_mm)
    return np.asarray(-AIR_HU * per_voxel + AIR_HU * n_summed)


def log_image(drr: Real[np.ndarray, "R C"]) -> NDArray[np.float64]:
    """Return its image of a sum of HU: `10 ln((s + 0.1) / (max(s) + 0.1))`, `s = drr + min(drr)`.

    Raises:
        ValueError: where the sums change sign, because the logarithm is then not defined; that
            takes a mean above 1000 HU along a ray.
    """
    shifted = (drr + drr.min()).astype(np.float64)
    ratio = (shifted + LOG_SHIFT) / (shifted.max() + LOG_SHIFT)
    if not (ratio > 0).all():
        raise ValueError(
            f"got sums of {drr.min():g} to {drr.max():g} HU; with the smallest one added all must "
            "be negative; are these Hounsfield units with air at -1000?"
        )
    return np.asarray(LOG_SCALE * np.log(ratio))


def targets(
    log_80: Float[np.ndarray, "R C"], log_140: Float[np.ndarray, "R C"]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return its bone and its soft-tissue image from the images at 80 and 140 kV."""
    return -(log_140 - WEIGHT_BONE * log_80), log_140 - WEIGHT_SOFT * log_80

"""Path lengths as xray_GAN turns a volume: three successive splines, then a sum."""

import numpy as np
from jaxtyping import Float, Real
from numpy.typing import NDArray
from scipy import ndimage

from dexsearch.physics.geometry import Detector, Pose
from dexsearch.physics.projector import Projector, check_pair

TURNED_AXES = ((0, 1), (0, 2), (1, 2))
SPLINE_ORDER = 3


class ParityProjector(Projector):
    """Every angle resamples the whole volume once, as in xray_GAN; slow, parallel beam only."""

    def __init__(
        self,
        first: Float[np.ndarray, "D0 D1 D2"],
        second: Float[np.ndarray, "E0 E1 E2"],
        *,
        voxel_mm: float,
    ) -> None:
        """Keep both volumes as they are.

        Raises:
            ValueError: on volumes of two shapes, or a voxel that is not above 0 mm and finite.
        """
        check_pair(first, second, voxel_mm)
        self._volumes = (first.astype(np.float32), second.astype(np.float32))
        self._voxel_mm = voxel_mm

    def ray_lengths_cm(
        self, pose_deg: Pose, detector: Detector
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return both lengths on the detector's grid; it averages over rays wider than voxels.

        Raises:
            ValueError: on a cone beam, which a sum along an axis cannot follow.
        """
        if detector.geometry != "parallel":
            raise ValueError(
                f"got geometry {detector.geometry!r}; sums of turned volumes are parallel, so "
                "choose 'parallel', or another projector"
            )
        voxel_cm = 0.1 * self._voxel_mm
        first, second = (
            on_detector(
                turned(volume, pose_deg, outside=0.0).sum(axis=1) * voxel_cm,
                self._voxel_mm,
                detector,
            ).astype(np.float32)
            for volume in self._volumes
        )
        return first, second


def on_detector(
    image: Real[np.ndarray, "H W"], voxel_mm: float, detector: Detector
) -> Float[np.ndarray, "R C"]:
    """Bring an image with one pixel per voxel onto a detector's rays, centred; beyond it is 0."""
    n = detector.size_px * detector.supersample
    step = detector.pixel_mm / detector.supersample / voxel_mm
    rows, columns = (resampling_matrix(side, n, step) for side in image.shape)
    return np.asarray(rows @ image @ columns.T)


def turned(
    volume: Real[np.ndarray, "D0 D1 D2"], pose_deg: Pose, *, outside: float | int
) -> Real[np.ndarray, "E0 E1 E2"]:
    """Turn a volume about its centre by three calls; its sides grow to hold all of it.

    The numbers keep their type: integers are rounded after every call.

    Raises:
        ValueError: if an angle is not finite.
    """
    if not np.isfinite(pose_deg).all():
        raise ValueError(f"got the pose {pose_deg}; give three finite angles in degrees")
    for degrees, axes in zip(pose_deg, TURNED_AXES, strict=True):
        volume = ndimage.rotate(
            volume, degrees, axes=axes, order=SPLINE_ORDER, mode="constant", cval=outside,
            reshape=True,
        )  # fmt: skip
    return volume


def resampling_matrix(n_from: int, n_to: int, step: float) -> Float[np.ndarray, "n_to n_from"]:
    """Return the weights that bring samples of pitch 1 to pitch `step`, both centred.

    Wider steps average over their width, finer ones interpolate linearly; beyond the ends is 0.
    """
    centre = (np.arange(n_to) - (n_to - 1) / 2) * step
    sample = np.arange(n_from) - (n_from - 1) / 2
    distance = np.abs(centre[:, None] - sample)
    if step < 1:
        return np.asarray(np.clip(1 - distance, 0, None))
    # What a box of width `step` and a sample's box of width 1 share.
    return np.asarray(np.clip((step + 1) / 2 - distance, 0, 1) / step)

"""What every projector keeps and does: two volumes in, the lengths of every ray out."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from dexsearch.physics.geometry import Detector, Pose, content_box, pixel_means


class Projector(ABC):
    """Views of one pair of volumes.

    A voxel holds the fraction of a basis material's own density, so a line integral in cm is the
    path length in cm of that material. Outside the volumes is empty.
    """

    @abstractmethod
    def ray_lengths_cm(
        self, pose_deg: Pose, detector: Detector
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the lengths through the first and the second volume of every ray, in cm.

        Both are square, `detector.size_px * detector.supersample` rays a side.
        """

    def path_lengths_cm(
        self, pose_deg: Pose, detector: Detector
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the mean lengths of every pixel's rays, in cm."""
        first, second = self.ray_lengths_cm(pose_deg, detector)
        return pixel_means(first, detector.supersample), pixel_means(second, detector.supersample)


@dataclass(frozen=True, slots=True)
class VolumePair:
    """The box that holds all of two volumes of one shape."""

    first: NDArray[np.float32]
    second: NDArray[np.float32]
    voxel_mm: float
    centre_mm: tuple[float, float, float]
    """Of the box, from the centre of the whole volume."""


def filled_pair(
    first: Float[np.ndarray, "D0 D1 D2"],
    second: Float[np.ndarray, "E0 E1 E2"],
    voxel_mm: float,
) -> VolumePair:
    """Cut away the empty margins, which add nothing to any ray.

    Raises:
        ValueError: on volumes of two shapes, or a voxel that is not above 0 mm and finite.
    """
    check_pair(first, second, voxel_mm)
    box = content_box((first != 0) | (second != 0))
    centre = [
        voxel_mm * ((bounds.start + bounds.stop) - n) / 2
        for bounds, n in zip(box, first.shape, strict=True)
    ]
    return VolumePair(
        first=np.ascontiguousarray(first[box], dtype=np.float32),
        second=np.ascontiguousarray(second[box], dtype=np.float32),
        voxel_mm=voxel_mm,
        centre_mm=(centre[0], centre[1], centre[2]),
    )


def check_pair(
    first: Float[np.ndarray, "D0 D1 D2"], second: Float[np.ndarray, "E0 E1 E2"], voxel_mm: float
) -> None:
    """Refuse volumes that share no grid.

    Raises:
        ValueError: on volumes of two shapes, or a voxel that is not above 0 mm and finite.
    """
    if first.shape != second.shape:
        raise ValueError(
            f"got volumes of shapes {first.shape} and {second.shape}; they share one grid, "
            "so resample one of them"
        )
    if not 0 < voxel_mm < np.inf:
        raise ValueError(f"got voxels of {voxel_mm!r} mm; give their side, above 0 mm and finite")

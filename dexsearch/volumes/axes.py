"""How a stored volume lies in the patient, and how it is turned into our axes.

Our axes  0 head to feet, 1 front to back, 2 the patient's right to left.
Patient   LPS as in DICOM: x to the left, y to the back, z to the head; mm.
"""

import math
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

OURS_IN_LPS = np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
LPS_OF_OURS = (2, 1, 0)
"""Our axis along which the patient's x, y and z run."""

OBLIQUE_LIMIT_DEG = 20.0
SHEAR_LIMIT_DEG = 0.5

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Orientation:
    """The stored axis behind each of ours, and whether it runs the other way."""

    order: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]

    def sorted(self, stored: tuple[T, T, T]) -> tuple[T, T, T]:
        """Return what is known of each stored axis in the order of ours."""
        first, second, third = self.order
        return stored[first], stored[second], stored[third]

    def turned(self, volume: NDArray[Any]) -> NDArray[Any]:
        """Return a view of the volume in our axes."""
        steps = tuple(slice(None, None, -1 if flip else 1) for flip in self.flipped)
        return volume.transpose(self.order)[steps]


def orientation_of(directions: NDArray[np.float64]) -> Orientation:
    """Return how to turn a volume whose stored axes run along the columns (LPS, any length).

    A volume that lies obliquely is taken as its nearest straight orientation, which only turns
    the patient in front of the beam by as many degrees.

    Raises:
        ValueError: if the axes are no three directions, are not at right angles, or lie further
            than 20 degrees from the patient's.
    """
    lengths = np.linalg.norm(directions, axis=0)
    if not (np.isfinite(lengths).all() and lengths.min() > 0):
        raise ValueError("does not say how its axes lie in the patient")
    unit = directions / lengths
    for first, second in ((0, 1), (0, 2), (1, 2)):
        cosine = min(1.0, abs(float(unit[:, first] @ unit[:, second])))
        shear_deg = math.degrees(math.asin(cosine))
        if shear_deg > SHEAR_LIMIT_DEG:
            raise ValueError(f"has axes that are {shear_deg:.1f} degrees off a right angle")
    cosines = OURS_IN_LPS @ unit
    order = tuple(int(axis) for axis in np.abs(cosines).argmax(axis=1))
    chosen = cosines[range(3), order]
    off_deg = math.degrees(math.acos(min(1.0, float(np.abs(chosen).min()))))
    if sorted(order) != [0, 1, 2] or off_deg > OBLIQUE_LIMIT_DEG:
        raise ValueError(
            f"lies {off_deg:.0f} degrees off the patient's axes; allowed are "
            f"{OBLIQUE_LIMIT_DEG:g} degrees"
        )
    flips = chosen < 0
    return Orientation(
        order=(order[0], order[1], order[2]),
        flipped=(bool(flips[0]), bool(flips[1]), bool(flips[2])),
    )


def centre_lps_mm(
    first_voxel_mm: NDArray[np.float64],
    steps_mm: NDArray[np.float64],
    shape: tuple[int, int, int],
) -> tuple[float, float, float]:
    """Return the centre of a volume with its first voxel's centre and one step per axis."""
    x, y, z = first_voxel_mm + steps_mm @ ((np.array(shape) - 1) / 2.0)
    return float(x), float(y), float(z)

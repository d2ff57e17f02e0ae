"""One body as two basis volumes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Subject:
    """A body in fractions of ICRU-44 soft tissue (1.06 g/cm3) and cortical bone (1.92 g/cm3).

    Axes: 0 head to feet, 1 front to back, 2 the patient's right to left.
    """

    name: str
    soft: NDArray[np.float32]
    bone: NDArray[np.float32]
    voxel_mm: float
    """Side of a cubic voxel."""
    tumour_centre_mm: tuple[float, float, float] | None = None
    """From the volume's centre along the three axes; None where it is not known."""
    tumour_diameter_mm: float | None = None
    scans: Mapping[float, NDArray[np.float32]] = field(default_factory=dict)
    """Relative attenuation 1 + HU / 1000 of the CTs behind it by tube voltage in kVp, on the same
    grid, air instead of the table, never below 0; empty unless several CTs were read."""

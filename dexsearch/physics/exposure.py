"""One setting of tube and detector: what a dataset says of its inputs, simulated or not.

Source   Niklason et al., Med. Phys. 8(5):677-681 (1981), doi:10.1118/1.594836 (scatter ratios).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from dexsearch.physics.attenuation import Material, usable_beam

ScatterPreset = Literal["none", "grid", "no-grid"]
SCATTER_PRESETS: Mapping[ScatterPreset, float] = MappingProxyType(
    {"none": 0.0, "grid": 0.5, "no-grid": 2.0}
)
"""Scatter-to-primary ratio of a chest without scatter, behind a grid, and without one."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """One setting of tube and detector."""

    kvp: float = 120.0
    """Tube voltage, 60..140."""
    dose_mas: float = 0.1
    """Tube current times time."""
    scatter_to_primary: float = 0.0
    """0 none, 0.5 with a grid, 2 without one; `SCATTER_PRESETS` names them."""
    blur_mm: float = 0.0
    """Standard deviation of the detector's blur at the isocentre, applied before the noise."""
    electronic_noise_kev: float = 0.0
    """Standard deviation per pixel, in absorbed energy."""
    filters_mm: tuple[tuple[Material, float], ...] = ()
    """Added filtration: material and thickness, beyond the tube's 2.5 mm of aluminium."""

    def __post_init__(self) -> None:
        """Refuse settings that no tube has."""
        if len(dict(self.filters_mm)) < len(self.filters_mm):
            raise ValueError(f"got filters_mm={self.filters_mm!r}; name every material once")
        usable_beam(self.kvp, filters_mm=dict(self.filters_mm))
        if not 0 < self.dose_mas < math.inf:
            raise ValueError(f"got dose_mas={self.dose_mas!r}; a dose is above 0 mAs")
        if not 0 <= self.scatter_to_primary < math.inf:
            raise ValueError(
                f"got scatter_to_primary={self.scatter_to_primary!r}; the ratio is 0 or more"
            )
        for name in ("blur_mm", "electronic_noise_kev"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(
                    f"got {name}={getattr(self, name)!r}; a standard deviation is 0 or more"
                )

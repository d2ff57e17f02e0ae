"""What differs between procedural thoraxes: lengths, slopes and densities drawn from a seed.

Points are (z, y, x) in mm: z towards the feet, y towards the back, x towards the patient's
left; the origin lies in mid-chest. Tables give an average adult; `Anatomy` scales them.
Every range is listed with its source in docs/phantom.md.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

N_VERTEBRAE = 12
RIB_HALF_WIDTH_MM = (66, 92, 108, 118, 124, 128, 130, 131, 132, 131, 126, 114)
RIB_HALF_DEPTH_MM = (34, 50, 62, 72, 80, 86, 91, 95, 97, 96, 92, 84)
RIB_BACK_MM = (52, 66, 76, 84, 89, 92, 94, 94, 92, 88, 82, 74)
RIB_DROP_MM = (44, 58, 70, 79, 86, 92, 97, 101, 103, 104, 108, 100)
RIB_END_DEG = (148, 152, 155, 156, 155, 152, 148, 140, 131, 122, 88, 58)
VERTEBRA_PITCH_MM = (18.5, 19, 19.5, 20, 20.5, 21, 21.5, 22, 23, 24, 25.5, 27)
CAUDAL_AND_CRANIAL = 5
"""Vertebrae drawn below T12 and above T1."""
SOFT_TISSUE_G_PER_CM3 = 1.06


@dataclass(frozen=True, slots=True)
class Anatomy:
    """The numbers of one subject; factors multiply the tables above."""

    height: float
    width: float
    depth: float
    rib_slope: float
    rib_thickness: float
    last_rib: float
    """Length of ribs 11 and 12 against the table."""
    level_mm: float
    """Shift of the whole skeleton towards the feet."""
    scoliosis_mm: float
    kyphosis_mm: float
    fat_mm: float
    muscle_mm: float
    diaphragm_mm: float
    """Height of the right dome; larger is deeper inspiration."""
    heart: float
    heart_left_mm: float
    breast_mm: float
    """How far breasts stand out; 0 for none."""
    lung_density: float
    """Fraction of soft tissue of the parenchyma."""
    cortex_mm: float
    cortical_fraction: float
    marrow_fraction: float
    trabecular_fraction: float
    cartilage_fraction: float
    """Cortical bone in the costal cartilage, which calcifies with age."""
    stomach_gas_mm: float
    """Radius; 0 for none."""
    tumour_diameter_mm: float
    tumour_fraction: float
    tumour_lobes: int

    def vertebra_mm(self, level: int) -> tuple[float, float, float]:
        """Return the centre of a vertebral body; 0 is T1, 11 is T12, beyond are C7 and L1."""
        pitch = np.interp(
            range(-CAUDAL_AND_CRANIAL, N_VERTEBRAE + CAUDAL_AND_CRANIAL),
            range(N_VERTEBRAE),
            VERTEBRA_PITCH_MM,
        )
        edges = np.concatenate(([0.0], np.cumsum(pitch)))
        centre = 0.5 * (edges[1:] + edges[:-1])
        z = centre - centre[CAUDAL_AND_CRANIAL + 6]
        here = float(z[level + CAUDAL_AND_CRANIAL]) * self.height + self.level_mm
        return here, self.back_mm(level) - 30.0, self.sideways_mm(here)

    def pitch_mm(self, level: int) -> float:
        """Return the height of a vertebra with its disc."""
        return float(np.interp(level, range(N_VERTEBRAE), VERTEBRA_PITCH_MM)) * self.height

    def back_mm(self, level: float) -> float:
        """Return how far back the ribs of a level reach."""
        table = float(np.interp(level, range(N_VERTEBRAE), RIB_BACK_MM))
        bend = self.kyphosis_mm * float(np.cos((level - 6.0) * np.pi / 12.0))
        return table * self.depth + bend

    def sideways_mm(self, z_mm: float) -> float:
        """Return the lateral bend of the spine at a height."""
        return self.scoliosis_mm * float(np.sin(z_mm * np.pi / 160.0))


@dataclass(frozen=True, slots=True)
class CageProfile:
    """Horizontal ellipses of the rib cage by height, from which lungs and torso are drawn."""

    z_mm: NDArray[np.float64]
    half_width_mm: NDArray[np.float64]
    half_depth_mm: NDArray[np.float64]
    centre_y_mm: NDArray[np.float64]


def cage_profile(anatomy: Anatomy) -> CageProfile:
    """Return the cage's horizontal ellipses.

    Ribs slope, so at one height the back belongs to a lower rib than the side, and the front to
    a higher rib still; each is taken where its own rib passes.
    """
    levels = range(N_VERTEBRAE)
    drop = anatomy.rib_slope * np.array(RIB_DROP_MM)
    depth = anatomy.depth * np.array(RIB_HALF_DEPTH_MM)
    back = np.array([anatomy.back_mm(level) for level in levels])
    top = np.array(
        [anatomy.vertebra_mm(level)[0] - 0.35 * anatomy.pitch_mm(level) for level in levels]
    )
    z = np.linspace(top[0], top[-1] + 0.5 * drop[-1], 2 * N_VERTEBRAE)
    y_back = np.interp(z, top, back)
    whole = slice(0, 9)
    y_front = np.interp(z, (top + 0.9 * drop)[whole], (back - 2.0 * depth)[whole])
    # Above the first rib's front end the cage leans forward from the spine to it.
    y_front = np.minimum(y_front, y_back - 0.8 * depth[0])
    return CageProfile(
        z_mm=z,
        half_width_mm=np.interp(
            z, top + 0.5 * drop, anatomy.width * np.array(RIB_HALF_WIDTH_MM, np.float64)
        ),
        half_depth_mm=0.5 * (y_back - y_front),
        centre_y_mm=0.5 * (y_back + y_front),
    )


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw one subject; ranges are those of adults, wide enough that no two look alike."""
    size = rng.normal(1.0, 0.05)

    def around(mean: float, spread: float) -> float:
        return float(np.clip(rng.normal(mean, spread), mean - 2 * spread, mean + 2 * spread))

    return Anatomy(
        height=float(np.clip(size * around(1.0, 0.06), 0.84, 1.16)),
        width=float(np.clip(size * around(1.0, 0.07), 0.82, 1.18)),
        depth=float(np.clip(size * around(1.0, 0.08), 0.80, 1.22)),
        rib_slope=float(rng.uniform(0.8, 1.4)),
        rib_thickness=float(rng.uniform(0.85, 1.2)),
        last_rib=float(rng.uniform(0.4, 1.2)),
        level_mm=around(0.0, 10.0),
        scoliosis_mm=around(0.0, 4.0),
        kyphosis_mm=around(0.0, 5.0),
        fat_mm=float(rng.uniform(5.0, 26.0)),
        muscle_mm=float(rng.uniform(10.0, 20.0)),
        diaphragm_mm=around(80.0, 12.0),
        heart=float(rng.uniform(0.85, 1.15)),
        heart_left_mm=around(30.0, 5.0),
        breast_mm=float(rng.uniform(18.0, 50.0)) if rng.random() < 0.5 else 0.0,
        lung_density=float(rng.uniform(0.18, 0.32)),
        cortex_mm=float(rng.uniform(0.7, 1.4)),
        cortical_fraction=float(rng.uniform(0.75, 1.0)),
        marrow_fraction=float(rng.uniform(0.04, 0.11)),
        trabecular_fraction=float(rng.uniform(0.04, 0.11)),
        cartilage_fraction=float(rng.uniform(0.02, 0.08)),
        stomach_gas_mm=float(rng.uniform(12.0, 28.0)) if rng.random() < 0.6 else 0.0,
        tumour_diameter_mm=float(rng.uniform(5.0, 30.0)),
        tumour_fraction=float(rng.uniform(0.95, 1.06)) / SOFT_TISSUE_G_PER_CM3,
        tumour_lobes=int(rng.integers(0, 5)),
    )

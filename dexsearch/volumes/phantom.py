"""A procedural thorax, one seed per subject.

Torso with skin and fat, lungs with vessels, heart, aorta, windpipe, diaphragm, vertebrae, twelve
rib pairs, breastbone, collarbones, shoulder blades, and one tumour whose centre is known. Sizes,
slopes, spacing, densities and posture differ between subjects (see `anatomy`).
"""

import numpy as np
from numpy.typing import NDArray

from dexsearch.volumes.anatomy import draw_anatomy
from dexsearch.volumes.organs import soft_tissue, tumour_distance
from dexsearch.volumes.shapes import (
    Capsule,
    Grid,
    add_capsule,
    add_ellipsoid,
    coverage,
)
from dexsearch.volumes.skeleton import skeleton
from dexsearch.volumes.subject import Subject

EXTENT_MM = (400.0, 350.0, 460.0)
MARROW_SOFT_FRACTION = 0.92
COARSEST_VOXEL_MM = 4.0
FINEST_VOXEL_MM = 1.5


def phantom_voxel_mm(pixel_mm: float) -> float:
    """Return the voxel that suits a detector: about half a pixel, 1.5 to 4 mm."""
    return float(np.clip(0.55 * pixel_mm, FINEST_VOXEL_MM, COARSEST_VOXEL_MM))


def phantom_subject(seed: int, index: int, *, voxel_mm: float) -> Subject:
    """Draw subject `index` of the cohort `seed`; the same numbers give the same subject.

    Its anatomy does not depend on `voxel_mm`; the tumour's place and the lungs' texture are drawn
    on the grid, so they do.
    """
    anatomy_rng, organ_rng, tumour_rng = (
        np.random.default_rng([seed, index, part]) for part in range(3)
    )
    anatomy = draw_anatomy(anatomy_rng)
    n0, n1, n2 = (round(extent / voxel_mm) for extent in EXTENT_MM)
    grid = Grid(shape=(n0, n1, n2), voxel_mm=voxel_mm)
    tissue = soft_tissue(grid, anatomy, organ_rng)
    soft = tissue.fraction
    field, centre = tumour_distance(grid, anatomy, tissue.lung_distance_mm, tumour_rng)
    share = coverage(field, voxel_mm)
    soft += share * (anatomy.tumour_fraction - soft)
    bone = np.zeros(grid.shape, dtype=np.float32)
    for part in skeleton(anatomy):
        field = grid.far()
        for shape in part.shapes:
            if isinstance(shape, Capsule):
                add_capsule(field, grid, shape)
            else:
                add_ellipsoid(field, grid, shape)
        _add_bone(
            soft,
            bone,
            whole=coverage(field, voxel_mm),
            core=coverage(field + part.cortex_mm, voxel_mm),
            cortical_fraction=anatomy.cortical_fraction,
            core_fraction=part.core_fraction,
        )
    return Subject(
        name=f"phantom-{seed}-{index:04d}",
        soft=soft,
        bone=bone,
        voxel_mm=voxel_mm,
        tumour_centre_mm=centre,
        tumour_diameter_mm=anatomy.tumour_diameter_mm,
    )


def _add_bone(
    soft: NDArray[np.float32],
    bone: NDArray[np.float32],
    *,
    whole: NDArray[np.float32],
    core: NDArray[np.float32],
    cortical_fraction: float,
    core_fraction: float,
) -> None:
    """Put a bone into both bases in place: a shell of cortical bone around a core of marrow."""
    shell = whole - core
    np.maximum(bone, cortical_fraction * shell + core_fraction * core, out=bone)
    soft *= 1.0 - whole
    soft += (1.0 - cortical_fraction) * shell + MARROW_SOFT_FRACTION * core

"""A procedural thorax, one seed per subject.

Torso with skin and fat, lungs with vessels, heart, aorta, windpipe, diaphragm, vertebrae, twelve
rib pairs with cartilage, breastbone, collarbones, shoulder blades, upper arms, and one tumour
whose centre is known. Sizes, slopes, spacing, densities and posture differ between subjects (see
`anatomy` and docs/phantom.md).
"""

import numpy as np
from numpy.typing import NDArray

from dexsearch.volumes.anatomy import Anatomy, draw_anatomy
from dexsearch.volumes.organs import soft_tissue, tumour_shapes
from dexsearch.volumes.outline import half_extents_mm
from dexsearch.volumes.shapes import Grid, coverage, drawn
from dexsearch.volumes.skeleton import Bone, skeleton
from dexsearch.volumes.subject import Subject

HEIGHT_MM = 400.0
MARROW_SOFT_FRACTION = 0.92
COARSEST_VOXEL_MM = 4.0
FINEST_VOXEL_MM = 1.5
VOXEL_PER_PIXEL = 0.55


def phantom_voxel_mm(pixel_mm: float) -> float:
    """Return the voxel that suits a detector: about half a pixel, 1.5 to 4 mm."""
    return float(np.clip(VOXEL_PER_PIXEL * pixel_mm, FINEST_VOXEL_MM, COARSEST_VOXEL_MM))


def phantom_subject(seed: int, index: int, *, voxel_mm: float) -> Subject:
    """Draw subject `index` of the cohort `seed`; the same numbers give the same subject.

    The volume is 400 mm high and as wide and deep as the body needs. Nothing of the anatomy
    depends on `voxel_mm`, only how finely it is drawn.
    """
    anatomy_rng, organ_rng, tumour_rng = (
        np.random.default_rng([seed, index, part]) for part in range(3)
    )
    anatomy = draw_anatomy(anatomy_rng)
    grid = body_grid(anatomy, voxel_mm)
    soft = soft_tissue(grid, anatomy, organ_rng)
    centre, tumour = tumour_shapes(anatomy, tumour_rng)
    if (lump := drawn(tumour, grid)) is not None:
        box, field = lump
        share = coverage(field, voxel_mm)
        soft[box] += share * (np.float32(anatomy.tumour_fraction) - soft[box])
    bone = np.zeros(grid.shape, dtype=np.float32)
    for part in skeleton(anatomy):
        _add_bone(soft, bone, grid, part, anatomy.cortical_fraction)
    return Subject(
        name=f"phantom-{seed}-{index:04d}",
        soft=soft,
        bone=bone,
        voxel_mm=voxel_mm,
        tumour_centre_mm=centre,
        tumour_diameter_mm=anatomy.tumour_diameter_mm,
    )


def body_grid(anatomy: Anatomy, voxel_mm: float) -> Grid:
    """Return the grid that holds a body."""
    half_y, half_x = half_extents_mm(anatomy)
    n0, n1, n2 = (
        int(np.ceil(extent / voxel_mm)) for extent in (HEIGHT_MM, 2.0 * half_y, 2.0 * half_x)
    )
    return Grid(shape=(n0, n1, n2), voxel_mm=voxel_mm)


def _add_bone(
    soft: NDArray[np.float32],
    bone: NDArray[np.float32],
    grid: Grid,
    part: Bone,
    cortical_fraction: float,
) -> None:
    """Put a bone into both bases in place: a shell of cortical bone around a core of marrow."""
    canvas = drawn(part.shapes, grid)
    if canvas is None:
        return
    box, field = canvas
    # A bone fills little of its box, so only the voxels that it touches are worked on.
    touched = np.nonzero(field < 0.5 * grid.voxel_mm)
    distance = field[touched]
    whole = coverage(distance, grid.voxel_mm)
    core = coverage(distance + np.float32(part.cortex_mm), grid.voxel_mm)
    shell = whole - core
    for volume, cortical, marrow in (
        (bone, cortical_fraction, part.core_fraction),
        (soft, 1.0 - cortical_fraction, MARROW_SOFT_FRACTION),
    ):
        inside = volume[box]
        inside[touched] = inside[touched] * (1.0 - whole) + (
            np.float32(cortical) * shell + np.float32(marrow) * core
        )

"""The soft tissues of a procedural thorax: outline, fat, lungs with vessels, heart, tumour."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from dexsearch.volumes.anatomy import Anatomy, CageProfile, cage_profile
from dexsearch.volumes.shapes import (
    Capsule,
    Ellipsoid,
    Grid,
    Point,
    add_capsule,
    add_ellipsoid,
    coverage,
    ellipse_distance,
)

FAT_FRACTION = 0.864
"""Adipose tissue as soft tissue: mu at 60 keV against ICRU-44 soft tissue's."""
SKIN_MM = 2.0
PLEURA_MM = 7.0
SIDES = (-1.0, 1.0)


@dataclass(frozen=True, slots=True)
class SoftTissue:
    """The soft basis before bones, and where the lungs are."""

    fraction: NDArray[np.float32]
    lung_distance_mm: NDArray[np.float32]


def soft_tissue(grid: Grid, anatomy: Anatomy, rng: np.random.Generator) -> SoftTissue:
    """Draw everything that is neither bone nor tumour."""
    cage = cage_profile(anatomy)
    body = _outline(grid, anatomy, cage)
    fat_mm = anatomy.fat_mm
    inside = coverage(body, grid.voxel_mm)
    under_skin = coverage(body + SKIN_MM, grid.voxel_mm)
    fat = under_skin - coverage(body + SKIN_MM + fat_mm, grid.voxel_mm)
    soft = inside - (1.0 - FAT_FRACTION) * fat
    lungs = _lungs(grid, anatomy, cage)
    vessels = grid.far()
    for vessel in _vessels(anatomy, rng):
        add_capsule(vessels, grid, vessel)
    air = coverage(lungs, grid.voxel_mm)
    texture = gaussian_filter(rng.standard_normal(grid.shape, dtype=np.float32), 2.0)
    parenchyma = anatomy.lung_density * (1.0 + 0.9 * texture)
    blood = coverage(vessels, grid.voxel_mm)
    soft += air * (parenchyma + (1.0 - parenchyma) * blood - soft)
    for gas in _airways(anatomy):
        hollow = grid.far()
        add_capsule(hollow, grid, gas)
        soft *= 1.0 - coverage(hollow, grid.voxel_mm)
    return SoftTissue(fraction=soft, lung_distance_mm=lungs)


def tumour_distance(
    grid: Grid, anatomy: Anatomy, lungs: NDArray[np.float32], rng: np.random.Generator
) -> tuple[NDArray[np.float32], Point]:
    """Place a tumour wholly inside a lung; return its distance field and its centre."""
    radius = 0.5 * anatomy.tumour_diameter_mm
    depth_mm = min(radius + 2.0, 0.9 * float(-lungs.min()))
    candidates = np.argwhere(lungs < -depth_mm)
    place = candidates[int(rng.integers(len(candidates)))]
    axes = (float(grid.axis_mm(axis)[int(place[axis])]) for axis in range(3))
    centre: Point = (next(axes), next(axes), next(axes))
    field = grid.far()
    core = radius if anatomy.tumour_lobes == 0 else 0.8 * radius
    add_ellipsoid(field, grid, Ellipsoid(centre, (core, core, core)))
    directions = rng.standard_normal((anatomy.tumour_lobes, 3))
    # Lobes come in opposite pairs, so that the known centre stays the centre.
    for direction in np.concatenate((directions, -directions)):
        z, y, x = (0.5 * radius * direction / np.linalg.norm(direction)).tolist()
        lobe = (centre[0] + z, centre[1] + y, centre[2] + x)
        add_ellipsoid(field, grid, Ellipsoid(lobe, (0.5 * radius,) * 3))
    return field, centre


def _outline(grid: Grid, anatomy: Anatomy, cage: CageProfile) -> NDArray[np.float32]:
    """Return the distance to the skin: cage with muscle and fat, shoulders, neck, breasts."""
    soft_mm = anatomy.muscle_mm + anatomy.fat_mm + SKIN_MM
    t1 = anatomy.vertebra_mm(0)[0]
    neck, reach = 56.0 + 0.4 * anatomy.fat_mm, 150.0 * anatomy.width + 0.6 * soft_mm
    z = grid.axis_mm(0)
    joints = (t1 - 60, t1 - 30, t1 - 8, t1 + 14, t1 + 50, t1 + 90)
    cage_width = np.interp(z, cage.z_mm, cage.half_width_mm) + soft_mm
    shoulders = np.interp(z, joints, (neck, neck + 6, 0.72 * reach, reach, reach, 0.0))
    width = np.maximum(np.where(z < t1 + 40, 0.0, cage_width), shoulders)
    cage_depth = np.interp(z, cage.z_mm, cage.half_depth_mm) + 0.7 * soft_mm + 6.0
    depth = np.interp(z, (t1 - 40, t1 + 10), (neck, 0.0))
    depth = np.maximum(depth, cage_depth)
    centre = np.interp(z, cage.z_mm, cage.centre_y_mm) + 4.0
    width, depth, centre = (
        gaussian_filter1d(row, 9.0 / grid.voxel_mm)[:, None, None].astype(np.float32)
        for row in (width, depth, centre)
    )
    _, y, x = grid.axes_mm()
    body = ellipse_distance((y - centre), x, depth, width, power=2.4)
    if anatomy.breast_mm > 0:
        r = anatomy.breast_mm
        level = anatomy.vertebra_mm(7)[0] + 6.0
        front = float(np.interp(level, z, (centre - depth)[:, 0, 0]))
        for side in SIDES:
            centre_mm = (level, front + 14.0, 68.0 * anatomy.width * side)
            add_ellipsoid(body, grid, Ellipsoid(centre_mm, (r, 0.75 * r, 1.05 * r)))
    return body


def _lungs(grid: Grid, anatomy: Anatomy, cage: CageProfile) -> NDArray[np.float32]:
    """Return the distance to both lungs: cage less mediastinum, spine, heart and diaphragm."""
    z, y, x = grid.axes_mm()
    apex = anatomy.vertebra_mm(0)[0] - 14.0
    heights = np.concatenate(([apex - 1.0, apex, apex + 9.0], cage.z_mm))
    width = np.concatenate(([1.0, 12.0, 34.0], cage.half_width_mm - PLEURA_MM))
    depth = np.concatenate(([1.0, 9.0, 22.0], cage.half_depth_mm - PLEURA_MM))
    centre = np.concatenate(([cage.centre_y_mm[0]] * 3, cage.centre_y_mm))
    width, depth, centre = (
        gaussian_filter1d(np.interp(z[:, 0, 0], heights, row), 6.0 / grid.voxel_mm)
        for row in (width, depth, centre)
    )
    width, depth, centre = (
        row.astype(np.float32)[:, None, None] for row in (width, depth, centre)
    )
    lungs = np.maximum(ellipse_distance(y - centre, x, depth, width, power=2.2), 0.8 * (apex - z))
    keep_out = _mediastinum(grid, anatomy)
    offset = (np.abs(x) - 62.0 * anatomy.width) / (68.0 * anatomy.width)
    bend = np.where(offset > 0, 58.0, 14.0) * offset**2
    sulcus = 46.0 * np.maximum(0.0, (y - centre + 10.0) / depth) ** 2
    left_lower = np.where(x > 0, 12.0, 0.0)
    dome = anatomy.level_mm + anatomy.diaphragm_mm + left_lower + bend + sulcus
    return np.asarray(np.maximum(np.maximum(lungs, -keep_out), 0.75 * (z - dome)), np.float32)


def _mediastinum(grid: Grid, anatomy: Anatomy) -> NDArray[np.float32]:
    """Return the distance to what lies between the lungs."""
    field = grid.far()
    for level in range(-2, 13):
        start, end = anatomy.vertebra_mm(level), anatomy.vertebra_mm(level + 1)
        add_capsule(field, grid, Capsule(start, end, (24.0, 24.0, 24.0)))
        forward = 46.0 * anatomy.depth
        before = (start[0], start[1] - forward, start[2])
        after = (end[0], end[1] - forward, end[2])
        add_capsule(field, grid, Capsule(before, after, (20.0, forward + 4.0, 21.0)))
    heart_z = anatomy.vertebra_mm(7)[0] + 8.0
    centre_y = anatomy.vertebra_mm(7)[1] - 68.0 * anatomy.depth
    for chamber in _heart(anatomy, heart_z, centre_y):
        add_ellipsoid(field, grid, chamber)
    for vessel in _great_vessels(anatomy, (heart_z, centre_y)):
        add_capsule(field, grid, vessel)
    return field


def _heart(anatomy: Anatomy, z: float, y: float) -> Iterator[Ellipsoid]:
    """Yield the ventricles, the right atrium and the apex, which points left and down."""
    size, left = 46.0 * anatomy.heart, anatomy.heart_left_mm
    yield Ellipsoid((z + 4.0, y, left - 4.0), (0.95 * size, 0.85 * size, size))
    yield Ellipsoid((z - 2.0, y + 12.0, left - 36.0), (0.9 * size, 0.75 * size, 0.62 * size))
    yield Ellipsoid((z + 20.0, y - 10.0, left + 22.0), (0.66 * size, 0.65 * size, 0.8 * size))
    yield Ellipsoid((z - 36.0, y + 6.0, left - 14.0), (0.7 * size, 0.6 * size, 0.6 * size))


def _great_vessels(anatomy: Anatomy, heart: tuple[float, float]) -> Iterator[Capsule]:
    arch_z, spine_y, _ = anatomy.vertebra_mm(4)
    r = 13.0 * anatomy.heart
    points = [(heart[0] - 40.0, heart[1] - 4.0, -14.0), (arch_z + 4.0, heart[1] + 8.0, -18.0)]
    points += [(arch_z - 8.0, heart[1] + 26.0, 4.0), (arch_z, spine_y - 16.0, 20.0)]
    points += [
        (z, y - 6.0, x + 24.0) for z, y, x in (anatomy.vertebra_mm(level) for level in (6, 9, 12))
    ]
    for start, end in itertools.pairwise(points):
        yield Capsule(start, end, (r, r, r))


def _vessels(anatomy: Anatomy, rng: np.random.Generator) -> Iterator[Capsule]:
    """Yield the trees of vessels that leave both hila, each branch thinner than its parent."""
    hilum_z, spine_y, _ = anatomy.vertebra_mm(5)
    for side in SIDES:
        root = np.array([hilum_z + 4.0, spine_y - 42.0, 30.0 * side])
        for angle in np.linspace(-1.35, 1.45, 7):
            out = np.array([np.sin(angle), rng.normal(0.0, 0.5), side * np.cos(angle)])
            yield from _branch(root, out, 6.0, 38.0 * anatomy.height, rng)


def _branch(
    start: NDArray[np.float64],
    direction: NDArray[np.float64],
    radius_mm: float,
    length_mm: float,
    rng: np.random.Generator,
) -> Iterator[Capsule]:
    direction = direction / np.linalg.norm(direction)
    end = start + direction * length_mm
    from_mm, to_mm = start.tolist(), end.tolist()
    yield Capsule(tuple(from_mm), tuple(to_mm), (radius_mm, radius_mm, radius_mm))
    if radius_mm > 1.4:
        for _ in range(2):
            turn = direction + 0.55 * rng.standard_normal(3)
            yield from _branch(end, turn, 0.66 * radius_mm, 0.8 * length_mm, rng)


def _airways(anatomy: Anatomy) -> Iterator[Capsule]:
    """Yield windpipe, main bronchi and the stomach's gas."""
    top, fork = anatomy.vertebra_mm(-3), anatomy.vertebra_mm(4)
    start = (top[0] - 60.0, top[1] - 26.0, top[2])
    carina = (fork[0] + 4.0, fork[1] - 34.0 * anatomy.depth, fork[2])
    yield Capsule(start, carina, (8.0, 8.0, 8.0))
    for side in SIDES:
        end = (carina[0] + 26.0, carina[1] + 4.0, carina[2] + 30.0 * side)
        yield Capsule(carina, end, (5.5, 5.5, 5.5))
    if anatomy.stomach_gas_mm > 0:
        z = anatomy.level_mm + anatomy.diaphragm_mm + 34.0
        r = anatomy.stomach_gas_mm
        yield Capsule((z, -20.0, 52.0), (z + 6.0, -10.0, 72.0), (0.6 * r, r, r))

"""The soft tissues inside a procedural thorax: lungs with vessels, heart, airways, tumour."""

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from dexsearch.volumes.anatomy import Anatomy, cage_profile
from dexsearch.volumes.outline import paint_body
from dexsearch.volumes.shapes import (
    Capsule,
    Ellipsoid,
    Grid,
    Point,
    Shape,
    Slices,
    coverage,
    draw,
    drawn,
)
from dexsearch.volumes.vessels import airways, lung_vessels

PLEURA_MM = 7.0
"""From the ribs' centre lines to the lungs."""
SLICES_PER_CHUNK = 6
APEX_MM = 60.0
"""Height of the lungs' rounded tops; below, the rib cage alone bounds them at the sides."""
PLACES_MM = 5.0
"""Pitch of the lattice of places for the tumour, whatever the voxel."""
TEXTURE_MM = 6.0
TEXTURE_REACH_MM = 204.0
TEXTURE_STRENGTH = 0.11


def soft_tissue(grid: Grid, anatomy: Anatomy, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw everything that is neither bone nor tumour, as a fraction of ICRU-44 soft tissue."""
    soft = np.zeros(grid.shape, dtype=np.float32)
    paint_body(soft, grid, anatomy, chunk=SLICES_PER_CHUNK)
    vessels = tuple(lung_vessels(anatomy, rng))
    _paint_lungs(soft, grid, anatomy, vessels, _texture(rng))
    for gas in airways(anatomy):
        if (hollow := drawn((gas,), grid)) is not None:
            box, field = hollow
            soft[box] *= 1.0 - coverage(field, grid.voxel_mm)
    return soft


def lung_distance_mm(grid: Grid, anatomy: Anatomy) -> NDArray[np.float32]:
    """Return the distance to both lungs: cage less mediastinum, spine, heart and diaphragm."""
    lungs = grid.far()
    for shape in _mediastinum(anatomy):
        draw(lungs, grid, shape)
    cage = _pleura(grid, anatomy)
    y, x = grid.axis_mm(1), grid.axis_mm(2)
    z = grid.axis_mm(0)[:, None, None]
    bend, apex = _dome_mm(x, anatomy), _apex_mm(x, anatomy)
    for first in range(0, grid.shape[0], SLICES_PER_CHUNK):
        chunk = slice(first, first + SLICES_PER_CHUNK)
        part, field = cage.part(chunk), lungs[chunk]
        behind = (y[None, :] - part.centre_y_mm[:, None] + 10.0) / part.half_depth_mm[:, None]
        sulcus = 46.0 * np.maximum(behind, 0.0) ** 2
        np.negative(field, out=field)
        np.maximum(field, part.distance_mm(y, x), out=field)
        np.maximum(field, 0.75 * (z[chunk] - sulcus[:, :, None]) - 0.75 * bend, out=field)
        if z[first, 0, 0] < apex.max():
            np.maximum(field, 0.75 * (apex - z[chunk]), out=field)
    return lungs


def tumour_shapes(anatomy: Anatomy, rng: np.random.Generator) -> tuple[Point, list[Shape]]:
    """Return the centre and the shapes of a tumour wholly inside a lung."""
    n = 2 * round(180.0 / PLACES_MM) + 1
    grid = Grid((n, n, n), PLACES_MM)
    lungs = lung_distance_mm(grid, anatomy)
    radius = 0.5 * anatomy.tumour_diameter_mm
    depth_mm = min(radius + 2.0, 0.9 * float(-lungs.min()))
    candidates = np.argwhere(lungs < -depth_mm)
    places = (candidates[int(rng.integers(len(candidates)))] - (n - 1) / 2) * PLACES_MM
    z, y, x = places.tolist()
    core = radius if anatomy.tumour_lobes == 0 else 0.8 * radius
    shapes: list[Shape] = [Ellipsoid((z, y, x), (core, core, core))]
    directions = rng.standard_normal((anatomy.tumour_lobes, 3))
    # Lobes come in opposite pairs, so that the known centre stays the centre.
    for direction in np.concatenate((directions, -directions)):
        dz, dy, dx = (0.5 * radius * direction / np.linalg.norm(direction)).tolist()
        shapes.append(Ellipsoid((z + dz, y + dy, x + dx), (0.5 * radius,) * 3))
    return (z, y, x), shapes


def _paint_lungs(
    soft: NDArray[np.float32],
    grid: Grid,
    anatomy: Anatomy,
    vessels: tuple[Capsule, ...],
    texture: NDArray[np.float32],
) -> None:
    """Put air with a fine texture, and vessels, where the lungs are."""
    cage = cage_profile(anatomy)
    half = float(cage.half_width_mm.max())
    top = anatomy.vertebra_mm(0)[0] - 20.0
    front = float((cage.centre_y_mm - cage.half_depth_mm).min())
    back = float((cage.centre_y_mm + cage.half_depth_mm).max())
    box = grid.box((top, front, -half), (float(cage.z_mm.max()) + 40.0, back, half))
    if box is None:
        return
    local = grid.within(box)
    lungs, blood, inside = lung_distance_mm(local, anatomy), local.far(), soft[box]
    for vessel in vessels:
        draw(blood, local, vessel)
    weights = [_interpolation(local.axis_mm(axis)) for axis in range(3)]
    rows = texture.reshape(len(texture), -1)
    for first in range(0, local.shape[0], SLICES_PER_CHUNK):
        chunk = slice(first, first + SLICES_PER_CHUNK)
        planes = (weights[0][chunk] @ rows).reshape(-1, *texture.shape[1:])
        fill = np.matmul(np.matmul(weights[1], planes), weights[2].T)
        fill += 1.0
        fill *= np.float32(anatomy.lung_density)
        share = coverage(blood[chunk], local.voxel_mm)
        fill += share * (1.0 - fill)
        fill -= inside[chunk]
        fill *= coverage(lungs[chunk], local.voxel_mm)
        inside[chunk] += fill


def _texture(rng: np.random.Generator) -> NDArray[np.float32]:
    n = 2 * round(TEXTURE_REACH_MM / TEXTURE_MM) + 1
    texture: NDArray[np.float32] = rng.standard_normal((n, n, n), dtype=np.float32)
    texture *= np.float32(TEXTURE_STRENGTH)
    return texture


def _interpolation(places_mm: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the matrix that interpolates linearly from the texture's lattice to places."""
    n = 2 * round(TEXTURE_REACH_MM / TEXTURE_MM) + 1
    node = places_mm / TEXTURE_MM + (n - 1) / 2
    share = np.maximum(1.0 - np.abs(node[:, None] - np.arange(n)[None, :]), 0.0)
    return np.asarray(share, np.float32)


def _pleura(grid: Grid, anatomy: Anatomy) -> Slices:
    """Return the inside of the rib cage, closed by a rounded apex on either side."""
    z, cage = grid.axis_mm(0).astype(np.float64), cage_profile(anatomy)
    apex = anatomy.vertebra_mm(0)[0] - 24.0
    rise = np.clip((z - apex) / 42.0, 0.0, 1.0)
    dome = np.sqrt(rise * (2.0 - rise))
    width = np.interp(z, cage.z_mm, cage.half_width_mm) - PLEURA_MM
    depth = np.interp(z, cage.z_mm, cage.half_depth_mm) - PLEURA_MM
    centre = np.interp(z, cage.z_mm, cage.centre_y_mm)
    smoothing = 5.0 / grid.voxel_mm
    width, depth, centre = (
        gaussian_filter1d(row, smoothing, mode="nearest").astype(np.float32)
        for row in (width, depth, centre)
    )
    shut = np.maximum(dome, 0.01).astype(np.float32)
    return Slices(shut * width, (0.25 + 0.75 * shut) * depth, centre, 2.2)


def _dome_mm(x: NDArray[np.float32], anatomy: Anatomy) -> NDArray[np.float32]:
    """Return the height of the diaphragm along x; the right dome stands higher."""
    offset = (np.abs(x) - 62.0 * anatomy.width) / (68.0 * anatomy.width)
    bend = np.where(offset > 0, 60.0, 14.0) * offset**2
    lower_left = 5.0 * (1.0 + np.tanh(x / 32.0))
    rows = anatomy.level_mm + anatomy.diaphragm_mm + lower_left + bend
    return np.asarray(rows, np.float32)


def _apex_mm(x: NDArray[np.float32], anatomy: Anatomy) -> NDArray[np.float32]:
    """Return the height of the lungs' tops along x: highest over the middle of each lung."""
    aside = (np.abs(x) / anatomy.width - 45.0) / 18.0
    return np.asarray(
        anatomy.vertebra_mm(0)[0] - 15.0 + np.minimum(10.0 * aside**2, APEX_MM), np.float32
    )


def _mediastinum(anatomy: Anatomy) -> Iterator[Shape]:
    """Yield what lies between the lungs."""
    for level in range(-2, 13):
        start, end = anatomy.vertebra_mm(level), anatomy.vertebra_mm(level + 1)
        yield Capsule(start, end, (21.0, 21.0, 21.0))
        forward = (36.0 if level < 2 else 56.0) * anatomy.depth
        before = (start[0], start[1] - forward, start[2])
        after = (end[0], end[1] - forward, end[2])
        yield Capsule(before, after, (20.0, forward + 4.0, 26.0 if level < 4 else 20.0))
    # The heart lies on the diaphragm, wherever that is.
    heart_z = anatomy.level_mm + anatomy.diaphragm_mm + 18.0 - 46.0 * anatomy.heart
    heart = (heart_z, anatomy.vertebra_mm(7)[1] - 72.0 * anatomy.depth)
    yield from _heart(anatomy, *heart)
    yield from _great_vessels(anatomy, heart)


def _heart(anatomy: Anatomy, z: float, y: float) -> Iterator[Shape]:
    """Yield the ventricles, the right atrium and the apex, which points left and down."""
    size, left = 46.0 * anatomy.heart, anatomy.heart_left_mm
    yield Ellipsoid((z + 4.0, y, left - 6.0), (0.95 * size, 0.85 * size, 0.9 * size))
    yield Ellipsoid((z + 2.0, y + 12.0, left - 40.0), (0.9 * size, 0.75 * size, 0.62 * size))
    base, apex = (z - 24.0, y + 4.0, left - 14.0), (z + 26.0, y - 12.0, left + 30.0)
    yield Capsule(base, apex, (0.6 * size, 0.6 * size, 0.62 * size))
    yield Ellipsoid((z - 40.0, y + 2.0, left - 10.0), (0.6 * size, 0.5 * size, 0.52 * size))


def _great_vessels(anatomy: Anatomy, heart: tuple[float, float]) -> Iterator[Capsule]:
    """Yield aorta and superior vena cava."""
    arch_z, spine_y, _ = anatomy.vertebra_mm(4)
    r = 13.0 * anatomy.heart
    points = [(heart[0] - 40.0, heart[1] - 4.0, -14.0), (arch_z + 4.0, heart[1] + 8.0, -18.0)]
    points += [(arch_z - 10.0, heart[1] + 26.0, 6.0), (arch_z - 2.0, spine_y - 16.0, 22.0)]
    points += [
        (z, y - 6.0, x + 24.0) for z, y, x in (anatomy.vertebra_mm(level) for level in (6, 9, 12))
    ]
    for start, end in itertools.pairwise(points):
        yield Capsule(start, end, (r, r, r))
    cava = 10.0 * anatomy.heart
    top = anatomy.vertebra_mm(2)[0]
    yield Capsule(
        (top, heart[1] + 16.0, -20.0), (heart[0] - 30.0, heart[1] + 8.0, -26.0), (cava,) * 3
    )

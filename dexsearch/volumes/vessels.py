"""The branching tubes of a procedural thorax: vessels of the lungs, windpipe and bronchi."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dexsearch.volumes.anatomy import Anatomy
from dexsearch.volumes.shapes import Capsule

SIDES = (-1.0, 1.0)
HILUM_RADIUS_MM = 8.5
THINNEST_MM = 1.1
"""A vessel of this radius branches no more."""
THINNER = (0.76, 0.62)
"""Radii of the two branches against their parent's."""
SHORTER = 0.84


def lung_vessels(anatomy: Anatomy, rng: np.random.Generator) -> Iterator[Capsule]:
    """Yield the trees of vessels that leave both hila, each branch thinner than its parent."""
    hilum_z, spine_y, _ = anatomy.vertebra_mm(5)
    for side in SIDES:
        # The left hilum stands higher than the right.
        root = np.array([hilum_z + 12.0 - 6.0 * side, spine_y - 44.0 * anatomy.depth, 22.0 * side])
        hilum = root + np.array([2.0, 2.0, 20.0 * side])
        yield _rod(root, hilum, HILUM_RADIUS_MM)
        for angle in np.linspace(-1.35, 1.4, 8):
            out = np.array([np.sin(angle), rng.normal(0.0, 0.45), side * np.cos(angle)])
            radius_mm = 4.6 + 1.6 * max(0.0, float(np.sin(angle)))
            yield from _branch(hilum, out, radius_mm, 30.0 * anatomy.height, rng)


def _branch(
    start: NDArray[np.float64],
    direction: NDArray[np.float64],
    radius_mm: float,
    length_mm: float,
    rng: np.random.Generator,
) -> Iterator[Capsule]:
    direction = direction / np.linalg.norm(direction)
    end = start + direction * length_mm
    yield _rod(start, end, radius_mm)
    if radius_mm > THINNEST_MM:
        for share in THINNER:
            turn = direction + 0.42 * rng.standard_normal(3)
            yield from _branch(end, turn, share * radius_mm, SHORTER * length_mm, rng)


def _rod(start: NDArray[np.float64], end: NDArray[np.float64], radius_mm: float) -> Capsule:
    (z0, y0, x0), (z1, y1, x1) = start.tolist(), end.tolist()
    return Capsule((z0, y0, x0), (z1, y1, x1), (radius_mm,) * 3)


def airways(anatomy: Anatomy) -> Iterator[Capsule]:
    """Yield windpipe, main bronchi and the stomach's gas."""
    top, fork = anatomy.vertebra_mm(-3), anatomy.vertebra_mm(4)
    start = (top[0] - 60.0, top[1] - 26.0, top[2])
    carina = (fork[0] + 4.0, fork[1] - 34.0 * anatomy.depth, fork[2])
    yield Capsule(start, carina, (8.0, 8.0, 8.0))
    for side in SIDES:
        end = (carina[0] + 26.0, carina[1] + 4.0, carina[2] + 30.0 * side)
        yield Capsule(carina, end, (5.5, 5.5, 5.5))
    if anatomy.stomach_gas_mm > 0:
        z = anatomy.level_mm + anatomy.diaphragm_mm + 36.0
        r = anatomy.stomach_gas_mm
        yield Capsule((z, -20.0, 52.0), (z + 6.0, -10.0, 72.0), (0.6 * r, r, r))

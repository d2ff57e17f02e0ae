"""Drawn shapes have the volumes of solid geometry."""

import numpy as np
import pytest

from dexsearch.volumes.shapes import (
    Capsule,
    Ellipsoid,
    Grid,
    coverage,
    draw,
)

GRID = Grid(shape=(60, 50, 56), voxel_mm=2.0)


def drawn_mm3(shape: Capsule | Ellipsoid) -> float:
    field = GRID.far()
    draw(field, GRID, shape)
    return float(coverage(field, GRID.voxel_mm).sum()) * GRID.voxel_mm**3


def test_an_ellipsoid_has_its_volume() -> None:
    exact = 4 / 3 * np.pi * 30 * 20 * 14
    assert drawn_mm3(Ellipsoid((3.0, -2.0, 5.0), (30.0, 20.0, 14.0))) == pytest.approx(
        exact, rel=0.01
    )


def test_a_capsule_has_its_volume() -> None:
    exact = np.pi * 5**2 * 40 + 4 / 3 * np.pi * 5**3
    rod = Capsule((-12.0, -16.0, 0.0), (12.0, 16.0, 0.0), (5.0, 5.0, 5.0))
    assert drawn_mm3(rod) == pytest.approx(exact, rel=0.02)


def test_a_shape_outside_the_grid_draws_nothing() -> None:
    assert drawn_mm3(Ellipsoid((500.0, 0.0, 0.0), (10.0, 10.0, 10.0))) == 0.0


def test_a_shape_at_the_edge_is_cut() -> None:
    whole = drawn_mm3(Ellipsoid((0.0, 0.0, 0.0), (10.0, 10.0, 10.0)))
    assert drawn_mm3(Ellipsoid((60.0, 0.0, 0.0), (10.0, 10.0, 10.0))) == pytest.approx(
        0.5 * whole, rel=0.02
    )

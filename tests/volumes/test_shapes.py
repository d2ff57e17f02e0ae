"""Drawn shapes have the volumes of solid geometry."""

import numpy as np
import pytest

from dexsearch.volumes.shapes import (
    Capsule,
    Ellipsoid,
    Grid,
    Slices,
    bounds_mm,
    coverage,
    draw,
    drawn,
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


def test_a_box_of_a_grid_keeps_its_voxels_in_place() -> None:
    box = GRID.box((-20.0, -3.0, 30.0), (11.0, 9.0, 500.0))
    assert box is not None
    local = GRID.within(box)
    for axis in range(3):
        np.testing.assert_allclose(local.axis_mm(axis), GRID.axis_mm(axis)[box[axis]], atol=1e-4)


def test_shapes_in_their_own_box_are_those_on_the_whole_grid() -> None:
    shapes = (
        Ellipsoid((3.0, -2.0, 5.0), (13.0, 9.0, 7.0), power=4.0),
        Capsule((-12.0, -16.0, 0.0), (12.0, 16.0, 9.0), (5.0, 3.0, 4.0)),
    )
    whole = GRID.far()
    for shape in shapes:
        draw(whole, GRID, shape)
    canvas = drawn(shapes, GRID)
    assert canvas is not None
    box, field = canvas
    low, high = bounds_mm(shapes)
    assert low == (-17.0, -19.0, -4.0)
    assert high == (17.0, 19.0, 13.0)
    expected = coverage(whole, GRID.voxel_mm)
    np.testing.assert_allclose(coverage(field, GRID.voxel_mm), expected[box], atol=1e-5)
    assert coverage(field, GRID.voxel_mm).sum() == pytest.approx(expected.sum(), rel=1e-5)


@pytest.mark.parametrize("power", [2.0, 2.5])
def test_an_upright_cylinder_has_its_cross_section(power: float) -> None:
    n = GRID.shape[0]
    width, depth, middle = np.array([[40.0], [25.0], [3.0]], np.float32).repeat(n, axis=1)
    body = Slices(width, depth, middle, power)
    y, x = GRID.axis_mm(1), GRID.axis_mm(2)
    area = coverage(body.distance_mm(y, x), GRID.voxel_mm)[0].sum() * GRID.voxel_mm**2
    angle = np.linspace(0.0, 0.5 * np.pi, 2001)
    rim_x, rim_y = 40.0 * np.cos(angle) ** (2 / power), 25.0 * np.sin(angle) ** (2 / power)
    exact = 4.0 * abs(float(np.trapezoid(rim_y, rim_x)))
    assert area == pytest.approx(exact, rel=0.01)
    inner = coverage(body.inner(5.0).distance_mm(y, x), GRID.voxel_mm)
    assert inner[0].sum() * GRID.voxel_mm**2 == pytest.approx(exact * 35 * 20 / 1000, rel=0.01)

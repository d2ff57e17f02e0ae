"""What every drawn anatomy has: all parts, in their places, within their ranges."""

import itertools

import numpy as np
import pytest

from dexsearch.volumes.anatomy import SOFT_TISSUE_G_PER_CM3, Anatomy, cage_profile, draw_anatomy
from dexsearch.volumes.organs import lung_distance_mm, tumour_shapes
from dexsearch.volumes.outline import SKIN_MM, outline
from dexsearch.volumes.phantom import body_grid
from dexsearch.volumes.shapes import Grid, bounds_mm, drawn
from dexsearch.volumes.skeleton import SIDES, rib_line, skeleton

VOXEL_MM = 6.0


@pytest.fixture(scope="module")
def anatomies() -> list[Anatomy]:
    return [draw_anatomy(np.random.default_rng(seed)) for seed in range(12)]


def test_every_skeleton_has_all_its_bones(anatomies: list[Anatomy]) -> None:
    for anatomy in anatomies:
        names = [bone.name for bone in skeleton(anatomy)]
        assert len(names) == len(set(names))
        both = ["scapula", "clavicle", "humerus", "humeral head", "cartilages"]
        both += [f"rib {rib}" for rib in range(1, 13)]
        for part in both:
            assert {f"left {part}", f"right {part}"} <= set(names)
        assert {f"vertebra {level}" for level in range(1, 13)} <= set(names)
        assert "sternum" in names


def test_bones_lie_under_the_skin() -> None:
    for seed in range(8):
        anatomy = draw_anatomy(np.random.default_rng(seed))
        grid = body_grid(anatomy, VOXEL_MM)
        skin = outline(grid, anatomy).skin_distance_mm(slice(0, grid.shape[0]))
        for bone in skeleton(anatomy):
            canvas = drawn(bone.shapes, grid)
            if canvas is not None:
                box, field = canvas
                assert not ((field < 0.0) & (skin[box] > -SKIN_MM)).any(), (seed, bone.name)


def test_ribs_fall_from_the_spine_to_the_front(anatomies: list[Anatomy]) -> None:
    for anatomy in anatomies:
        for rib in range(12):
            for side in SIDES:
                line = np.array(rib_line(anatomy, rib, side))
                assert line[-1, 0] > line[0, 0]
                assert (side * (line[1:, 2] - anatomy.vertebra_mm(rib)[2]) > 0).all()


def test_vertebrae_stand_one_above_the_other(anatomies: list[Anatomy]) -> None:
    for anatomy in anatomies:
        bones = [bone for bone in skeleton(anatomy) if bone.name.startswith("vertebra")]
        bodies = [bounds_mm(bone.shapes[:1]) for bone in bones]
        for (_, above), (below, _) in itertools.pairwise(bodies):
            assert above[0] < below[0]


def test_the_heart_leaves_the_left_lung_the_smaller_one(anatomies: list[Anatomy]) -> None:
    grid = Grid((61, 61, 61), VOXEL_MM)
    shares = []
    for anatomy in anatomies:
        lungs = lung_distance_mm(grid, anatomy) < 0.0
        right, left = lungs[:, :, :30].sum(), lungs[:, :, 31:].sum()
        shares.append(left / right)
        litres = 1e-6 * VOXEL_MM**3 * (right + left)
        assert 1.5 < litres < 7.0
    assert min(shares) > 0.65
    assert np.mean(shares) < 0.98
    assert max(shares) < 1.06, "a spine that bends can make up for the heart"


def test_the_right_dome_stands_higher(anatomies: list[Anatomy]) -> None:
    grid = Grid((121, 61, 61), 3.0)
    for anatomy in anatomies:
        lungs = lung_distance_mm(grid, anatomy) < 0.0
        middle = 3.0 * 62.0 * anatomy.width / 9.0
        row = int(np.argmin(np.abs(grid.axis_mm(1) - cage_profile(anatomy).centre_y_mm[12])))
        ends = [
            np.flatnonzero(lungs[:, row, round(30 + side * middle)]).max() for side in (-1.0, 1.0)
        ]
        assert ends[0] < ends[1]


def test_the_tumour_lies_inside_a_lung(anatomies: list[Anatomy]) -> None:
    for seed, anatomy in enumerate(anatomies):
        centre, shapes = tumour_shapes(anatomy, np.random.default_rng(seed))
        point = Grid((1, 1, 1), 1.0, centre)
        assert lung_distance_mm(point, anatomy).item() < -0.5 * anatomy.tumour_diameter_mm
        low, high = bounds_mm(shapes)
        np.testing.assert_allclose(0.5 * (np.array(low) + high), centre, atol=1e-6)
        assert np.max(np.subtract(high, low)) <= anatomy.tumour_diameter_mm + 1e-6


def test_numbers_stay_within_their_documented_ranges() -> None:
    for seed in range(300):
        anatomy = draw_anatomy(np.random.default_rng(seed))
        assert 0.84 <= anatomy.height <= 1.16
        assert 0.82 <= anatomy.width <= 1.18
        assert 0.80 <= anatomy.depth <= 1.22
        assert 5.0 <= anatomy.tumour_diameter_mm <= 30.0
        assert 0.95 <= anatomy.tumour_fraction * SOFT_TISSUE_G_PER_CM3 <= 1.06
        assert 0.5 <= anatomy.cortex_mm <= 1.5
        assert 0.18 <= anatomy.lung_density <= 0.32
        assert anatomy.breast_mm == 0.0 or 18.0 <= anatomy.breast_mm <= 50.0

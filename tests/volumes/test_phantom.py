"""Procedural thoraxes: what every subject has, and how subjects differ."""

import numpy as np
import pytest
from numpy.typing import NDArray

from dexsearch.physics.geometry import Detector
from dexsearch.physics.projection import build_projector
from dexsearch.volumes.anatomy import draw_anatomy
from dexsearch.volumes.organs import soft_tissue, tumour_shapes
from dexsearch.volumes.outline import outline
from dexsearch.volumes.phantom import body_grid, phantom_subject, phantom_voxel_mm
from dexsearch.volumes.shapes import Grid
from dexsearch.volumes.subject import Subject

VOXEL_MM = 5.0
FRONT = (0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def subjects() -> list[Subject]:
    return [phantom_subject(0, index, voxel_mm=VOXEL_MM) for index in range(4)]


def front_view(subject: Subject) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    projector = build_projector(subject.soft, subject.bone, voxel_mm=subject.voxel_mm)
    return projector.path_lengths_cm(FRONT, Detector(size_px=64, pixel_mm=5.0))


def test_the_same_seed_gives_the_same_subject(subjects: list[Subject]) -> None:
    again = phantom_subject(0, 1, voxel_mm=VOXEL_MM)
    np.testing.assert_array_equal(again.soft, subjects[1].soft)
    np.testing.assert_array_equal(again.bone, subjects[1].bone)


def test_subjects_differ_in_anatomy(subjects: list[Subject]) -> None:
    bones = [front_view(subject)[1].ravel() for subject in subjects]
    correlation = np.corrcoef(bones)[np.triu_indices(len(bones), 1)]
    assert correlation.max() < 0.9


def test_fractions_are_those_of_bodies(subjects: list[Subject]) -> None:
    for subject in subjects:
        assert subject.soft.dtype == subject.bone.dtype == np.float32
        assert subject.soft.min() >= 0.0
        assert subject.soft.max() <= 1.1
        assert subject.bone.min() >= 0.0
        assert subject.bone.max() <= 1.0
        litres = 1e-6 * VOXEL_MM**3 * (subject.soft + subject.bone > 0.05).sum()
        assert 8.0 < litres < 35.0
        assert 0.1 < 1e-6 * VOXEL_MM**3 * subject.bone.sum() < 1.2


def test_no_body_is_cut_flat_by_the_sides_of_its_volume() -> None:
    for seed in range(30):
        anatomy = draw_anatomy(np.random.default_rng(seed))
        grid = body_grid(anatomy, 10.0)
        skin = outline(grid, anatomy).skin_distance_mm(slice(0, grid.shape[0]))
        for axis in (1, 2):
            for face in (0, -1):
                assert (skin.take(face, axis=axis) > 0.0).all()


def test_a_front_view_is_as_thick_as_a_chest(subjects: list[Subject]) -> None:
    for subject in subjects:
        soft, bone = front_view(subject)
        assert 15.0 < soft.max() < 35.0
        assert 0.6 < bone.max() < 4.0


def test_lungs_let_more_through_than_the_belly(subjects: list[Subject]) -> None:
    for subject in subjects:
        soft, _ = front_view(subject)
        assert soft[26:34, 14:24].mean() < 0.75 * soft[56:, 24:40].mean()


def test_the_tumour_is_where_it_is_said_to_be(subjects: list[Subject]) -> None:
    found = 0
    for index, subject in enumerate(subjects):
        anatomy_rng, organ_rng, tumour_rng = (
            np.random.default_rng([0, index, part]) for part in range(3)
        )
        anatomy = draw_anatomy(anatomy_rng)
        assert subject.tumour_diameter_mm == anatomy.tumour_diameter_mm
        assert subject.tumour_centre_mm == tumour_shapes(anatomy, tumour_rng)[0]
        grid = body_grid(anatomy, VOXEL_MM)
        healthy = soft_tissue(grid, anatomy, organ_rng)
        reach = 0.5 * anatomy.tumour_diameter_mm + VOXEL_MM
        axes = [grid.axis_mm(axis) for axis in range(3)]
        near = [
            np.flatnonzero(np.abs(axis - centre) < reach)
            for axis, centre in zip(axes, subject.tumour_centre_mm, strict=True)
        ]
        box = np.ix_(*near)
        added = np.where(subject.bone[box] > 0.0, 0.0, subject.soft[box] - healthy[box])
        if anatomy.tumour_diameter_mm < 3.0 * VOXEL_MM:
            continue
        found += 1
        for axis, centre in enumerate(subject.tumour_centre_mm):
            weights = np.maximum(added, 0.0).sum(axis=tuple({0, 1, 2} - {axis}))
            mean = np.average(axes[axis][near[axis]], weights=weights)
            assert mean == pytest.approx(centre, abs=0.5 * VOXEL_MM)
    assert found > 0


def test_anatomy_does_not_depend_on_the_voxel(subjects: list[Subject]) -> None:
    coarse, fine = phantom_subject(0, 0, voxel_mm=8.0), subjects[0]
    assert coarse.tumour_centre_mm == fine.tumour_centre_mm
    for one, other, rel in ((coarse.soft, fine.soft, 0.02), (coarse.bone, fine.bone, 0.08)):
        assert one.sum() * 8.0**3 == pytest.approx(other.sum() * VOXEL_MM**3, rel=rel)


def test_the_volume_fits_the_body(subjects: list[Subject]) -> None:
    for subject in subjects:
        grid = Grid(subject.soft.shape, VOXEL_MM)
        for axis in (1, 2):
            body = (subject.soft > 0.02).any(axis=tuple({0, 1, 2} - {axis}))
            reach = np.abs(grid.axis_mm(axis)[body]).max()
            assert 0.0 < 0.5 * subject.soft.shape[axis] * VOXEL_MM - reach < 45.0


def test_ribs_cross_lungs_in_the_picture(subjects: list[Subject]) -> None:
    for subject in subjects:
        _, bone = front_view(subject)
        lung = bone[20:40, 12:22]
        assert (lung > 0.1).mean() > 0.25
        assert np.abs(np.diff(lung, axis=0)).max() > 0.1


def test_ribs_cross_the_heart_and_the_tumour_in_the_picture(subjects: list[Subject]) -> None:
    rows, columns = np.mgrid[:64, :64]
    for subject in subjects:
        _, bone = front_view(subject)
        row, column = (32 + subject.tumour_centre_mm[axis] / 5.0 for axis in (0, 2))
        radius_px = max(1.0, subject.tumour_diameter_mm / 2 / 5.0)
        tumour = (rows - row) ** 2 + (columns - column) ** 2 <= radius_px**2
        assert bone[tumour].max() > 0.2, "a rib shadow lies on the tumour"
        left_of_the_spine = bone[28:44, 38:48]
        assert (left_of_the_spine > 0.1).mean() > 0.2, "ribs lie on the heart"


def test_voxels_follow_the_pixel_within_limits() -> None:
    assert phantom_voxel_mm(5.0) == pytest.approx(2.75)
    assert phantom_voxel_mm(0.2) == 1.5
    assert phantom_voxel_mm(50.0) == 4.0

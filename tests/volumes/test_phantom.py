"""Procedural thoraxes: what every subject has, and how subjects differ."""

import numpy as np
import pytest
from numpy.typing import NDArray

from dexsearch.physics.projection import Detector, path_lengths_cm
from dexsearch.volumes.phantom import phantom_subject, phantom_voxel_mm
from dexsearch.volumes.subject import Subject

VOXEL_MM = 4.0
FRONT = (0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def subjects() -> list[Subject]:
    return [phantom_subject(0, index, voxel_mm=VOXEL_MM) for index in range(4)]


def front_view(subject: Subject) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return path_lengths_cm(
        subject.soft,
        subject.bone,
        voxel_mm=subject.voxel_mm,
        pose_deg=FRONT,
        detector=Detector(size_px=64, pixel_mm=5.0),
    )


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
    for index in range(8):
        subject = phantom_subject(1, index, voxel_mm=8.0)
        body = subject.soft + subject.bone > 0.02
        for axis in (1, 2):
            for face in (0, -1):
                assert not body.take(face, axis=axis).any()


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
    for subject in subjects:
        assert subject.tumour_centre_mm is not None
        assert subject.tumour_diameter_mm is not None
        index = tuple(
            round(mm / VOXEL_MM + (n - 1) / 2)
            for mm, n in zip(subject.tumour_centre_mm, subject.soft.shape, strict=True)
        )
        assert subject.soft[index] == pytest.approx(0.95, abs=0.06)
        assert subject.bone[index] == 0.0


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

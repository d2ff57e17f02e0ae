"""The plastic thorax: what it is made of, and lengths through it that its design fixes."""

import numpy as np
import pytest

from dexsearch.physics.attenuation import Material, linear_attenuation_per_cm
from dexsearch.volumes.cirs import (
    CORD_RADIUS_MM,
    CORD_Y_MM,
    HALF_DEPTH_MM,
    HALF_WIDTH_MM,
    LENGTH_MM,
    LUNG_HALF_DEPTH_MM,
    LUNG_HALF_WIDTH_MM,
    LUNG_X_MM,
    PITCH_MM,
    SPINE_HALF_DEPTH_MM,
    SPINE_Y_MM,
    TARGET_DIAMETER_MM,
    TARGET_MM,
    cirs_like,
    plastic_fractions,
)
from dexsearch.volumes.shapes import Grid
from dexsearch.volumes.subject import Subject

VOXEL_MM = 2.0
PLASTICS: tuple[Material, ...] = (
    "cirs_plastic_water",
    "cirs_lung_inhale",
    "cirs_bone_adult",
    "cirs_spinal_cord",
)


@pytest.fixture(scope="module")
def subject() -> Subject:
    return cirs_like(voxel_mm=VOXEL_MM)


def axis_mm(subject: Subject, axis: int) -> np.ndarray:
    return Grid(subject.soft.shape, subject.voxel_mm).axis_mm(axis)


def nearest(subject: Subject, axis: int, place_mm: float) -> int:
    return int(np.abs(axis_mm(subject, axis) - place_mm).argmin())


@pytest.mark.parametrize("plastic", PLASTICS)
def test_two_bases_stand_for_a_plastic_within_two_percent(plastic: Material) -> None:
    energy_kev = np.arange(30.0, 121.0)
    fractions = plastic_fractions(plastic)
    mixture = fractions.soft * linear_attenuation_per_cm("soft_tissue", energy_kev)
    mixture += fractions.bone * linear_attenuation_per_cm("cortical_bone", energy_kev)
    np.testing.assert_allclose(mixture, linear_attenuation_per_cm(plastic, energy_kev), rtol=0.02)
    assert fractions.soft >= 0.0
    assert fractions.bone >= 0.0


def test_a_chord_through_a_lung_has_its_designed_lengths(subject: Subject) -> None:
    column = nearest(subject, 2, -LUNG_X_MM)
    bare = np.flatnonzero(
        (subject.bone[:, :, column].sum(axis=1) == 0.0)
        & (np.abs(axis_mm(subject, 0)) < 0.5 * LENGTH_MM - VOXEL_MM)
    )
    assert bare.size > 0
    chord = VOXEL_MM * subject.soft[bare, :, column].sum(axis=1)
    x_mm = float(axis_mm(subject, 2)[column])
    body = 2.0 * HALF_DEPTH_MM * np.sqrt(1.0 - (x_mm / HALF_WIDTH_MM) ** 2)
    beside = (x_mm + LUNG_X_MM) / LUNG_HALF_WIDTH_MM
    lung = 2.0 * LUNG_HALF_DEPTH_MM * np.sqrt(1.0 - beside**2)
    expected = plastic_fractions("cirs_plastic_water").soft * (body - lung)
    expected += plastic_fractions("cirs_lung_inhale").soft * lung
    np.testing.assert_allclose(chord, expected, rtol=0.01)


def test_a_chord_through_a_vertebra_has_its_designed_lengths(subject: Subject) -> None:
    row, column = nearest(subject, 0, 0.5 * PITCH_MM), nearest(subject, 2, 0.0)
    chord = VOXEL_MM * subject.bone[row, :, column].sum()
    arch_ends = CORD_Y_MM + CORD_RADIUS_MM + 6.0
    bone = arch_ends - (SPINE_Y_MM - SPINE_HALF_DEPTH_MM) - 2.0 * CORD_RADIUS_MM
    assert chord == pytest.approx(plastic_fractions("cirs_bone_adult").bone * bone, rel=0.03)


def test_the_body_has_the_volume_of_its_cylinder(subject: Subject) -> None:
    body_mm3 = float((subject.soft + subject.bone > 0.1).sum()) * VOXEL_MM**3
    expected = np.pi * HALF_DEPTH_MM * HALF_WIDTH_MM * LENGTH_MM
    assert body_mm3 == pytest.approx(expected, rel=0.02)


def test_the_target_is_a_sphere_where_it_is_said_to_be(subject: Subject) -> None:
    assert subject.tumour_centre_mm == TARGET_MM
    assert subject.tumour_diameter_mm == TARGET_DIAMETER_MM
    z, y, x = (axis_mm(subject, axis) for axis in range(3))
    reach = 0.5 * TARGET_DIAMETER_MM + 2.0 * VOXEL_MM
    box = np.ix_(*(np.abs(a - c) < reach for a, c in zip((z, y, x), TARGET_MM, strict=True)))
    lung = plastic_fractions("cirs_lung_inhale").soft
    target = (subject.soft[box] - lung) / (plastic_fractions("cirs_plastic_water").soft - lung)
    volume_mm3 = float(target.sum()) * VOXEL_MM**3
    assert volume_mm3 == pytest.approx(np.pi / 6.0 * TARGET_DIAMETER_MM**3, rel=0.03)
    for axis, centre in enumerate(TARGET_MM):
        places = (z, y, x)[axis][np.abs((z, y, x)[axis] - centre) < reach]
        others = tuple(other for other in range(3) if other != axis)
        mean = np.average(places, weights=target.sum(axis=others))
        assert mean == pytest.approx(centre, abs=0.1 * VOXEL_MM)

"""Pixels that a longer or wider scan would not change."""

import numpy as np
import pytest
from numpy.typing import NDArray

from dexsearch.physics.geometry import Detector, Geometry, Pose
from dexsearch.physics.projection import build_projector
from dexsearch.physics.validity import ScanEnds

VOXEL_MM = 3.0
POSES = [(0.0, 0.0, 0.0), (20.0, 0.0, 30.0), (-30.0, 30.0, 60.0), (10.0, -15.0, 90.0)]


def cylinder(n_slices: int, shift_mm: float = 0.0, n_columns: int = 50) -> NDArray[np.float32]:
    """An upright cylinder of 60 mm radius, hollow, as high as its volume; shifted to the right."""
    rows = (np.arange(50) - 24.5) * VOXEL_MM
    columns = (np.arange(n_columns) - (n_columns - 1) / 2) * VOXEL_MM - shift_mm
    radius = np.hypot(rows[:, None], columns)
    disc = np.clip(0.5 - (radius - 60.0) / VOXEL_MM, 0, 1) * (radius > 20.0)
    return np.repeat(disc.astype(np.float32)[None], n_slices, axis=0)


def view(volume: NDArray[np.float32], pose_deg: Pose, detector: Detector) -> NDArray[np.float32]:
    projector = build_projector(volume, 0 * volume, voxel_mm=VOXEL_MM)
    return projector.path_lengths_cm(pose_deg, detector)[0]


@pytest.mark.parametrize("geometry", ["parallel", "cone"])
@pytest.mark.parametrize("pose_deg", POSES)
def test_what_a_finite_scan_shows_whole_is_what_a_longer_scan_shows(
    pose_deg: Pose, geometry: Geometry
) -> None:
    short, long = cylinder(50), cylinder(250)
    detector = Detector(size_px=40, pixel_mm=5.0, geometry=geometry)
    seen, expected = (view(volume, pose_deg, detector) for volume in (short, long))
    whole = ScanEnds(short, 0 * short, VOXEL_MM).seen_whole(pose_deg, detector)
    same = np.abs(seen - expected) < 0.05
    body = seen > 0.5
    assert same[whole & body].all()
    if pose_deg != (0.0, 0.0, 0.0):
        assert (~same & body).any()
    assert whole[body].mean() > 0.2
    # What is left out beyond need is a rim.
    assert (same & ~whole & body).sum() < 0.2 * body.sum()


@pytest.mark.parametrize("geometry", ["parallel", "cone"])
@pytest.mark.parametrize("pose_deg", POSES)
def test_a_ray_through_a_body_cut_at_the_side_is_not_whole(
    pose_deg: Pose, geometry: Geometry
) -> None:
    wide = cylinder(250, shift_mm=45.0, n_columns=100)
    narrow = wide[100:150, :, 25:75]  # cuts the cylinder at 30 of its 120 mm
    detector = Detector(size_px=40, pixel_mm=5.0, geometry=geometry)
    seen, expected = (view(volume, pose_deg, detector) for volume in (narrow, wide))
    whole = ScanEnds(narrow, 0 * narrow, VOXEL_MM).seen_whole(pose_deg, detector)
    body = seen > 0.5
    assert (np.abs(seen - expected)[whole & body] < 0.05).all()
    assert (whole & body).sum() > 0.1 * body.sum() or pose_deg[2] > 45.0


@pytest.mark.parametrize(("axis", "pixel"), [(2, (10, 0)), (1, (10, 10))])
def test_only_rays_through_the_cut_face_are_lost(axis: int, pixel: tuple[int, int]) -> None:
    volume = np.zeros((21, 21, 21), np.float32)
    index = [10, 10, 10]
    index[axis] = 0
    volume[tuple(index)] = 1.0
    whole = ScanEnds(volume, 0 * volume, 2.0).seen_whole((0.0, 0.0, 0.0), Detector(21, 2.0))
    assert not whole[pixel]
    assert np.argwhere(~whole).min(axis=0).tolist() == [9, max(pixel[1] - 1, 0)]
    assert np.argwhere(~whole).max(axis=0).tolist() == [11, pixel[1] + 1]


@pytest.mark.parametrize("geometry", ["parallel", "cone"])
def test_a_body_that_ends_within_the_scan_is_seen_whole(geometry: Geometry) -> None:
    volume = np.zeros((30, 30, 30), np.float32)
    volume[2:28, 2:28, 2:28] = 1.0
    ends = ScanEnds(volume, volume, VOXEL_MM)
    for pose_deg in POSES:
        assert ends.seen_whole(pose_deg, Detector(32, 3.0, geometry)).all()


def test_holes_in_the_last_slice_are_body() -> None:
    hollow = cylinder(20)
    filled = hollow.copy()
    filled[:, 15:35, 15:35] = 1.0
    detector = Detector(size_px=40, pixel_mm=5.0)
    a, b = (
        ScanEnds(volume, 0 * volume, VOXEL_MM).seen_whole((30.0, 0.0, 0.0), detector)
        for volume in (hollow, filled)
    )
    np.testing.assert_array_equal(a, b)

"""Detectors, rays and poses."""

import numpy as np
import pytest

from dexsearch.physics.geometry import (
    SOURCE_AXIS_MM,
    Detector,
    Geometry,
    Pose,
    beam_axis,
    content_box,
    detector_position_mm,
    detector_rays,
    pixel_means,
    rotation_matrix,
    source_mm,
)

POSE: Pose = (20.0, -15.0, 35.0)


def test_a_pose_turns_and_does_not_stretch() -> None:
    matrix = rotation_matrix(POSE)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1.0)


def test_turns_about_the_long_axis_keep_the_beam_level() -> None:
    np.testing.assert_allclose(beam_axis((0.0, 0.0, 0.0)), [0, 1, 0])
    np.testing.assert_allclose(np.abs(beam_axis((0.0, 0.0, 90.0))), [0, 0, 1], atol=1e-12)
    assert beam_axis((0.0, 0.0, 50.0))[0] == 0.0


@pytest.mark.parametrize("geometry", ["parallel", "cone"])
def test_rays_have_unit_directions_and_start_on_the_plane_of_the_isocentre(
    geometry: Geometry,
) -> None:
    rays = detector_rays(Detector(20, 4.0, geometry), POSE)
    assert rays.origin_mm.shape == (40, 40, 3)
    np.testing.assert_allclose(np.linalg.norm(rays.direction, axis=-1), 1.0, atol=1e-12)
    np.testing.assert_allclose(rays.origin_mm @ beam_axis(POSE), 0.0, atol=1e-9)


def test_all_rays_of_a_cone_beam_leave_the_source() -> None:
    rays = detector_rays(Detector(20, 4.0, "cone"), POSE)
    from_source = rays.origin_mm - source_mm(POSE)
    np.testing.assert_allclose(np.cross(from_source, rays.direction), 0.0, atol=1e-9)
    assert np.linalg.norm(source_mm(POSE)) == pytest.approx(SOURCE_AXIS_MM)


@pytest.mark.parametrize("geometry", ["parallel", "cone"])
@pytest.mark.parametrize("way_mm", [-80.0, 0.0, 130.0])
def test_a_point_on_a_ray_appears_at_its_pixel(way_mm: float, geometry: Geometry) -> None:
    detector = Detector(9, 2.5, geometry)
    rays = detector_rays(detector, POSE)
    points = (rays.origin_mm + way_mm * rays.direction).reshape(-1, 3)
    position = detector_position_mm(points, POSE, detector).reshape(9, 9, 2)
    offset = (np.arange(9) - 4) * 2.5
    np.testing.assert_allclose(position[..., 0], offset[:, None].repeat(9, 1), atol=1e-9)
    np.testing.assert_allclose(position[..., 1], offset[None].repeat(9, 0), atol=1e-9)


def test_a_pixel_is_the_mean_of_its_rays() -> None:
    rays = np.arange(16.0, dtype=np.float32).reshape(4, 4)
    np.testing.assert_array_equal(pixel_means(rays, 2), [[2.5, 4.5], [10.5, 12.5]])
    np.testing.assert_array_equal(pixel_means(rays, 1), rays)


@pytest.mark.parametrize("per_pixel", [0, -1, 3])
def test_rays_that_make_no_whole_pixels_are_refused(per_pixel: int) -> None:
    with pytest.raises(ValueError, match=f"got {per_pixel} rays a side of a pixel for 4 x 4"):
        pixel_means(np.ones((4, 4), np.float32), per_pixel)


@pytest.mark.parametrize("per_pixel", [0, -1])
def test_pixels_without_rays_are_refused(per_pixel: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        detector_rays(Detector(4, 1.0), POSE, per_pixel=per_pixel)


@pytest.mark.parametrize("angle", [float("nan"), float("inf")])
def test_a_pose_that_is_no_number_is_refused(angle: float) -> None:
    with pytest.raises(ValueError, match="three finite angles"):
        detector_rays(Detector(4, 1.0), (0.0, angle, 0.0))


def test_the_box_of_the_content_is_the_smallest() -> None:
    filled = np.zeros((5, 6, 7), dtype=np.bool_)
    filled[1, 2, 3] = filled[3, 2, 6] = True
    assert content_box(filled) == (slice(1, 4), slice(2, 3), slice(3, 7))
    assert filled[content_box(filled & False)].shape == (1, 1, 1)


@pytest.mark.parametrize(
    ("size_px", "pixel_mm"), [(0, 1.0), (4, 0.0), (4, float("nan")), (4, float("inf"))]
)
def test_a_detector_without_pixels_is_refused(size_px: int, pixel_mm: float) -> None:
    with pytest.raises(ValueError, match=r"at least one pixel"):
        Detector(size_px=size_px, pixel_mm=pixel_mm)


def test_a_cone_beam_wider_than_its_method_allows_is_refused() -> None:
    Detector(256, 4.0, "parallel")
    with pytest.raises(ValueError, match="1024 mm wide at the isocentre; at most 800 mm"):
        Detector(256, 4.0, "cone")

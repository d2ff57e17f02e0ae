"""Path lengths against closed forms."""

import numpy as np
import pytest
from numpy.typing import NDArray

from dexsearch.physics.projection import (
    Detector,
    Geometry,
    Pose,
    path_lengths_cm,
    rotation_matrix,
    seen_whole,
)

POSES = [(0.0, 0.0, 0.0), (10.0, 5.0, 30.0), (30.0, -30.0, 45.0), (0.0, 0.0, 90.0)]
VOXEL_MM = 3.0


def ellipsoid(
    shape: tuple[int, int, int], radii_mm: tuple[float, float, float]
) -> NDArray[np.float32]:
    """Antialiased ellipsoid in the middle, and its voxel axes in mm."""
    axes = [(np.arange(n) - (n - 1) / 2) * VOXEL_MM for n in shape]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    scaled = np.sqrt(sum((p / r) ** 2 for p, r in zip((z, y, x), radii_mm, strict=True)))
    slope = np.sqrt(sum((p / r**2) ** 2 for p, r in zip((z, y, x), radii_mm, strict=True)))
    distance = (scaled - 1) * scaled / np.maximum(slope, 1e-9)
    return np.clip(0.5 - distance / VOXEL_MM, 0, 1).astype(np.float32)


def chords_cm(
    radii_mm: NDArray[np.float64], pose_deg: Pose, detector: Detector
) -> NDArray[np.float64]:
    """Exact chord of every pixel's central ray through an ellipsoid."""
    n = detector.size_px
    offset = (np.arange(n) - (n - 1) / 2) * detector.pixel_mm
    row, column = np.meshgrid(offset, offset, indexing="ij")
    origin = np.stack((row, np.zeros_like(row), column), -1)
    direction = np.zeros_like(origin)
    direction[..., 1] = 1.0
    if detector.geometry == "cone":
        direction = origin + np.array([0.0, 1000.0, 0.0])
        direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    turn = rotation_matrix(pose_deg)
    o, d = origin @ turn.T / radii_mm, direction @ turn.T / radii_mm
    a, b, c = (d * d).sum(-1), (o * d).sum(-1), (o * o).sum(-1) - 1
    return 2 * np.sqrt(np.maximum(b * b - a * c, 0)) / a / 10


@pytest.mark.parametrize("geometry", ["parallel", "cone"])
@pytest.mark.parametrize("pose_deg", POSES)
@pytest.mark.parametrize("radii_mm", [(60.0, 60.0, 60.0), (70.0, 40.0, 55.0)])
def test_an_ellipsoid_casts_its_chords(
    radii_mm: tuple[float, float, float], pose_deg: Pose, geometry: Geometry
) -> None:
    volume = ellipsoid((64, 60, 62), radii_mm)
    detector = Detector(size_px=48, pixel_mm=3.0, geometry=geometry)
    soft, bone = path_lengths_cm(
        volume, 0.5 * volume, voxel_mm=VOXEL_MM, pose_deg=pose_deg, detector=detector
    )
    exact = chords_cm(np.array(radii_mm), pose_deg, detector)
    inside = exact > 4.0
    error = np.abs(soft - exact)[inside]
    assert error.max() < 0.3
    assert error.mean() < 0.04
    assert soft.sum() == pytest.approx(exact.sum(), rel=4e-3)
    np.testing.assert_allclose(bone, 0.5 * soft, rtol=1e-5, atol=1e-6)


def test_a_cube_seen_from_the_front_has_one_path_length() -> None:
    volume = np.zeros((32, 32, 32), np.float32)
    volume[6:26, 6:26, 6:26] = 1.0
    soft, _ = path_lengths_cm(
        volume,
        0 * volume,
        voxel_mm=2.0,
        pose_deg=(0.0, 0.0, 0.0),
        detector=Detector(size_px=16, pixel_mm=2.0),
    )
    np.testing.assert_allclose(soft, 4.0, rtol=1e-5)


def test_pixels_wider_than_3_mm_average_over_their_area() -> None:
    volume = ellipsoid((64, 64, 64), (60.0, 60.0, 60.0))
    fine, coarse = Detector(size_px=48, pixel_mm=2.5), Detector(size_px=24, pixel_mm=5.0)
    empty = np.zeros_like(volume)
    pose_deg = (5.0, 0.0, 20.0)
    a, _ = path_lengths_cm(volume, empty, voxel_mm=3.0, pose_deg=pose_deg, detector=fine)
    b, _ = path_lengths_cm(volume, empty, voxel_mm=3.0, pose_deg=pose_deg, detector=coarse)
    np.testing.assert_allclose(b, a.reshape(24, 2, 24, 2).mean((1, 3)), atol=1e-4)


@pytest.mark.parametrize(
    ("pose_deg", "axes"), [((90.0, 0, 0), (0, 1)), ((0, 90.0, 0), (0, 2)), ((0, 0, 90.0), (1, 2))]
)
def test_quarter_turns_are_those_of_ndimage_rotate(pose_deg: Pose, axes: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    volume = rng.uniform(size=(12, 12, 12)).astype(np.float32)
    detector = Detector(size_px=12, pixel_mm=2.0)
    soft, _ = path_lengths_cm(
        volume, 0 * volume, voxel_mm=2.0, pose_deg=tuple(map(float, pose_deg)), detector=detector
    )
    from scipy.ndimage import rotate

    expected = 0.2 * rotate(volume, 90.0, axes=axes, order=1).sum(axis=1)
    np.testing.assert_allclose(soft, expected, atol=2e-3)


def test_three_rotations_compose_in_the_order_of_xray_gan() -> None:
    volume = ellipsoid((48, 48, 48), (30.0, 30.0, 30.0))
    volume = np.roll(volume, (8, -5, 6), axis=(0, 1, 2))
    pose_deg = (20.0, -15.0, 35.0)
    from scipy.ndimage import rotate

    turned = volume
    for angle, axes in zip(pose_deg, ((0, 1), (0, 2), (1, 2)), strict=True):
        turned = rotate(turned, angle, axes=axes, order=1, reshape=False)
    expected = 0.3 * turned.sum(axis=1)
    detector = Detector(size_px=48, pixel_mm=3.0)
    soft, _ = path_lengths_cm(
        volume, 0 * volume, voxel_mm=3.0, pose_deg=pose_deg, detector=detector
    )
    assert np.corrcoef(soft.ravel(), expected.ravel())[0, 1] > 0.998


def cylinder(n_slices: int) -> NDArray[np.float32]:
    """An upright cylinder of 60 mm radius, hollow, as high as its volume."""
    axis = (np.arange(50) - 24.5) * VOXEL_MM
    radius = np.hypot(axis[:, None], axis)
    disc = np.clip(0.5 - (radius - 60.0) / VOXEL_MM, 0, 1) * (radius > 20.0)
    return np.repeat(disc.astype(np.float32)[None], n_slices, axis=0)


@pytest.mark.parametrize("geometry", ["parallel", "cone"])
@pytest.mark.parametrize("pose_deg", [(0.0, 0.0, 0.0), (20.0, 0.0, 30.0), (-30.0, 30.0, 60.0)])
def test_what_a_finite_scan_shows_whole_is_what_a_longer_scan_shows(
    pose_deg: Pose, geometry: Geometry
) -> None:
    short, long = cylinder(50), cylinder(250)
    detector = Detector(size_px=40, pixel_mm=5.0, geometry=geometry)
    views = [
        path_lengths_cm(
            volume, 0 * volume, voxel_mm=VOXEL_MM, pose_deg=pose_deg, detector=detector
        )[0]
        for volume in (short, long)
    ]
    whole = seen_whole(short, 0 * short, voxel_mm=VOXEL_MM, pose_deg=pose_deg, detector=detector)
    same = np.abs(views[0] - views[1]) < 0.05
    body = views[0] > 0.5
    assert same[whole & body].all()
    if pose_deg != (0.0, 0.0, 0.0):
        assert (~same & body).any()
    assert whole[body].mean() > 0.2
    # What is left out beyond need is a rim.
    assert (same & ~whole & body).sum() < 0.2 * body.sum()


def test_a_detector_without_pixels_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at least one pixel"):
        Detector(size_px=0, pixel_mm=1.0)

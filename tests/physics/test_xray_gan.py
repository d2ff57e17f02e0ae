"""xray_GAN's recipe, against its three calls spelled out, and against the fast way."""

import functools

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from dexsearch.physics.geometry import Detector, Pose
from dexsearch.physics.parity_projection import resampling_matrix
from dexsearch.physics.projection import ProjectorKind, build_projector
from dexsearch.physics.xray_gan import (
    drr_from_lengths,
    drr_on_detector,
    file_name,
    log_image,
    own_pose,
    rotated_shape,
    rotated_sum,
    targets,
    xray_gan_poses,
)

VOXEL_MM = 2.0
SHAPE = (40, 36, 44)
POSES: list[Pose] = [
    xray_gan_poses()[index] for index in np.random.default_rng(0).choice(900, 10, replace=False)
]


@functools.cache
def smooth_body() -> NDArray[np.float32]:
    """Blobs of different size and place, nothing at the edges; in fractions of water."""
    axes = [np.arange(n) - (n - 1) / 2 for n in SHAPE]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    blobs = [(0, 0, 0, 7.0, 1.0), (6, -4, 5, 3.5, 0.6), (-7, 5, -6, 3.5, 0.8), (3, 3, -9, 3, 0.5)]
    body = sum(
        density * np.exp(-0.5 * ((z - a) ** 2 + (y - b) ** 2 + (x - c) ** 2) / width**2)
        for a, b, c, width, density in blobs
    )
    return np.where(body > 1e-4, body, 0).astype(np.float32)


@functools.cache
def ct_hu() -> NDArray[np.int16]:
    """The same body as a CT, with values below -1000 as scanners write them outside their view."""
    hu = np.round(1000 * smooth_body() - 1000).astype(np.int16)
    hu[:2, :2] = -2048
    return hu


def relative_rms(image: NDArray[np.floating], expected: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean((image - expected) ** 2) / np.mean(expected**2)))


@pytest.mark.parametrize("pose_deg", [(0.0, 0.0, 0.0), (-30.0, 15.0, 45.0), (15.0, 0.0, 175.0)])
def test_a_rotated_sum_is_bit_for_bit_its_three_calls(pose_deg: Pose) -> None:
    x, y, z = pose_deg
    volume = ct_hu().copy()
    volume[volume < -1000] = -1000
    options = {"mode": "constant", "cval": -1000, "order": 3, "reshape": True}
    volume = ndimage.rotate(volume, x, axes=(0, 1), **options)
    volume = ndimage.rotate(volume, y, axes=(0, 2), **options)
    volume = ndimage.rotate(volume, z, axes=(1, 2), **options)
    drr = rotated_sum(ct_hu(), pose_deg)
    assert drr.dtype == np.int64
    np.testing.assert_array_equal(drr, np.sum(volume, axis=1))
    assert rotated_shape(SHAPE, pose_deg) == volume.shape


@functools.cache
def view(kind: ProjectorKind, pose_deg: Pose) -> NDArray[np.float32]:
    projector = build_projector(smooth_body(), smooth_body(), voxel_mm=VOXEL_MM, kind=kind)
    return projector.path_lengths_cm(pose_deg, Detector(size_px=48, pixel_mm=VOXEL_MM))[0]


@pytest.mark.parametrize("kind", ["torch", "fast"])
@pytest.mark.parametrize("pose_deg", POSES)
def test_one_composed_turn_agrees_with_three_calls(pose_deg: Pose, kind: ProjectorKind) -> None:
    assert relative_rms(view(kind, pose_deg), view("parity", pose_deg)) < 0.01


@pytest.mark.parametrize(("size_px", "pixel_mm"), [(16, 6.0), (32, 2.9), (64, 1.5)])
def test_parity_averages_over_wide_pixels_and_fills_fine_ones(
    size_px: int, pixel_mm: float
) -> None:
    detector = Detector(size_px, pixel_mm)
    image, expected = (
        build_projector(
            smooth_body(), smooth_body(), voxel_mm=VOXEL_MM, kind=kind
        ).path_lengths_cm(POSES[0], detector)[0]
        for kind in ("parity", "fast")
    )
    assert relative_rms(image, expected) < 0.02


@pytest.mark.parametrize("pose_deg", [(20.0, 0.0, 0.0), (0.0, 20.0, 0.0), (0.0, 0.0, 20.0)])
def test_every_angle_has_its_sign(pose_deg: Pose) -> None:
    x, y, z = pose_deg
    assert relative_rms(view("fast", (x, y, z)), view("parity", pose_deg)) < 0.01
    assert relative_rms(view("fast", (-x, -y, -z)), view("parity", pose_deg)) > 0.05


def test_its_volumes_from_feet_to_head_show_our_pose_upside_down() -> None:
    pose_deg = (-30.0, 15.0, 40.0)
    its_image = rotated_sum(ct_hu()[::-1], pose_deg)
    ours = rotated_sum(ct_hu(), own_pose(pose_deg))
    assert np.abs(its_image - ours[::-1]).max() <= 3  # the splines round to whole HU
    assert own_pose(own_pose(pose_deg)) == pose_deg
    assert {own_pose(pose) for pose in xray_gan_poses()} == set(xray_gan_poses())


@pytest.mark.parametrize("pose_deg", POSES[:4])
def test_sums_of_hu_follow_from_line_integrals(pose_deg: Pose) -> None:
    detector = Detector(size_px=70, pixel_mm=VOXEL_MM)
    relative = np.maximum(ct_hu(), -1000).astype(np.float32) / 1000 + 1
    projector = build_projector(relative, relative, voxel_mm=VOXEL_MM)
    lengths, _ = projector.ray_lengths_cm(pose_deg, detector)
    drr = drr_from_lengths(lengths, shape=SHAPE, voxel_mm=VOXEL_MM, pose_deg=pose_deg)
    its_sum = rotated_sum(ct_hu(), pose_deg)
    background = -1000 * rotated_shape(SHAPE, pose_deg)[1]
    assert drr.min() == pytest.approx(background) == pytest.approx(its_sum.min(), abs=100)
    expected = drr_on_detector(
        its_sum, shape=SHAPE, voxel_mm=VOXEL_MM, pose_deg=pose_deg, detector=detector
    )
    # Its splines round every voxel to whole HU three times: a few tenths per voxel summed.
    assert relative_rms(drr - background, expected - background) < 0.01
    np.testing.assert_allclose(
        log_image(drr), log_image(expected), atol=0.01 * np.ptp(log_image(drr))
    )


@pytest.mark.parametrize("pose_deg", [(0.0, 0.0, 5.0), (30.0, -15.0, 90.0), (-15.0, 30.0, 135.0)])
def test_a_turned_volume_has_the_shape_of_scipy(pose_deg: Pose) -> None:
    for shape in ((7, 5, 9), (10, 11, 4)):
        volume = np.zeros(shape, np.float32)
        for degrees, axes in zip(pose_deg, ((0, 1), (0, 2), (1, 2)), strict=True):
            volume = ndimage.rotate(volume, degrees, axes=axes, order=0)
        assert rotated_shape(shape, pose_deg) == volume.shape


def test_log_images_and_targets_are_its_formulas() -> None:
    drr_80 = np.array([[-9000, -4000], [-2000, -3000]])
    drr_140 = np.array([[-9000, -5000], [-2500, -3500]])
    q_80, q_140 = log_image(drr_80), log_image(drr_140)
    np.testing.assert_allclose(q_80[0, 1], 10 * np.log((-13000 + 0.1) / (-11000 + 0.1)))
    assert q_80.min() == 0.0 == q_80[1, 0]
    bone, soft = targets(q_80, q_140)
    np.testing.assert_allclose(bone, 1.09 * q_80 - q_140)
    np.testing.assert_allclose(soft, q_140 - 0.7 * q_80)
    assert drr_80[0, 0] == -9000  # what was given is left as it is


def test_sums_that_are_not_of_hu_have_no_log_image() -> None:
    with pytest.raises(ValueError, match="air at -1000"):
        log_image(np.array([[-1.0, 5.0]]))


@pytest.mark.parametrize(
    ("step", "expected"),
    [(1.0, [0, 1, 2, 3, 0]), (2.0, [0, 0.25, 2, 0.75, 0]), (0.5, [1, 1.5, 2, 2.5, 3])],
)
def test_resampling_averages_over_wide_steps_and_interpolates_fine_ones(
    step: float, expected: list[float]
) -> None:
    samples = np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(resampling_matrix(3, 5, step) @ samples, expected)


def test_the_grid_has_900_different_poses_and_file_names() -> None:
    poses = xray_gan_poses()
    assert len(set(poses)) == len({file_name(pose) for pose in poses}) == 900
    assert (-30.0, 15.0, 175.0) in poses
    assert file_name((-30.0, 15.0, 45.0)) == "m30_15_45.npy"


def test_a_pose_between_degrees_has_no_file_name() -> None:
    with pytest.raises(ValueError, match="round it"):
        file_name((0.5, 0.0, 0.0))

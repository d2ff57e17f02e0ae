"""Every projector against closed forms, and against the others."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dexsearch.physics.geometry import Detector, Geometry, Pose, detector_rays, rotation_matrix
from dexsearch.physics.projection import ProjectorKind, build_projector

Array = NDArray[np.float64]
Interval = tuple[Array, Array]

VOXEL_MM = 3.0
SHAPE = (52, 46, 56)
KINDS: tuple[ProjectorKind, ...] = ("torch", "fast", "parity")
BEAMS: list[tuple[ProjectorKind, Geometry]] = [
    ("torch", "parallel"),
    ("fast", "parallel"),
    ("parity", "parallel"),
    ("torch", "cone"),
    ("fast", "cone"),
]
POSES = [(0.0, 0.0, 0.0), (10.0, 5.0, 30.0), (30.0, -30.0, 45.0), (0.0, 0.0, 90.0)]
SIDEWAYS_POSES = [*POSES, (60.0, 10.0, 5.0), (0.0, 0.0, 175.0), (-30.0, 15.0, 120.0)]


@dataclass(frozen=True)
class Solid:
    """A convex body: where a line enters and leaves it, in its own frame."""

    crossed: Callable[[Array, Array], Interval]
    centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    turned_deg: Pose = (0.0, 0.0, 0.0)

    def _own_frame(self, points: Array) -> Array:
        return (points - np.array(self.centre_mm)) @ rotation_matrix(self.turned_deg)

    def chords_cm(self, detector: Detector, pose_deg: Pose) -> Array:
        """The exact length of every ray within the solid."""
        rays = detector_rays(detector, pose_deg)
        direction = rays.direction @ rotation_matrix(self.turned_deg)
        enter, leave = self.crossed(self._own_frame(rays.origin_mm), direction)
        return np.clip(leave - enter, 0, None) / 10

    def voxels(self) -> NDArray[np.float32]:
        """The share of each voxel that is within the solid: exact along axis 2, 3 x 3 across."""
        fine = 3
        axes = [(np.arange(n * fine) + 0.5 - n * fine / 2) * VOXEL_MM / fine for n in SHAPE[:2]]
        rows, columns = np.meshgrid(*axes, indexing="ij")
        origin = np.stack((rows, columns, np.zeros_like(rows)), -1)
        direction = np.broadcast_to([0.0, 0.0, 1.0], origin.shape)
        turn = rotation_matrix(self.turned_deg)
        enter, leave = self.crossed(self._own_frame(origin), direction @ turn)
        edges = (np.arange(SHAPE[2] + 1) - SHAPE[2] / 2) * VOXEL_MM
        upto = np.clip(edges, enter[..., None], np.maximum(enter, leave)[..., None])
        share = np.diff(upto, axis=-1) / VOXEL_MM
        share = share.reshape(SHAPE[0], fine, SHAPE[1], fine, SHAPE[2]).mean((1, 3))
        return share.astype(np.float32)


def in_ball(o: Array, d: Array) -> Interval:
    """Where a line is nearer to the origin than 1; nowhere as an empty interval."""
    a = np.maximum((d * d).sum(-1), 1e-12)
    b, c = (o * d).sum(-1), (o * o).sum(-1) - 1
    half = np.sqrt(np.maximum(b * b - a * c, 0)) / a
    return -b / a - half, -b / a + half


def in_slab(o: Array, d: Array, half_mm: float) -> Interval:
    """Where a line's coordinate is within -half..half."""
    d = np.where(np.abs(d) < 1e-9, 1e-9, d)
    ends = np.stack(((-half_mm - o) / d, (half_mm - o) / d))
    return ends.min(0), ends.max(0)


def both(first: Interval, second: Interval) -> Interval:
    return np.maximum(first[0], second[0]), np.minimum(first[1], second[1])


def ellipsoid(*radii_mm: float) -> Callable[[Array, Array], Interval]:
    return lambda o, d: in_ball(o / np.array(radii_mm), d / np.array(radii_mm))


def cylinder(radius_mm: float, half_mm: float) -> Callable[[Array, Array], Interval]:
    return lambda o, d: both(
        in_ball(o[..., 1:] / radius_mm, d[..., 1:] / radius_mm),
        in_slab(o[..., 0], d[..., 0], half_mm),
    )


def cube(half_mm: float) -> Callable[[Array, Array], Interval]:
    slabs = [
        lambda o, d, axis=axis: in_slab(o[..., axis], d[..., axis], half_mm) for axis in range(3)
    ]
    return lambda o, d: functools.reduce(both, (slab(o, d) for slab in slabs))


SOLIDS = {
    "sphere": Solid(ellipsoid(45.0, 45.0, 45.0), (6.0, -4.0, 9.0)),
    "ellipsoid": Solid(ellipsoid(55.0, 25.0, 40.0), (3.0, 2.0, -5.0), (20.0, -35.0, 50.0)),
    "cylinder": Solid(cylinder(35.0, 45.0), (0.0, 4.0, 6.0), (15.0, 25.0, 0.0)),
    "cube": Solid(cube(33.0), (4.0, 1.0, -6.0)),
}


@functools.cache
def voxels(name: str) -> NDArray[np.float32]:
    return SOLIDS[name].voxels()


@pytest.mark.parametrize(("kind", "geometry"), BEAMS)
@pytest.mark.parametrize("name", SOLIDS)
def test_a_solid_casts_its_chords(name: str, kind: ProjectorKind, geometry: Geometry) -> None:
    volume = voxels(name)
    projector = build_projector(volume, 0.5 * volume, voxel_mm=VOXEL_MM, kind=kind)
    detector = Detector(size_px=56, pixel_mm=3.0, geometry=geometry)
    for pose_deg in POSES[2:3] if kind == "parity" else POSES:
        first, second = projector.path_lengths_cm(pose_deg, detector)
        exact = SOLIDS[name].chords_cm(detector, pose_deg)
        error = np.abs(first - exact)[exact > 0]
        assert np.median(error) < 0.04
        if name != "cube":  # whose faces end between two pixels
            assert error.mean() < 0.075
        assert first.sum() == pytest.approx(exact.sum(), rel=2e-3)
        np.testing.assert_allclose(second, 0.5 * first, atol=2e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_parallel_view_holds_all_of_the_volume(kind: ProjectorKind) -> None:
    volume = voxels("ellipsoid")
    projector = build_projector(volume, 0 * volume, voxel_mm=VOXEL_MM, kind=kind)
    detector = Detector(size_px=90, pixel_mm=2.0)
    whole_cm3 = volume.sum(dtype=np.float64) * (0.1 * VOXEL_MM) ** 3
    for pose_deg in POSES[1:3]:
        seen_cm3 = projector.path_lengths_cm(pose_deg, detector)[0].sum(dtype=np.float64) * 0.2**2
        assert seen_cm3 == pytest.approx(whole_cm3, rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cube_seen_from_the_front_has_one_path_length(kind: ProjectorKind) -> None:
    volume = np.zeros((32, 32, 32), np.float32)
    volume[6:26, 6:26, 6:26] = 1.0
    projector = build_projector(volume, 0 * volume, voxel_mm=2.0, kind=kind)
    soft, bone = projector.path_lengths_cm((0.0, 0.0, 0.0), Detector(size_px=16, pixel_mm=2.0))
    np.testing.assert_allclose(soft, 4.0, rtol=1e-4)
    assert not bone.any()


@pytest.mark.parametrize("geometry", ["parallel", "cone"])
@pytest.mark.parametrize("shape", [(24, 17, 30), (9, 40, 12)])
def test_the_compiled_projector_equals_the_one_of_torch(
    shape: tuple[int, int, int], geometry: Geometry
) -> None:
    rng = np.random.default_rng(0)
    first, second = rng.uniform(size=(2, *shape)).astype(np.float32)
    first[: shape[0] // 3] = second[: shape[0] // 3] = 0.0  # the filled box is off centre
    fast, slow = (
        build_projector(first, second, voxel_mm=2.0, kind=kind) for kind in ("fast", "torch")
    )
    detector = Detector(size_px=32, pixel_mm=1.9, geometry=geometry)
    for pose_deg in SIDEWAYS_POSES:
        for a, b in zip(
            fast.ray_lengths_cm(pose_deg, detector),
            slow.ray_lengths_cm(pose_deg, detector),
            strict=True,
        ):
            np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("kind", ["torch", "fast"])
def test_pixels_wider_than_3_mm_average_over_their_area(kind: ProjectorKind) -> None:
    volume = voxels("sphere")
    fine, coarse = Detector(size_px=48, pixel_mm=2.5), Detector(size_px=24, pixel_mm=5.0)
    projector = build_projector(volume, 0 * volume, voxel_mm=3.0, kind=kind)
    a, _ = projector.path_lengths_cm((5.0, 0.0, 20.0), fine)
    b, _ = projector.path_lengths_cm((5.0, 0.0, 20.0), coarse)
    np.testing.assert_allclose(b, a.reshape(24, 2, 24, 2).mean((1, 3)), atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("pose_deg", "axes"),
    [((90.0, 0.0, 0.0), (0, 1)), ((0.0, 90.0, 0.0), (0, 2)), ((0.0, 0.0, 90.0), (1, 2))],
)
def test_quarter_turns_are_those_of_ndimage_rotate(
    pose_deg: Pose, axes: tuple[int, int], kind: ProjectorKind
) -> None:
    rng = np.random.default_rng(0)
    volume = rng.uniform(size=(12, 12, 12)).astype(np.float32)
    detector = Detector(size_px=12, pixel_mm=2.0)
    projector = build_projector(volume, 0 * volume, voxel_mm=2.0, kind=kind)
    soft, _ = projector.path_lengths_cm(pose_deg, detector)
    from scipy.ndimage import rotate

    expected = 0.2 * rotate(volume, 90.0, axes=axes, order=1).sum(axis=1)
    np.testing.assert_allclose(soft, expected, atol=2e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_volume_casts_nothing(kind: ProjectorKind) -> None:
    empty = np.zeros((5, 6, 7), np.float32)
    projector = build_projector(empty, empty, voxel_mm=1.0, kind=kind)
    lengths = projector.ray_lengths_cm((10.0, 0.0, 30.0), Detector(size_px=8, pixel_mm=1.0))
    assert not np.any(lengths)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
@pytest.mark.parametrize("geometry", ["parallel", "cone"])
def test_a_gpu_sees_what_the_processor_sees(geometry: Geometry) -> None:
    volume = voxels("ellipsoid")
    detector = Detector(size_px=64, pixel_mm=2.0, geometry=geometry)
    here, there = (
        build_projector(volume, 0.3 * volume, voxel_mm=VOXEL_MM, kind="torch", device=device)
        for device in (torch.device("cpu"), torch.device("cuda"))
    )
    for pose_deg in POSES:
        np.testing.assert_allclose(
            here.ray_lengths_cm(pose_deg, detector),
            there.ray_lengths_cm(pose_deg, detector),
            atol=1e-4,
        )

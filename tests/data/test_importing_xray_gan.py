"""A full synthetic copy of xray_GAN's output: 900 poses, its file names, shapes and values.

An ellipsoid torso with a rod of bone stands for its phantom. Its three rotations of a volume,
each of which enlarges the array, become the exact shapes and chord lengths that they lead to.
"""

import itertools
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dexsearch.data.foreign import find_folders
from dexsearch.data.importing import body_mask, import_pairs
from dexsearch.data.splits import Pose
from dexsearch.data.store import Dataset
from dexsearch.physics.geometry import beam_axis
from dexsearch.physics.poses import xray_gan_poses

VOLUME_PX = (34, 24, 30)  # feet to head, front to back, side to side
TORSO_PX, BONE_PX = (15.0, 10.0, 13.0), (13.0, 2.0, 2.0)  # half axes
AIR_HU, TORSO_HU, BONE_HU = -1000.0, 0.0, {80: 1400.0, 120: 1000.0, 140: 900.0}
SIZE_PX = 56
TURNED_AXES = ((0, 1), (0, 2), (1, 2))
SUBSETS = ("train", "validation", "holdout")


def turned(pose_deg: Pose) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """Return the shape after three calls of ndimage.rotate with reshape, and `in = R out`."""
    shape, matrix = np.array(VOLUME_PX), np.eye(3)
    for angle, (i, j) in zip(np.deg2rad(pose_deg), TURNED_AXES, strict=True):
        cosine, sine = np.cos(angle), np.sin(angle)
        step = np.eye(3)
        step[i, i], step[j, j], step[i, j], step[j, i] = cosine, cosine, sine, -sine
        sides = np.abs([[cosine, sine], [sine, cosine]]) @ shape[[i, j]]
        shape[[i, j]] = (sides + 0.5).astype(int)
        matrix = matrix @ step
    return (int(shape[0]), int(shape[1]), int(shape[2])), matrix


def chords_px(
    half_axes: tuple[float, float, float], shape: tuple[int, int, int],
    matrix: NDArray[np.float64],
) -> NDArray[np.float64]:  # fmt: skip
    """Return the length of every ray along axis 1 inside a turned ellipsoid."""
    rows = np.arange(shape[0])[:, None] - (shape[0] - 1) / 2
    columns = np.arange(shape[2])[None, :] - (shape[2] - 1) / 2
    scaled = matrix / np.array(half_axes)[:, None]
    start = scaled[:, 0, None, None] * rows + scaled[:, 2, None, None] * columns
    direction = scaled[:, 1]
    a, b = direction @ direction, np.tensordot(direction, start, 1)
    inside = b**2 - a * ((start**2).sum(axis=0) - 1)
    return 2 * np.sqrt(np.maximum(inside, 0)) / a


def log_images(pose_deg: Pose) -> dict[int, NDArray[np.float64]]:
    """Return xray_GAN's 10 ln(..) of the summed HU by kV; low where dense."""
    shape, matrix = turned(pose_deg)
    torso, bone = (chords_px(axes, shape, matrix) for axes in (TORSO_PX, BONE_PX))
    images = {}
    for kvp, bone_hu in BONE_HU.items():
        drr = shape[1] * AIR_HU + (TORSO_HU - AIR_HU) * torso + (bone_hu - TORSO_HU) * bone
        drr = drr + drr.min()
        images[kvp] = 10 * np.log((drr + 0.1) / (drr.max() + 0.1))
    return images


def pair(pose_deg: Pose) -> dict[str, NDArray[np.float64]]:
    low, mid, high = (log_images(pose_deg)[kvp] for kvp in (80, 120, 140))
    return {"single_energy": mid, "bone": -(high - 1.09 * low), "soft_tissue": high - 0.7 * low}


def name_of(pose_deg: Pose) -> str:
    return "_".join(f"{angle:g}".replace("-", "m") for angle in pose_deg) + ".npy"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("xray_gan") / "output"
    for index, pose in enumerate(xray_gan_poses()):
        for folder, image in pair(pose).items():
            (source / folder).mkdir(parents=True, exist_ok=True)
            # Every other pose in whole thousandths, as integer arrays are stored too.
            values = image if index % 2 else np.round(1000 * image).astype(np.int64)
            np.save(source / folder / name_of(pose), values)
    return source


@pytest.fixture(scope="module")
def dataset(copy: Path) -> Dataset:
    return import_pairs(copy.parent / "dataset", find_folders(copy), size_px=SIZE_PX)


def test_the_shapes_are_those_of_the_rotation() -> None:
    from scipy import ndimage

    for pose in ((-30.0, 15.0, 45.0), (30.0, 30.0, 175.0), (0.0, 0.0, 90.0)):
        volume = np.full(VOLUME_PX, 1.0)
        for angle, axes in zip(pose, TURNED_AXES, strict=True):
            volume = ndimage.rotate(volume, angle, axes=axes, order=0)
        assert turned(pose)[0] == volume.shape


def test_the_values_are_those_of_the_recipe() -> None:
    """Against its own three calls on voxels, for one pose."""
    from scipy import ndimage

    pose = (15.0, -30.0, 40.0)
    scale = 3
    centred = [np.arange(scale * n) - (scale * n - 1) / 2 for n in VOLUME_PX]
    grid = np.meshgrid(*(c / scale for c in centred), indexing="ij")
    hu = np.full([scale * n for n in VOLUME_PX], AIR_HU)
    for axes_px, value in ((TORSO_PX, TORSO_HU), (BONE_PX, BONE_HU[120])):
        hu[sum((g / r) ** 2 for g, r in zip(grid, axes_px, strict=True)) < 1] = value
    for angle, axes in zip(pose, TURNED_AXES, strict=True):
        hu = ndimage.rotate(hu, angle, axes=axes, order=1, cval=AIR_HU)
    drr = hu.sum(axis=1)
    drr = drr + drr.min()
    theirs = 10 * np.log((drr + 0.1) / (drr.max() + 0.1))
    ours = log_images(pose)[120]
    assert theirs.max() == pytest.approx(ours.max(), abs=0.15)
    assert np.ptp(theirs) == pytest.approx(np.ptp(ours), rel=0.05)


@pytest.mark.slow
def test_all_900_poses_are_imported_and_counted(copy: Path, dataset: Dataset) -> None:
    manifest = dataset.manifest
    assert manifest.source["n_images"] == 900
    assert manifest.n_images + manifest.left_out["guard_band"] == 900
    assert manifest.one_volume
    assert "guard band 15 degrees" in manifest.split_rule
    largest = max(max(np.load(path, mmap_mode="r").shape) for path in copy.glob("*/*.npy"))
    assert manifest.source["common_px"] == largest


@pytest.mark.slow
def test_the_blocks_of_poses_keep_their_distance(dataset: Dataset) -> None:
    beams = {
        subset: np.stack([beam_axis(info.pose_deg) for info in dataset.manifest.images[subset]])
        for subset in SUBSETS
    }
    for one, other in itertools.combinations(beams.values(), 2):
        cosines = np.clip(np.abs(one @ other.T), 0, 1)
        assert np.rad2deg(np.arccos(cosines)).min() >= 15 - 1e-6
    poses = [info.pose_deg for infos in dataset.manifest.images.values() for info in infos]
    assert set(poses) <= set(xray_gan_poses())
    assert len(set(poses)) == len(poses)


@pytest.mark.slow
def test_values_keep_the_file_s_unit_and_low_stays_dense(dataset: Dataset) -> None:
    train = dataset.arrays("train")
    for row, info in enumerate(dataset.manifest.images["train"]):
        in_file = pair(info.pose_deg)["single_energy"]
        index = xray_gan_poses().index(info.pose_deg)
        scale = 1.0 if index % 2 else 1000.0
        assert train.input[row, 0, 0] / scale == pytest.approx(in_file[0, 0], rel=1e-3)
        body = train.mask[row]
        assert train.input[row][body].mean() < train.input[row, 0, 0]
        assert train.input[row].min() / scale >= in_file.min() * 1.001 - 0.01


@pytest.mark.slow
def test_the_body_is_found_in_every_pose(dataset: Dataset) -> None:
    side_px = dataset.manifest.source["common_px"]
    train = dataset.arrays("train")
    for row, info in enumerate(dataset.manifest.images["train"]):
        shape, matrix = turned(info.pose_deg)
        shadow_px = np.count_nonzero(chords_px(TORSO_PX, shape, matrix))
        found_px = train.mask[row].sum() * (side_px / SIZE_PX) ** 2
        assert found_px == pytest.approx(shadow_px, rel=0.15)


def test_the_body_is_found_whichever_way_the_values_run() -> None:
    image = pair((0.0, 15.0, 30.0))["single_energy"].astype(np.float32)
    assert np.array_equal(body_mask(image), body_mask(-image))
    assert 0.2 < body_mask(image).mean() < 0.9


def test_published_names_are_read(shared_data: Path) -> None:
    """The published pictures are named after the arrays that they show."""
    from dexsearch.data.foreign import pose_from_name

    paths = sorted((shared_data / "xray_gan_samples").glob("*/*.png"))
    names = {path.name.split(".npy")[0] + ".npy" for path in paths}
    assert {pose_from_name(Path(name)) for name in names} <= set(xray_gan_poses())

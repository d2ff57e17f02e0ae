"""Import of xray_GAN's layout: .npy files in three folders, sizes that differ between poses."""

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest

from dexsearch.data.foreign import find_folders, find_pairs, pose_from_name
from dexsearch.data.importing import import_pairs, pad_square, shrink
from dexsearch.data.store import Dataset, open_dataset
from dexsearch.errors import DataError
from dexsearch.physics.xray_gan import file_name, xray_gan_poses

POSES = tuple(itertools.product((-15, 0), (30,), range(0, 176, 15)))
AIR = -1000.0 * 64


def name_of(pose: tuple[int, int, int]) -> str:
    return "_".join(str(angle).replace("-", "m") for angle in pose) + ".npy"


def write_pose(source: Path, pose: tuple[int, int, int], *, integer: bool) -> None:
    """A round body of radius 20 px in air; the detector grows with the turn."""
    rows, columns = 60 + pose[2] // 15, 50 + pose[2] // 5
    y, x = np.mgrid[0:rows, 0:columns]
    body = (y - rows / 2) ** 2 + (x - columns / 2) ** 2 < 20**2
    bone = body * (50 + 50 * np.sin(y / 3 + pose[2]))
    tissue = body * (1000.0 + 10 * np.cos(x / 5))
    images = {
        "120kV": AIR + 30 * tissue + 60 * bone,
        "Bone": bone,
        "soft-tissue": tissue - 3,
    }
    for folder, image in images.items():
        (source / folder).mkdir(parents=True, exist_ok=True)
        np.save(source / folder / name_of(pose), image.astype("int64" if integer else "float64"))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for index, pose in enumerate(POSES):
        write_pose(tmp_path / "src", pose, integer=index % 2 == 0)
    return tmp_path / "src"


def imported(source: Path, *, size_px: int = 64, out: str = "out") -> Dataset:
    return import_pairs(source.parent / out, find_folders(source), size_px=size_px)


def test_one_volume_is_split_into_blocks_of_poses_with_a_guard_band(source: Path) -> None:
    manifest = imported(source).manifest
    assert manifest.kind == "import"
    assert manifest.one_volume
    assert "guard band 15 degrees" in manifest.split_rule
    turns = {
        subset: {info.pose_deg[2] for info in infos} for subset, infos in manifest.images.items()
    }
    for one, other in itertools.combinations(turns.values(), 2):
        assert min(abs(a - b) for a, b in itertools.product(one, other)) >= 15
    assert manifest.size_px == (64, 64)
    assert open_dataset(source.parent / "out").manifest == manifest


def test_the_pixel_scale_is_the_same_in_every_pose(source: Path) -> None:
    dataset = imported(source, size_px=85)
    side_px = dataset.manifest.source["common_px"]
    expected = np.pi * 20**2 * (85 / side_px) ** 2
    areas = dataset.arrays("train").mask.sum(axis=(1, 2))
    assert areas == pytest.approx(expected, rel=0.03)


def test_values_keep_their_unit_and_the_padding_is_background(source: Path) -> None:
    dataset = imported(source, size_px=85)
    train = dataset.arrays("train")
    assert train.input[:, 0, 0] == pytest.approx(AIR, rel=1e-6)
    assert train.tissue[:, 0, 0] == pytest.approx(-3)
    middle = train.tissue[:, 42, 42]
    assert middle == pytest.approx(997, abs=12)
    assert not train.mask[:, 0, :].any()
    assert train.mask[:, 42, 42].all()


def test_one_volume_is_said_to_be_one(source: Path) -> None:
    notes: list[str] = []
    import_pairs(source.parent / "out", find_folders(source), size_px=64, tell=notes.append)
    assert notes == [
        "the names of 24 files are angles x_y_z, so they count as views of one volume; "
        "--subject-pattern tells subjects by name"
    ]


def test_importing_again_gives_the_same_dataset(source: Path) -> None:
    first = imported(source)
    assert imported(source) == first
    assert imported(source, out="again").manifest == first.manifest
    np.save(source / "Bone" / name_of(POSES[0]), np.ones((60, 50)))
    with pytest.raises(DataError, match="already holds a dataset with content_sha256"):
        imported(source)


@pytest.mark.parametrize(
    ("name", "pose"),
    [
        ("m30_15_45.npy", (-30, 15, 45)),
        ("0_m15_175.png", (0, -15, 175)),
        ("-7.5_0_2.25.npy", (-7.5, 0, 2.25)),
        ("m0_0_0.npy", (0, 0, 0)),
    ],
)
def test_the_pose_is_read_from_the_name(name: str, pose: tuple[float, ...]) -> None:
    assert pose_from_name(Path(name)) == pose


def test_every_name_of_the_grid_of_xray_gan_tells_the_pose_again() -> None:
    poses = xray_gan_poses()
    assert [pose_from_name(Path(file_name(pose))) for pose in poses] == list(poses)


@pytest.mark.parametrize("name", ["30_15.npy", "a_b_c.npy", "m_15_45.npy"])
def test_a_name_that_tells_no_pose_is_refused(name: str) -> None:
    with pytest.raises(DataError):
        pose_from_name(Path(name))


def missing_partner(source: Path) -> None:
    (source / "Bone" / name_of(POSES[3])).unlink()


def nan_pixel(source: Path) -> None:
    np.save(source / "Bone" / name_of(POSES[-1]), np.full((71, 83), np.nan))


def pickled(source: Path) -> None:
    np.save(source / "Bone" / name_of(POSES[-1]), np.array([None]), allow_pickle=True)


def unreadable(source: Path) -> None:
    (source / "120kV" / name_of(POSES[-1])).write_bytes(b"rubbish")


def other_size(source: Path) -> None:
    np.save(source / "soft-tissue" / name_of(POSES[-1]), np.zeros((5, 5)))


def three_dimensions(source: Path) -> None:
    np.save(source / "soft-tissue" / name_of(POSES[-1]), np.zeros((5, 5, 5)))


def odd_name(source: Path) -> None:
    for folder in source.iterdir():
        shutil.copy(folder / name_of(POSES[0]), folder / "view.npy")


def same_pose_twice(source: Path) -> None:
    for folder in source.iterdir():
        shutil.copy(folder / name_of(POSES[-1]), folder / "0_30_165.0.npy")


def flat_target(source: Path) -> None:
    np.save(source / "Bone" / name_of(POSES[-1]), np.ones((71, 83)))


def half_in_sub_folders(source: Path) -> None:
    for folder in source.iterdir():
        (folder / "more").mkdir()
        (folder / name_of(POSES[0])).rename(folder / "more" / name_of(POSES[0]))


def flat_input(source: Path) -> None:
    np.save(source / "120kV" / name_of(POSES[-1]), np.zeros((71, 83)))


def stray_file(source: Path) -> None:
    (source / "Bone" / "notes.txt").touch()


def no_bone_folder(source: Path) -> None:
    (source / "Bone").rename(source / "skeleton")


def two_bone_folders(source: Path) -> None:
    shutil.copytree(source / "Bone", source / "bones")


def empty_folder(source: Path) -> None:
    shutil.rmtree(source / "Bone")
    (source / "Bone").mkdir()


def few_poses(source: Path) -> None:
    for folder in source.iterdir():
        for path in folder.iterdir():
            if pose_from_name(path)[2] > 15:
                path.unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (missing_partner, r"Bone: the bone image of m15_30_45 is missing"),
        (nan_pixel, r"Bone/0_30_165\.npy: 5893 of 5893 pixels are NaN"),
        (pickled, r"Bone/0_30_165\.npy: holds pickled"),
        (unreadable, r"120kV/0_30_165\.npy: not a readable"),
        (other_size, r"soft-tissue/0_30_165\.npy: is 5 x 5 px, but .* is 71 x 83"),
        (three_dimensions, r"soft-tissue/0_30_165\.npy: has shape \(5, 5, 5\)"),
        (odd_name, "image 'view': expected a name of three angles"),
        (same_pose_twice, "of the same pose"),
        (flat_input, r"120kV/0_30_165\.npy: every pixel is 0"),
        (flat_target, r"Bone/0_30_165\.npy: every pixel is 1"),
        (half_in_sub_folders, "lies beside sub-folders"),
        (stray_file, r"Bone/notes\.txt: not an image; known formats: \.npy, \.png"),
        (no_bone_folder, "folder of bone images is not among the folders: 120kV, skeleton, soft"),
        (two_bone_folders, "folder of bone images could be any of: Bone, bones"),
        (empty_folder, "Bone: holds no images"),
        (few_poses, "leave the .* block empty"),
        (shutil.rmtree, "src: does not exist"),
    ],
)
def test_what_cannot_be_imported_is_named_and_nothing_is_written(
    source: Path, spoil: object, message: str
) -> None:
    spoil(source)  # type: ignore[operator]
    with pytest.raises(DataError, match=message) as hit:
        imported(source)
    assert "\n" not in str(hit.value)
    assert hit.value.exit_code == 7
    assert {path.name for path in source.parent.iterdir()} <= {"src"}


def test_a_folder_can_be_named_by_hand(source: Path) -> None:
    no_bone_folder(source)
    folders = find_folders(source, bone_dir=Path("skeleton"))
    assert len(find_pairs(folders).pairs) == len(POSES)
    with pytest.raises(DataError, match="--bone-dir 'nowhere' is no folder"):
        find_folders(source, bone_dir=Path("nowhere"))


@pytest.mark.parametrize("size_px", [15, 2049])
def test_an_absurd_size_is_refused(source: Path, size_px: int) -> None:
    with pytest.raises(DataError, match="16 to 2048 px"):
        imported(source, size_px=size_px)


def test_padding_centres_and_shrinking_keeps_the_mean() -> None:
    image = np.arange(12, dtype=np.float32).reshape(3, 4)
    square = pad_square(image, 6, value=7.0)
    assert np.array_equal(square[1:4, 1:5], image)
    assert (square == 7.0).sum() >= 36 - 12
    rough = np.random.default_rng(0).normal(3, 1, (64, 64)).astype(np.float32)
    assert shrink(rough, 16).mean() == pytest.approx(rough.mean(), abs=0.02)
    assert shrink(rough, 16).std() < 0.5

"""Several CTs of one patient at different tube voltages, and the user's bone mask."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from dexsearch.errors import ConfigurationError, DataError
from dexsearch.physics.attenuation import effective_attenuation_per_cm
from dexsearch.volumes.body import body_mask
from dexsearch.volumes.ct import load_ct
from dexsearch.volumes.phantom import phantom_subject
from dexsearch.volumes.subject import Subject

VOXEL_MM = 12.0
VOLTAGES = (80.0, 120.0, 140.0)
AFFINE = np.diag([-VOXEL_MM, -VOXEL_MM, -VOXEL_MM, 1.0])
"""Our axes in reverse order: the patient's right to left, front to back, head to feet."""


@pytest.fixture(scope="module")
def phantom() -> Subject:
    return phantom_subject(0, 0, voxel_mm=VOXEL_MM)


def hu_at(subject: Subject, kvp: float) -> NDArray[np.float32]:
    mu = subject.soft * effective_attenuation_per_cm("soft_tissue", kvp)
    mu = mu + subject.bone * effective_attenuation_per_cm("cortical_bone", kvp)
    water = effective_attenuation_per_cm("water", kvp)
    return np.asarray(1000 * (mu / water - 1), np.float32)


def write(path: Path, ours: NDArray[np.generic], affine: NDArray[np.float64] = AFFINE) -> Path:
    nibabel.save(nibabel.Nifti1Image(ours.transpose(2, 1, 0), affine), path)
    return path


@pytest.fixture(scope="module")
def scans(phantom: Subject, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("scans")
    return [write(folder / f"ct{kvp:g}.nii", hu_at(phantom, kvp)) for kvp in VOLTAGES]


@pytest.mark.parametrize("chosen", [(0, 2), (0, 1, 2), (2, 0)])
def test_a_phantom_is_recovered_from_its_cts(
    phantom: Subject, scans: list[Path], chosen: tuple[int, ...]
) -> None:
    kvp = [VOLTAGES[index] for index in chosen]
    subject = load_ct([scans[index] for index in chosen], kvp=kvp)
    inside = body_mask(*[hu_at(phantom, one) for one in kvp])
    np.testing.assert_allclose(subject.soft[inside], phantom.soft[inside], atol=1e-5)
    np.testing.assert_allclose(subject.bone[inside], phantom.bone[inside], atol=1e-5)
    assert not subject.soft[~inside].any()
    assert subject.name == scans[chosen[0]].stem


def test_one_ct_cannot_tell_dense_soft_tissue_from_bone_and_two_can(
    phantom: Subject, scans: list[Path]
) -> None:
    single = load_ct(scans[1], kvp=120)
    assert np.abs(single.bone - phantom.bone).max() > 0.01
    assert not single.scans


def test_the_scans_are_kept_on_the_grid_of_the_bases(phantom: Subject, scans: list[Path]) -> None:
    subject = load_ct(scans, kvp=VOLTAGES, voxel_mm=2 * VOXEL_MM)
    assert list(subject.scans) == list(VOLTAGES)
    for kvp, relative in subject.scans.items():
        assert relative.shape == subject.soft.shape
        assert relative.dtype == np.float32
        mu = subject.soft * effective_attenuation_per_cm("soft_tissue", kvp)
        mu = mu + subject.bone * effective_attenuation_per_cm("cortical_bone", kvp)
        water = effective_attenuation_per_cm("water", kvp)
        np.testing.assert_allclose(relative, mu / water, atol=2e-5)


def test_noisy_cts_give_no_negative_fraction(phantom: Subject, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    paths = []
    for kvp in (80.0, 140.0):
        hu = hu_at(phantom, kvp)
        paths.append(write(tmp_path / f"{kvp:g}.nii", hu + rng.normal(0, 20, hu.shape)))
    subject = load_ct(paths, kvp=(80, 140))
    assert subject.bone.min() == 0.0
    assert subject.soft.min() == 0.0
    inside = phantom.soft > 0.9
    assert np.abs(subject.bone - phantom.bone)[inside].mean() < 0.05


def dense(hu: dict[float, float]) -> dict[float, NDArray[np.int16]]:
    """A body in air with a block of bone, of these HU by tube voltage."""
    bodies = {}
    for kvp, bone_hu in hu.items():
        body = np.full((10, 20, 20), -1000, np.int16)
        body[1:9, 2:18, 2:18] = 40
        body[2:8, 6:12, 6:12] = bone_hu
        bodies[kvp] = body
    return bodies


def test_cts_whose_bone_does_not_fall_with_the_voltage_are_refused(tmp_path: Path) -> None:
    bodies = dense({80.0: 700, 120.0: 560, 140.0: 520})
    paths = [write(tmp_path / f"{kvp:g}.nii", body) for kvp, body in bodies.items()]
    assert load_ct(paths, kvp=(80, 120, 140)).bone.max() > 0.2
    found = r"80.nii 700 HU at 140 kVp, .*120.nii 560 HU at 120 kVp, .*140.nii 520 HU at 80 kVp"
    with pytest.raises(ConfigurationError, match=found) as refusal:
        load_ct(paths, kvp=(140, 120, 80))
    assert "--ct-kvp" in str(refusal.value.hint)
    with pytest.raises(ConfigurationError, match="falls as the tube voltage rises"):
        load_ct(paths[1:], kvp=(120, 80))
    with pytest.raises(ConfigurationError, match="falls as the tube voltage rises"):
        load_ct([paths[0], paths[0]], kvp=(80, 120))


def test_without_dense_voxels_any_order_is_taken(tmp_path: Path) -> None:
    bodies = dense({80.0: 250, 140.0: 200})
    paths = [write(tmp_path / f"{kvp:g}.nii", body) for kvp, body in bodies.items()]
    assert not load_ct(paths, kvp=(140, 80)).bone[:, 7, 7].any()


def test_several_cts_may_have_one_file_name(tmp_path: Path) -> None:
    paths = []
    for kvp, body in dense({80.0: 700, 140.0: 520}).items():
        (tmp_path / f"{kvp:g}").mkdir()
        paths.append(write(tmp_path / f"{kvp:g}" / "ct.nii.gz", body))
    subject = load_ct(paths, kvp=(80, 140))
    assert subject.name == "ct"
    assert list(subject.scans) == [80, 140]


def test_noise_of_several_cts_is_averaged_before_negatives_go(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    paths = []
    for kvp in (80.0, 140.0):
        hu = np.full((30, 36, 36), -1000.0)
        hu[:, 3:33, 3:33] = 55
        hu[:, 9:27, 9:27] = -990
        noisy = np.rint(hu + rng.normal(0, 60, hu.shape)).astype(np.int16)
        paths.append(write(tmp_path / f"{kvp:g}.nii", noisy, np.diag([-1.0, -1, -1, 1])))
    fine = load_ct(paths, kvp=(80, 140))
    coarse = load_ct(paths, kvp=(80, 140), voxel_mm=3.0)
    at_front = fine.bone[3:27, 4:8, 5:30].mean()
    assert at_front > 0.04
    assert coarse.bone[1:9, 2, 2:10].mean() < 0.25 * at_front
    # Half of the noise of air lies below air; cut off too early, it would stay as 0.029.
    for relative in coarse.scans.values():
        assert relative[:, 5:7, 5:7].mean() < 0.015


@pytest.mark.parametrize(
    ("kvp", "message"),
    [
        (None, "tube voltage unknown, unknown kVp; one known"),
        (120, "one known tube voltage per CT"),
        ((80, 120, 140), "one known tube voltage per CT"),
        ((120, 120), "must differ in tube voltage"),
        ((120, 125), "lowest and highest by 10 kV"),
        ((80, 150), r"the tables hold 60\.\.140 kVp"),
    ],
)
def test_voltages_that_do_not_fit_are_refused(
    scans: list[Path], kvp: float | tuple[float, ...] | None, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message) as refusal:
        load_ct([scans[0], scans[2]], kvp=kvp)
    assert refusal.value.hint


@pytest.mark.parametrize(
    ("crop", "affine", "message"),
    [
        (1, AFFINE, r"voxels \(head to feet"),
        (0, AFFINE * [1, 1, 1.1, 1], "voxels of 13.2 x 12 x 12 mm"),
        (0, AFFINE + np.array([[0, 0, 0, 9], *[[0] * 4] * 3]), "its centre at"),
    ],
)
def test_cts_on_other_grids_are_refused(
    phantom: Subject,
    scans: list[Path],
    tmp_path: Path,
    crop: int,
    affine: NDArray[np.float64],
    message: str,
) -> None:
    other = write(tmp_path / "other.nii", hu_at(phantom, 140.0)[crop:], affine)
    with pytest.raises(DataError, match=message) as refusal:
        load_ct([scans[0], other], kvp=(80, 140))
    assert "other.nii" in str(refusal.value)
    assert "ct80.nii" in str(refusal.value)
    assert refusal.value.hint
    with pytest.raises(DataError, match=message):
        load_ct(scans[0], bone_mask=other)


def test_no_ct_at_all_is_refused() -> None:
    with pytest.raises(DataError, match="got no CT"):
        load_ct([])


@pytest.mark.parametrize("chosen", [(1,), (0, 2)])
def test_outside_the_bone_mask_is_no_bone_and_inside_is_the_same(
    phantom: Subject, scans: list[Path], tmp_path: Path, chosen: tuple[int, ...]
) -> None:
    kvp = [VOLTAGES[index] for index in chosen]
    paths = [scans[index] for index in chosen]
    marked = np.zeros(phantom.soft.shape, np.uint8)
    marked[: len(marked) // 2] = 1
    mask = write(tmp_path / "mask.nii.gz", marked)
    whole, masked = load_ct(paths, kvp=kvp), load_ct(paths, kvp=kvp, bone_mask=mask)
    inside = marked == 1
    np.testing.assert_array_equal(masked.bone[inside], whole.bone[inside])
    np.testing.assert_array_equal(masked.soft[inside], whole.soft[inside])
    assert whole.bone[~inside].max() > 0.05
    assert not masked.bone[~inside].any()
    if len(kvp) == 1:
        mu = masked.soft * effective_attenuation_per_cm("soft_tissue", kvp[0])
        mu_whole = whole.soft * effective_attenuation_per_cm("soft_tissue", kvp[0])
        mu_whole += whole.bone * effective_attenuation_per_cm("cortical_bone", kvp[0])
        np.testing.assert_allclose(mu[~inside], mu_whole[~inside], atol=1e-5)


@pytest.mark.parametrize(
    ("value", "message"), [(0, "marks no voxel as bone"), (7, "values such as 7")]
)
def test_a_mask_that_is_empty_or_holds_other_values_is_refused(
    phantom: Subject, scans: list[Path], tmp_path: Path, value: int, message: str
) -> None:
    mask = write(tmp_path / "mask.nii", np.full(phantom.soft.shape, value, np.int16))
    with pytest.raises(DataError, match=message) as refusal:
        load_ct(scans[0], bone_mask=mask)
    assert "mask.nii" in str(refusal.value)
    assert refusal.value.hint


@pytest.mark.parametrize("kvp", [(120.0,), (80.0, 140.0)])
def test_a_bone_mask_counts_by_its_share_in_coarser_voxels(
    tmp_path: Path, kvp: tuple[float, ...]
) -> None:
    hu = {one: np.full((12, 24, 24), -1000, np.int16) for one in kvp}
    for bone_hu, body in zip((700, 520), hu.values(), strict=False):
        body[:, 2:22, 2:22] = 40
        body[:, 7:12, 7:17] = bone_hu
    paths = [write(tmp_path / f"{one:g}.nii", body) for one, body in hu.items()]
    marked = np.zeros((12, 24, 24), np.uint8)
    marked[:, :, 12:] = 1
    mask = write(tmp_path / "mask.nii", marked)
    whole = load_ct(paths, kvp=kvp, voxel_mm=3 * VOXEL_MM)
    masked = load_ct(paths, kvp=kvp, voxel_mm=3 * VOXEL_MM, bone_mask=mask)
    assert masked.bone.sum() == pytest.approx(0.5 * whole.bone.sum(), rel=0.02)
    np.testing.assert_allclose(masked.bone[..., 6:], whole.bone[..., 6:], atol=1e-5)
    assert not masked.bone[..., :2].any()

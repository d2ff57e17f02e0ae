"""A CT as a subject: orientation, cubes, and what is refused."""

import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from dexsearch.errors import ConfigurationError, DataError
from dexsearch.physics.geometry import Detector
from dexsearch.physics.projection import build_projector
from dexsearch.volumes.ct import ct_info, ct_sha256, load_ct


def body_hu() -> NDArray[np.int16]:
    """A body in RAS axes with a bone at the patient's left, in front, high up; and a table."""
    hu = np.full((24, 20, 16), -1000, np.int16)
    hu[4:20, 6:18, :] = 40
    hu[6:8, 14:16, 12:15] = 900
    hu[2:22, 1:3, :] = 100
    return hu


def write(path: Path, values: NDArray[np.generic], spacing: tuple[float, ...] = (2, 2, 2)) -> Path:
    nibabel.save(nibabel.Nifti1Image(values, np.diag([*spacing, 1.0])), path)
    return path


def test_axes_run_from_head_front_and_right(tmp_path: Path) -> None:
    # In RAS axes the first index grows to the right, so index 6 of 24 is on the left.
    subject = load_ct(write(tmp_path / "body.nii.gz", body_hu()))
    z, y, x = (np.argwhere(subject.bone > 0.1).mean(axis=0)) / np.array(subject.bone.shape)
    assert subject.name == "body"
    assert z < 0.3
    assert y < 0.4
    assert x > 0.6


def test_any_storage_order_gives_the_same_subject(tmp_path: Path) -> None:
    hu = body_hu()
    turned = np.ascontiguousarray(hu.transpose(2, 0, 1)[::-1])
    affine = np.array([[0, 2, 0, 0], [0, 0, 2, 0], [-2, 0, 0, 30], [0, 0, 0, 1]], float)
    nibabel.save(nibabel.Nifti1Image(turned, affine), tmp_path / "turned.nii")
    straight = load_ct(write(tmp_path / "straight.nii", hu))
    np.testing.assert_allclose(load_ct(tmp_path / "turned.nii").bone, straight.bone)


def test_flat_voxels_become_cubes_and_keep_the_mass(tmp_path: Path) -> None:
    subject = load_ct(write(tmp_path / "flat.nii", body_hu(), (2, 2, 4)))
    cube = load_ct(write(tmp_path / "cube.nii", body_hu(), (2, 2, 2)))
    assert subject.voxel_mm == 2.0
    assert subject.soft.shape == (32, 20, 24)
    assert subject.soft.sum() == pytest.approx(2 * cube.soft.sum(), rel=0.02)


def test_a_coarser_voxel_keeps_the_mass(tmp_path: Path) -> None:
    path = write(tmp_path / "ct.nii", body_hu())
    fine, coarse = load_ct(path), load_ct(path, voxel_mm=4.0)
    assert coarse.voxel_mm == 4.0
    assert 8 * coarse.bone.sum() == pytest.approx(fine.bone.sum(), rel=0.1)


def noisy_chest(sigma_hu: float) -> NDArray[np.int16]:
    """Soft tissue of 50 HU in voxels of 1 mm, with a thin bone in one half."""
    hu = np.full((42, 36, 30), -1000, np.float32)
    hu[3:39, 3:33] = 50
    hu[9:11, 9:11, 3:27] = 900
    noise = np.random.default_rng(0).normal(0, sigma_hu, hu.shape)
    return np.rint(hu + noise).astype(np.int16)


def test_noise_of_fine_voxels_is_no_bone_in_coarser_ones(tmp_path: Path) -> None:
    path = write(tmp_path / "ct.nii", noisy_chest(120.0), (1, 1, 1))
    other_half = load_ct(path, voxel_mm=3.0).bone[:, :, :6]
    assert other_half.mean() < 1e-4
    assert load_ct(path).bone[:, :, :18].mean() > 0.005


@pytest.mark.parametrize(("sigma_hu", "rel"), [(0.0, 0.08), (20.0, 0.08), (60.0, 0.15)])
def test_thin_bone_outlives_coarser_voxels_and_noise(
    tmp_path: Path, sigma_hu: float, rel: float
) -> None:
    path = write(tmp_path / "ct.nii", noisy_chest(sigma_hu), (1, 1, 1))
    clean = load_ct(write(tmp_path / "clean.nii", noisy_chest(0.0), (1, 1, 1)))
    coarse = load_ct(path, voxel_mm=3.0)
    assert 27 * coarse.bone.sum() == pytest.approx(clean.bone.sum(), rel=rel)


def test_the_extent_comes_from_the_header(tmp_path: Path) -> None:
    path = write(tmp_path / "flat.nii", body_hu(), (2, 2, 4))
    assert ct_info(path).extent_mm == (64.0, 40.0, 48.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((8, 8, 8), np.float32), "Hounsfield"),
        (np.full((8, 8, 8), 200, np.uint8), "Hounsfield"),
        (np.full((8, 8, 8), -1000, np.int16), "Hounsfield"),
        (np.full((8, 8, 8), np.nan, np.float32), "512 values that are NaN"),
        (np.zeros((8, 8), np.int16), "three axes"),
        (np.zeros((8, 8, 8, 3), np.int16), "three axes"),
    ],
)
def test_what_is_no_ct_is_refused(
    tmp_path: Path, values: NDArray[np.generic], message: str
) -> None:
    with pytest.raises(DataError, match=message) as refusal:
        load_ct(write(tmp_path / "no.nii", values))
    assert "no.nii" in str(refusal.value)
    assert refusal.value.hint


@pytest.mark.parametrize("kind", [np.dtype([(c, "u1") for c in "RGB"]), np.complex64])
def test_colours_and_complex_numbers_are_refused(tmp_path: Path, kind: object) -> None:
    path = write(tmp_path / "no.nii", np.zeros((8, 8, 8), kind))
    with pytest.raises(DataError, match=r"no\.nii holds .* instead of one number per voxel"):
        load_ct(path)


def test_absurd_voxels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"voxels of 2 x 2 x 400 mm"):
        load_ct(write(tmp_path / "ct.nii", body_hu(), (2, 2, 400)))


def test_files_that_are_missing_cut_or_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such CT"):
        load_ct(tmp_path / "gone.nii.gz")
    with pytest.raises(DataError, match="no such CT"):
        load_ct(tmp_path / "picture.png")
    (tmp_path / "picture.png").write_text("not a volume")
    with pytest.raises(DataError, match="no volume that can be read") as refusal:
        load_ct(tmp_path / "picture.png")
    assert "a folder with a DICOM series" in str(refusal.value.hint)
    (tmp_path / "text.nii").write_text("not a volume")
    with pytest.raises(DataError, match="not a readable NIfTI file"):
        load_ct(tmp_path / "text.nii")
    rng = np.random.default_rng(0)
    whole = write(tmp_path / "whole.nii.gz", rng.integers(-1000, 900, (20, 20, 20), np.int16))
    (tmp_path / "cut.nii.gz").write_bytes(whole.read_bytes()[:4000])
    with pytest.raises(DataError, match="cannot be read"):
        load_ct(tmp_path / "cut.nii.gz")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ct.nii.g", "no such CT"),
        ("gone/", "no such CT"),
        ("gone#1.2", "no such CT"),
        ("ct.nii.gz/deeper.nii", "no such CT"),
        ("n" * 300 + ".nii", "cannot be read: File name too long"),
        ("n" * 300, "cannot be read: File name too long"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused_in_one_line(
    tmp_path: Path, name: str, message: str
) -> None:
    write(tmp_path / "ct.nii.gz", body_hu())
    for read in (ct_info, ct_sha256, load_ct):
        with pytest.raises(DataError, match=message) as refusal:
            read(tmp_path / name)
        assert "check the path" in str(refusal.value.hint)


def test_a_damaged_file_is_refused_in_whatever_order_its_axes_are(tmp_path: Path) -> None:
    hu = np.random.default_rng(0).integers(-1000, 900, (20, 20, 20), np.int16)
    path = tmp_path / "turned.nii.gz"
    nibabel.save(nibabel.Nifti1Image(hu, np.diag([-2.0, -2.0, -2.0, 1.0])), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:4000])
    with pytest.raises(DataError, match=r"turned.nii.gz cannot be read"):
        load_ct(path)
    path.write_bytes(whole[:-8] + bytes(byte ^ 1 for byte in whole[-8:]))
    with pytest.raises(DataError, match=r"turned.nii.gz cannot be read: CRC"):
        load_ct(path)


def test_the_extent_of_turned_axes_is_the_patients(tmp_path: Path) -> None:
    affine = np.array([[0, 2, 0, 0], [0, 0, 3, 0], [-4, 0, 0, 0], [0, 0, 0, 1]], float)
    path = tmp_path / "turned.nii"
    nibabel.save(nibabel.Nifti1Image(np.zeros((5, 6, 7), np.int16), affine), path)
    assert ct_info(path).extent_mm == (20.0, 21.0, 12.0)


def test_a_ct_without_a_told_voltage_counts_as_120_kvp(tmp_path: Path) -> None:
    path = write(tmp_path / "ct.nii", body_hu())
    assert ct_info(path).kvp is None
    assert ct_info(path).contrast_agent is None
    np.testing.assert_array_equal(load_ct(path).bone, load_ct(path, kvp=120).bone)
    assert load_ct(path, kvp=80).bone.max() < 0.9 * load_ct(path).bone.max()


@pytest.mark.parametrize("kvp", [50, 150, (80, 120), ()])
def test_a_voltage_outside_the_tables_or_too_many_are_refused(
    tmp_path: Path, kvp: float | tuple[float, ...]
) -> None:
    path = write(tmp_path / "ct.nii", body_hu())
    with pytest.raises(ConfigurationError, match=r"ct\.nii: tube voltage") as refusal:
        load_ct(path, kvp=kvp)
    assert "--ct-kvp" in str(refusal.value.hint)


def test_reading_a_large_ct_holds_less_than_three_copies_in_floating_point(tmp_path: Path) -> None:
    hu = np.full((160, 140, 40), -1000, np.int16)
    hu[20:140, 20:120, :] = 40
    path = write(tmp_path / "large.nii.gz", hu)
    load_ct(path, voxel_mm=6.0)
    tracemalloc.start()
    load_ct(path, voxel_mm=6.0)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 3 * 4 * hu.size


def test_packing_does_not_change_the_digest_and_one_voxel_does(tmp_path: Path) -> None:
    plain, packed = (write(tmp_path / name, body_hu()) for name in ("a.nii", "b.nii.gz"))
    assert ct_sha256(plain) == ct_sha256(packed)
    floats = write(tmp_path / "floats.nii", body_hu().astype(np.float64))
    assert ct_sha256(plain) == ct_sha256(floats)
    hu = body_hu()
    hu[0, 0, 0] += 1
    assert ct_sha256(write(tmp_path / "c.nii", hu)) != ct_sha256(plain)


def test_a_real_ct_seen_from_the_front_is_a_chest(shared_data: Path) -> None:
    subject = load_ct(shared_data / "ct" / "cptac_pda_c3n00249_chest_ct_3mm.nii.gz")
    projector = build_projector(subject.soft, subject.bone, voxel_mm=subject.voxel_mm)
    soft, bone = projector.path_lengths_cm((0.0, 0.0, 0.0), Detector(size_px=64, pixel_mm=6.0))
    spine = bone[20:44].mean(axis=0)
    assert abs(int(spine.argmax()) - 32) < 5
    assert 0.5 < spine.max() < 3.0
    lungs, belly = soft[24:30, [22, 23, 41, 42]].mean(), soft[44:50, 26:38].mean()
    assert lungs < 0.7 * belly
    # The liver's dome, on the patient's right, is on the left of the picture and higher.
    assert soft[38:42, 18:26].mean() > soft[38:42, 38:46].mean()

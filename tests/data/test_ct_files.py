"""What is known of CTs before any view is made, and what is refused there."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from dexsearch.config.data import CtDataConfig
from dexsearch.data.ct_files import read_ct_files
from dexsearch.errors import ConfigurationError, DataError


def write(path: Path, seed: int) -> Path:
    path.parent.mkdir(exist_ok=True)
    hu = np.random.default_rng(seed).integers(-1000, 800, (9, 8, 7)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(hu, np.diag([2.0, 3.0, 4.0, 1.0])), path)
    return path


@pytest.fixture
def pair(tmp_path: Path) -> list[Path]:
    return [write(tmp_path / "a.nii", 0), write(tmp_path / "b.nii", 1)]


def test_the_field_is_the_longest_side_of_all(pair: list[Path]) -> None:
    files = read_ct_files(pair, CtDataConfig(), bone_mask=None)
    assert files.field_mm == 28.0
    assert files.names == ("a", "b")


def test_a_tube_voltage_that_no_file_tells_is_assumed_aloud(pair: list[Path]) -> None:
    files = read_ct_files(pair, CtDataConfig(), bone_mask=None)
    assert files.kvp == (120.0, 120.0)
    assert sum("120 kV is assumed; --ct-kvp" in note for note in files.notes) == 2


def test_one_voltage_counts_for_all_patients_but_not_for_one_patient(pair: list[Path]) -> None:
    assert read_ct_files(pair, CtDataConfig(ct_kvp=(80.0,)), bone_mask=None).kvp == (80.0, 80.0)
    config = CtDataConfig(ct_kvp=(80.0,), same_patient=True)
    with pytest.raises(ConfigurationError, match="got 1 tube voltage for 2 CTs"):
        read_ct_files(pair, config, bone_mask=None)


def test_one_ct_given_twice_is_refused(pair: list[Path]) -> None:
    with pytest.raises(DataError, match="given twice"):
        read_ct_files([pair[0], pair[0]], CtDataConfig(), bone_mask=None)


def test_simulated_scans_of_the_recipe_are_told(pair: list[Path]) -> None:
    files = read_ct_files(pair[:1], CtDataConfig(targets="xray-gan"), bone_mask=None)
    assert any("are simulated" in note for note in files.notes)


def test_a_bone_mask_is_of_one_patient_and_exists(pair: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="one bone mask for 2 patients"):
        read_ct_files(pair, CtDataConfig(), bone_mask=pair[0])
    with pytest.raises(DataError, match="no such bone mask"):
        read_ct_files(pair[:1], CtDataConfig(), bone_mask=tmp_path / "none.nii")


def test_no_ct_is_refused() -> None:
    with pytest.raises(DataError, match="got no CT"):
        read_ct_files([], CtDataConfig(), bone_mask=None)

"""A .npy volume and its sidecar."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dexsearch.errors import DataError
from dexsearch.volumes.ct import (
    ct_info,
    ct_sha256,
    load_ct,
)
from dexsearch.volumes.npy_volume import NpyReader


def write(path: Path, values: NDArray[Any], **about: object) -> Path:
    np.save(path, values)
    path.with_suffix(".json").write_text(json.dumps(about))
    return path


def noise() -> NDArray[np.int16]:
    return np.random.default_rng(0).integers(-1000, 900, (4, 5, 6)).astype(np.int16)


def test_without_axes_the_array_lies_as_ours(tmp_path: Path) -> None:
    path = write(tmp_path / "ann.npy", noise(), spacing_mm=[3, 2, 2.5])
    np.testing.assert_array_equal(NpyReader(path).values(), noise())
    assert ct_info(path).name == "ann"
    assert ct_info(path).extent_mm == (12.0, 10.0, 15.0)
    assert ct_info(path).kvp is None
    assert ct_info(path).contrast_agent is None


def test_axes_say_at_which_side_each_begins(tmp_path: Path) -> None:
    turned = noise().transpose(2, 0, 1)[::-1, ::-1]
    path = write(
        tmp_path / "ct.npy", turned, spacing_mm=[2.5, 3, 2], axes="left, feet, front", kvp=80
    )
    np.testing.assert_array_equal(NpyReader(path).values(), noise())
    assert NpyReader(path).header.spacing_mm == (3.0, 2.0, 2.5)
    assert ct_info(path).kvp == 80.0
    straight = write(tmp_path / "straight.npy", noise().astype(float), spacing_mm=[3, 2, 2.5])
    assert ct_sha256(path) == ct_sha256(straight)


def test_it_is_a_ct(tmp_path: Path) -> None:
    hu = np.full((6, 5, 4), -1000.5, np.float32)
    hu[1:5, 1:4, 1:3] = 40.25
    assert load_ct(write(tmp_path / "ct.npy", hu, spacing_mm=[2, 2, 2])).soft.max() > 0.9


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({}, "holds nothing; known keys: spacing_mm, axes, kvp"),
        ({"spacing": [2, 2, 2]}, "holds spacing; known keys"),
        ({"spacing_mm": 2}, "has spacing_mm 2"),
        ({"spacing_mm": [2, 2]}, r"has spacing_mm \[2, 2\]"),
        ({"spacing_mm": [2, 2, True]}, r"has spacing_mm \[2, 2, True\]"),
        ({"spacing_mm": [2, 2, 0]}, "voxels of 2 x 2 x 0 mm"),
        ({"spacing_mm": [2, 2, 2], "axes": "head,front"}, "has axes 'head,front'"),
        ({"spacing_mm": [2, 2, 2], "axes": "head,front,up"}, "head, feet, front, back"),
        ({"spacing_mm": [2, 2, 2], "axes": "head,front,feet"}, "name one direction twice"),
        ({"spacing_mm": [2, 2, 2], "kvp": "80"}, "has kvp '80'"),
    ],
)
def test_a_wrong_sidecar_is_refused(
    tmp_path: Path, about: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message) as refusal:
        NpyReader(write(tmp_path / "ct.npy", noise(), **about))
    assert refusal.value.hint


def test_a_missing_or_broken_sidecar_is_refused_with_an_example(tmp_path: Path) -> None:
    path = write(tmp_path / "ct.npy", noise())
    path.with_suffix(".json").write_text("{spacing")
    with pytest.raises(DataError, match=r"ct\.json is not readable JSON"):
        NpyReader(path)
    path.with_suffix(".json").unlink()
    with pytest.raises(DataError, match=r"ct\.json is not beside it") as refusal:
        NpyReader(path)
    assert '"spacing_mm": [3, 2, 2]' in str(refusal.value.hint)


def test_arrays_that_are_no_volume_are_refused(tmp_path: Path) -> None:
    good = {"spacing_mm": [2, 2, 2]}
    for values in (noise()[0], noise()[None], np.zeros((0, 5, 6))):
        with pytest.raises(DataError, match="three axes"):
            NpyReader(write(tmp_path / "ct.npy", values, **good))
    for values in (noise().astype(complex), noise().astype(str)):
        with pytest.raises(DataError, match="holds no numbers"):
            NpyReader(write(tmp_path / "ct.npy", values, **good))
    holes = noise().astype(np.float64)
    holes[1, 2, 3] = np.inf
    with pytest.raises(DataError, match="holds 1 values that are NaN or infinite"):
        NpyReader(write(tmp_path / "ct.npy", holes, **good)).values()
    for content in (b"", b"no array", (tmp_path / "ct.npy").read_bytes()[:-50]):
        (tmp_path / "ct.npy").write_bytes(content)
        with pytest.raises(DataError, match=r"ct\.npy is not a readable \.npy file"):
            NpyReader(tmp_path / "ct.npy")
    np.save(tmp_path / "ct.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="not a readable"):
        NpyReader(tmp_path / "ct.npy")


def test_nan_and_slices_are_refused_by_name(tmp_path: Path) -> None:
    holes = noise().astype(np.float32)
    holes[0] = np.nan
    path = write(tmp_path / "ct.npy", holes, spacing_mm=[2, 2, 2])
    for read in (load_ct, ct_sha256):
        with pytest.raises(DataError, match=r"ct\.npy holds 30 values that are NaN") as refusal:
            read(path)
        assert "Hounsfield" in str(refusal.value.hint)
    path = write(tmp_path / "slice.npy", noise()[0], spacing_mm=[2, 2, 2])
    with pytest.raises(DataError, match=r"slice\.npy has the shape 5x6; .* three axes") as refusal:
        load_ct(path)
    assert "not a slice" in str(refusal.value.hint)

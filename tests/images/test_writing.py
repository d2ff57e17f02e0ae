from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dexsearch import DISCLAIMER
from dexsearch.errors import EnvironmentFault
from dexsearch.images.reading import read_image
from dexsearch.images.writing import write_npy, write_png, write_tiff

IMAGE = np.linspace(-1, 4, 35).reshape(5, 7)


def test_npy_keeps_the_values(tmp_path: Path) -> None:
    path = write_npy(tmp_path / "new" / "bone.npy", IMAGE)
    assert np.array_equal(read_image(path), IMAGE.astype(np.float32))


def test_png_keeps_the_values_to_half_a_step_of_its_window(tmp_path: Path) -> None:
    path = write_png(tmp_path / "bone.png", IMAGE, window=(-1, 4))
    back = read_image(path) / 65535 * 5 - 1
    assert np.abs(back - IMAGE).max() <= 0.51 * 5 / 65535


def test_tiff_keeps_the_values_and_says_what_it_is_not_for(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "bone.tif", IMAGE)
    assert np.array_equal(read_image(path), IMAGE.astype(np.float32))
    with Image.open(path) as picture:
        assert picture.tag_v2[270] == DISCLAIMER  # type: ignore[attr-defined]


def test_a_tiff_with_a_window_holds_the_counts_of_the_png(tmp_path: Path) -> None:
    tiff = write_tiff(tmp_path / "bone.tif", IMAGE, window=(-1, 4))
    png = write_png(tmp_path / "bone.png", IMAGE, window=(-1, 4))
    assert np.array_equal(read_image(tiff), read_image(png))


def test_values_outside_the_window_become_black_or_white(tmp_path: Path) -> None:
    counts = read_image(write_png(tmp_path / "bone.png", IMAGE, window=(0, 1)))
    assert counts[0, 0] == 0
    assert counts[-1, -1] == 65535


def test_a_png_says_what_it_is_not_for(tmp_path: Path) -> None:
    with Image.open(write_png(tmp_path / "bone.png", IMAGE, window=(0, 1))) as picture:
        assert picture.text["Comment"] == DISCLAIMER  # type: ignore[attr-defined]
        assert picture.text["Window"] == "black 0, white 1"  # type: ignore[attr-defined]


def test_an_empty_window_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lower end must be below"):
        write_png(tmp_path / "bone.png", IMAGE, window=(1, 1))


def test_a_place_that_cannot_be_written_is_an_environment_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFault, match="cannot write"):
        write_npy(tmp_path / "file" / "bone.npy", IMAGE)
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(EnvironmentFault, match="cannot write"):
        write_png(tmp_path / "taken.png", IMAGE, window=(0, 1))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "taken.png"]

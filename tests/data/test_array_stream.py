from pathlib import Path

import numpy as np
import pytest

from dexsearch.data.array_stream import ArrayStream


@pytest.mark.parametrize("n_images", [0, 1, 12])
def test_a_stream_reads_back_as_one_array(tmp_path: Path, n_images: int) -> None:
    images = np.random.default_rng(0).normal(size=(n_images, 3, 5)).astype(np.float32)
    with ArrayStream(tmp_path / "a.npy", (3, 5), np.float32) as stream:
        for image in images:
            stream.append(image)
    assert np.array_equal(np.load(tmp_path / "a.npy", mmap_mode="r"), images)


def test_a_mask_is_stored_as_bool(tmp_path: Path) -> None:
    mask = np.eye(4, dtype=bool)
    with ArrayStream(tmp_path / "a.npy", (4, 4), np.bool_) as stream:
        stream.append(mask)
    back = np.load(tmp_path / "a.npy")
    assert back.dtype == np.bool_
    assert np.array_equal(back[0], mask)


def test_the_file_is_the_same_as_numpy_would_write(tmp_path: Path) -> None:
    images = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    with ArrayStream(tmp_path / "a.npy", (3, 4), np.float32) as stream:
        for image in images:
            stream.append(image)
    np.save(tmp_path / "b.npy", images)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_the_file_is_let_go_when_an_error_is_under_way(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError),
        ArrayStream(tmp_path / "a.npy", (3, 4), np.float32) as stream,
    ):
        raise RuntimeError
    stream.close()


def test_a_file_goes_on_after_its_first_images_and_loses_what_follows(tmp_path: Path) -> None:
    images = np.arange(60, dtype=np.float32).reshape(5, 3, 4)
    path = tmp_path / "a.npy"
    stream = ArrayStream(path, (3, 4), np.float16)
    for image in images[:4]:
        stream.append(image)
    stream.flush()
    stream.__exit__(KeyboardInterrupt, None, None)
    with ArrayStream(path, (3, 4), np.float16, n_images=2) as stream:
        assert stream.n_images == 2
        for image in images[2:]:
            stream.append(image)
    np.save(tmp_path / "b.npy", images.astype(np.float16))
    assert path.read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_a_file_with_fewer_images_than_promised_is_refused(tmp_path: Path) -> None:
    with ArrayStream(tmp_path / "a.npy", (3, 4), np.float32) as stream:
        stream.append(np.zeros((3, 4)))
    with pytest.raises(ValueError, match="2 images need 224"):
        ArrayStream(tmp_path / "a.npy", (3, 4), np.float32, n_images=2)

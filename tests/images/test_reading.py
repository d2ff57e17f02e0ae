import pickle
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from dexsearch.errors import DataError
from dexsearch.images.reading import MAX_SIDE_PX, read_image, read_image_size
from tests.images.support.damage import refusals_of_damaged

RAMP = np.arange(12, dtype=np.float32).reshape(3, 4)
COLOUR_16 = np.zeros((3, 4, 3), dtype=np.uint16)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "uint8", ">i2"])
def test_npy_of_any_number_type_is_read(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "image.npy", RAMP.astype(dtype))
    image = read_image(tmp_path / "image.npy")
    assert image.dtype == np.float32
    assert np.array_equal(image, RAMP)


@pytest.mark.parametrize("shape", [(1, 3, 4), (3, 4, 1), (1, 1, 3, 4)])
def test_axes_of_length_one_are_dropped(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "image.npy", RAMP.reshape(shape))
    assert np.array_equal(read_image(tmp_path / "image.npy"), RAMP)


def test_fortran_order_is_read(tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", np.asfortranarray(RAMP))
    assert np.array_equal(read_image(tmp_path / "image.npy"), RAMP)


@pytest.mark.parametrize(("dtype", "mode"), [(np.uint8, "L"), (np.uint16, "I;16")])
def test_png_counts_are_read(tmp_path: Path, dtype: type, mode: str) -> None:
    counts = (RAMP * (20 if dtype is np.uint8 else 5000)).astype(dtype)
    Image.fromarray(counts).save(tmp_path / "image.png")
    with Image.open(tmp_path / "image.png") as picture:
        assert picture.mode == mode
    assert np.array_equal(read_image(tmp_path / "image.png"), counts.astype(np.float32))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_grey_stored_as_colour_is_read(tmp_path: Path, mode: str) -> None:
    Image.fromarray(RAMP.astype(np.uint8)).convert(mode).save(tmp_path / "image.png")
    assert np.array_equal(read_image(tmp_path / "image.png"), RAMP)


def write_16_bit_png(path: Path, colour_type: int, channels: int) -> None:
    counts = np.repeat((RAMP * 5000).astype(">u2")[..., None], channels, axis=2)
    rows = b"".join(b"\0" + row.tobytes() for row in counts)
    header = struct.pack(">IIBBBBB", 4, 3, 16, colour_type, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n"
    for name, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        content += struct.pack(">I", len(data)) + name + data
        content += struct.pack(">I", zlib.crc32(name + data))
    path.write_bytes(content)


@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (4, 2), (6, 4)])
@pytest.mark.parametrize("read", [read_image, read_image_size])
def test_16_bits_that_would_be_cut_to_8_are_refused(
    tmp_path: Path, colour_type: int, channels: int, read: Callable[[Path], object]
) -> None:
    write_16_bit_png(tmp_path / "image.png", colour_type, channels)
    with pytest.raises(DataError, match="only 8 bits could be read") as caught:
        read(tmp_path / "image.png")
    assert caught.value.hint == "save it as 16-bit greyscale"


def test_16_bit_grey_keeps_every_bit(tmp_path: Path) -> None:
    write_16_bit_png(tmp_path / "image.png", 0, 1)
    assert np.array_equal(read_image(tmp_path / "image.png"), RAMP * 5000)


def test_published_pictures_are_read(shared_data: Path) -> None:
    paths = sorted((shared_data / "xray_gan_samples").glob("*/*.png"))
    assert paths
    for path in paths:
        assert read_image(path).std() > 1


def save_text(path: Path) -> None:
    path.write_text("not an image")


def save_pickled(path: Path) -> None:
    np.save(path, np.array([{"a": 1}, None], dtype=object), allow_pickle=True)


def save_nan(path: Path) -> None:
    image = RAMP.copy()
    image[1, 2] = np.nan
    np.save(path, image)


def save_cut(path: Path) -> None:
    np.save(path, RAMP)
    path.write_bytes(path.read_bytes()[:-5])


def save_pages(path: Path) -> None:
    first, second = Image.new("L", (4, 4)), Image.new("L", (4, 4))
    first.save(path, save_all=True, append_images=[second])


@pytest.mark.parametrize(
    ("name", "save", "message"),
    [
        ("a.npy", save_text, r"not a readable .npy file$"),
        ("a.npy", Path.touch, "not a readable .npy"),
        ("a.npy", save_cut, "not a readable .npy"),
        ("a.npy", save_pickled, "pickled Python objects"),
        ("a.npy", lambda p: p.write_bytes(pickle.dumps(RAMP)), "pickled Python objects"),
        ("a.npy", save_nan, r"1 of 12 pixels are NaN .* row 1, column 2"),
        ("a.npy", lambda p: np.save(p, np.full((3, 3), 1e300)), "infinite"),
        ("a.npy", lambda p: np.save(p, np.zeros((2, 3, 4))), r"has shape \(2, 3, 4\)"),
        ("a.npy", lambda p: np.save(p, np.zeros(7)), r"has shape \(7,\)"),
        ("a.npy", lambda p: np.save(p, np.float32(3)), r"has shape \(\)"),
        ("a.npy", lambda p: np.save(p, np.zeros((0, 4))), "no pixels"),
        ("a.npy", lambda p: np.save(p, np.zeros((2, 2), complex)), "complex128 values"),
        ("a.npy", lambda p: np.save(p, np.array([["a"]])), "<U1 values"),
        ("a.npy", lambda p: np.save(p, np.zeros((MAX_SIDE_PX + 1, 1))), "at most 8192"),
        ("a.png", save_text, "not a readable PNG"),
        ("a.png", Path.touch, "not a readable PNG"),
        ("a.png", lambda p: Image.new("RGB", (4, 4), "red").save(p), "colour picture"),
        ("a.png", lambda p: Image.new("L", (MAX_SIDE_PX + 1, 1)).save(p), "at most 8192"),
        ("a.png", lambda p: Image.new("L", (4, 4)).save(p, format="JPEG"), "not a readable PNG"),
        ("a.jpg", save_text, "cannot read '.jpg'; known formats: .npy, .png, .tif, .tiff, .dcm"),
        ("a", save_text, "cannot read 'a file without a suffix'"),
        ("a.tif", save_text, "not a readable TIFF"),
        ("a.tif", Path.touch, "not a readable TIFF"),
        ("a.tif", save_pages, "several pages"),
        ("a.tif", lambda p: Image.new("RGB", (4, 4), "red").save(p), "colour picture"),
        ("a.tif", lambda p: Image.new("L", (4, 4)).save(p, format="PNG"), "not a readable TIFF"),
        ("a.tiff", lambda p: Image.new("L", (MAX_SIDE_PX + 1, 1)).save(p), "at most 8192"),
        ("a.tif", lambda p: tifffile.imwrite(p, COLOUR_16), "16-bit TIFF stored as 3 channels"),
        ("a.tif", lambda p: tifffile.imwrite(p, RAMP.astype("f8")), "not a readable TIFF"),
        ("a.tif", lambda p: tifffile.imwrite(p, np.full((2, 2), 2**31, "u4")), "counts above"),
        ("a.tif", lambda p: tifffile.imwrite(p, RAMP * np.float32("nan")), "NaN or infinite"),
        ("a.npy", Path.mkdir, "is not a file"),
        ("a.npy", lambda p: None, "does not exist"),
    ],
)
def test_a_bad_file_is_named_in_one_line(
    tmp_path: Path, name: str, save: object, message: str
) -> None:
    save(tmp_path / name)  # type: ignore[operator]
    with pytest.raises(DataError, match=message) as hit:
        read_image(tmp_path / name)
    assert str(tmp_path / name) in str(hit.value)
    assert "\n" not in str(hit.value)


def test_a_zip_named_npy_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", RAMP)
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.raises(DataError, match="several arrays"):
        read_image(tmp_path / "a.npy")


def test_a_cut_png_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="not a readable PNG"):
        read_image(tmp_path / "a.png")


def test_the_size_is_read_from_the_header(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.full((1, 3, 4), np.nan))
    Image.new("L", (4, 3)).save(tmp_path / "a.png")
    assert read_image_size(tmp_path / "a.npy") == read_image_size(tmp_path / "a.png") == (3, 4)
    with pytest.raises(DataError, match="does not exist"):
        read_image_size(tmp_path / "b.npy")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">u2", "int16", "int32", "float32"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiff_of_8_16_bits_and_float_keeps_every_value(
    tmp_path: Path, dtype: str, compression: str | None
) -> None:
    values = (RAMP * (20 if dtype == "uint8" else 2900)).astype(dtype)
    order = ">" if dtype.startswith(">") else "<"
    tifffile.imwrite(tmp_path / "a.tif", values, compression=compression, byteorder=order)
    assert np.array_equal(read_image(tmp_path / "a.tif"), values.astype(np.float32))
    assert read_image_size(tmp_path / "a.tif") == (3, 4)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_tiff_that_calls_zero_white_is_turned_round(tmp_path: Path, dtype: str) -> None:
    values = (RAMP * 20).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="miniswhite")
    expected = np.iinfo(values.dtype).max - values.astype(np.float32)
    assert np.array_equal(read_image(tmp_path / "a.tif"), expected)


def test_a_float_tiff_that_calls_zero_white_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", RAMP, photometric="miniswhite")
    with pytest.raises(DataError, match=r"calls zero white|not a readable TIFF"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_a_cut_tiff_is_refused(tmp_path: Path, compression: str | None, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 65536, (64, 64), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", noise, compression=compression)
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match="not a readable TIFF"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("name", ["a.npy", "a.png", "a.tif"])
def test_a_damaged_file_is_read_or_refused_in_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    counts = (RAMP * 20).astype(np.uint16)
    np.save(path, counts) if name == "a.npy" else Image.fromarray(counts).save(path)
    messages = refusals_of_damaged(path, n_times=150)
    assert messages
    assert all(message.isprintable() for message in messages)


def save_huge_npy(path: Path) -> None:
    text = "{'descr': '<f8', 'fortran_order': False, 'shape': (8000, 8000), }"
    header = text.ljust(117).encode() + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)


def save_huge_tiff(path: Path) -> None:
    """One directory of 60000 x 60000 pixels of 16 bits, and no pixels."""
    entries = [(256, 60000), (257, 60000), (258, 16), (259, 1), (262, 1), (273, 8), (277, 1),
               (278, 60000), (279, 0)]  # fmt: skip
    content = b"II*\0" + struct.pack("<IH", 8, len(entries))
    for tag, value in entries:
        content += struct.pack("<HHII", tag, 4, 1, value)
    path.write_bytes(content + struct.pack("<I", 0))


@pytest.mark.parametrize(
    ("name", "save", "message"),
    [
        ("a.npy", save_huge_npy, "not a readable"),
        ("a.tif", save_huge_tiff, "not a readable TIFF .*exceeds limit"),
    ],
)
def test_a_header_that_promises_too_much_costs_no_memory(
    tmp_path: Path, name: str, save: Callable[[Path], None], message: str
) -> None:
    save(tmp_path / name)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=message):
            read_image(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()

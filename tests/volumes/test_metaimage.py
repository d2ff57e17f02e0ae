"""MetaImage: everything that SimpleITK writes is read bit for bit, the rest is refused."""

import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dexsearch.errors import DataError
from dexsearch.volumes.ct import ct_info, ct_sha256, load_ct
from dexsearch.volumes.metaimage import MetaImageReader

TOO_LARGE_FOR_INT16 = ("uint16", "float32", "float64")

HEADER = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = {msb}
CompressedData = {compressed}
TransformMatrix = {matrix}
Offset = 1 2 3
ElementSpacing = 2 2.5 3
DimSize = 4 5 6
ElementType = {kind}
ElementDataFile = {data}
"""


def noise() -> NDArray[np.int16]:
    """Stored with z first, as NumPy sees an ITK volume."""
    return np.random.default_rng(0).integers(-1000, 900, (6, 5, 4)).astype(np.int16)


def header(**fields: str) -> bytes:
    told = {
        "msb": "False",
        "compressed": "False",
        "matrix": "1 0 0 0 1 0 0 0 1",
        "kind": "MET_SHORT",
        "data": "LOCAL",
    }
    return HEADER.format(**(told | fields)).encode()


def write(path: Path, voxels: bytes, **fields: str) -> Path:
    path.write_bytes(header(**fields) + voxels)
    return path


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("ending", [".mha", ".mhd"])
@pytest.mark.parametrize(
    "kind", ["int8", "uint8", "int16", "uint16", "int32", "float32", "float64"]
)
def test_what_simpleitk_writes_is_read_bit_for_bit(
    tmp_path: Path, kind: str, ending: str, compressed: bool
) -> None:
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is the oracle of this test")
    values = (noise() // 10).astype(kind)
    if kind.startswith("float"):
        values += np.asarray(0.5, kind)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((2.0, 2.5, 3.0))
    sitk.WriteImage(image, str(tmp_path / f"ct{ending}"), compressed)
    reader = MetaImageReader(tmp_path / f"ct{ending}")
    assert reader.header.spacing_mm == (3.0, 2.5, 2.0)
    read = reader.values()
    assert read.dtype == (np.float32 if kind in TOO_LARGE_FOR_INT16 else np.int16)
    np.testing.assert_array_equal(read, values[::-1])


@pytest.mark.parametrize(
    "direction",
    [
        (0, 0, 1, 1, 0, 0, 0, 1, 0),
        (0, 1, 0, 0, 0, -1, -1, 0, 0),
        (-1, 0, 0, 0, -1, 0, 0, 0, 1),
        (np.cos(0.2), -np.sin(0.2), 0, np.sin(0.2), np.cos(0.2), 0, 0, 0, 1),
    ],
)
def test_any_orientation_is_turned_as_simpleitk_turns_it(
    tmp_path: Path, direction: tuple[float, ...]
) -> None:
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is the oracle of this test")
    image = sitk.GetImageFromArray(noise())
    image.SetSpacing((2.0, 2.5, 3.0))
    image.SetOrigin((10.0, -20.0, 30.0))
    image.SetDirection(direction)
    sitk.WriteImage(image, str(tmp_path / "ct.mha"))
    reader = MetaImageReader(tmp_path / "ct.mha")
    straight = sitk.DICOMOrient(image, "LPS")
    np.testing.assert_array_equal(reader.values(), sitk.GetArrayFromImage(straight)[::-1])
    assert reader.header.spacing_mm == pytest.approx(straight.GetSpacing()[::-1])
    middle = [(n - 1) / 2 for n in image.GetSize()]
    centre = image.TransformContinuousIndexToPhysicalPoint(middle)
    assert reader.header.centre_mm == pytest.approx(centre)


def test_big_endian_compressed_data_beside_its_header_is_read(tmp_path: Path) -> None:
    (tmp_path / "voxels.zraw").write_bytes(zlib.compress(noise().astype(">i2").tobytes()))
    path = write(tmp_path / "ct.mhd", b"", msb="True", compressed="True", data="voxels.zraw")
    np.testing.assert_array_equal(MetaImageReader(path).values(), noise()[::-1])


def test_a_metaimage_is_a_ct(tmp_path: Path) -> None:
    hu = np.full((6, 5, 4), -1000, np.int16)
    hu[1:5, 1:4, 1:3] = 40
    path = write(tmp_path / "ann.mha", hu.tobytes())
    packed = write(tmp_path / "bob.mha", zlib.compress(hu.tobytes()), compressed="True")
    assert ct_info(path).name == "ann"
    assert ct_info(path).extent_mm == (18.0, 12.5, 8.0)
    assert ct_sha256(path) == ct_sha256(packed)
    assert load_ct(path).soft.max() > 0.9


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "MET_ASCII"}, "has ElementType MET_ASCII"),
        ({"data": "LIST"}, "several files"),
        ({"data": "slice%03d.raw 1 6 1"}, "several files"),
        ({"data": "gone.raw"}, r"gone\.raw, which is not beside it"),
        ({"matrix": "1 0 0 0 1 0 0 0 x"}, "transformmatrix = '1 0 0 0 1 0 0 0 x'"),
        ({"matrix": "1 0 0 0 1 0"}, "transformmatrix"),
        ({"matrix": "1 0 0 0 0.8 0.6 0 0 1"}, "36.9 degrees off a right angle"),
        ({"matrix": "1 0 0 0 1 0 0 0 0"}, "does not say how its axes lie"),
        ({"kind": "MET_SHORT\nElementNumberOfChannels = 3"}, "has 3 channels"),
        ({"kind": "MET_SHORT\nBinaryData = False"}, "voxels as text"),
        ({"kind": "MET_SHORT\nDimSize = 4 5"}, "has the shape 4x5"),
        ({"kind": "MET_SHORT\nElementSpacing = 2 0 2"}, "voxels of 2 x 0 x 2 mm"),
        ({"kind": "MET_SHORT\nElementSpacing = 2 nan 2"}, "elementspacing = '2 nan 2'"),
    ],
)
def test_what_is_no_volume_of_numbers_is_refused(
    tmp_path: Path, fields: dict[str, str], message: str
) -> None:
    path = write(tmp_path / "bad.mha", noise().tobytes(), **fields)
    with pytest.raises(DataError, match=message) as refusal:
        MetaImageReader(path)
    assert "bad.mha" in str(refusal.value)
    assert refusal.value.hint


@pytest.mark.parametrize(
    ("data", "fields", "message"),
    [
        (noise().tobytes()[:-2], {}, "holds 238 bytes of voxels instead of 240"),
        (noise().tobytes() + b"xx", {}, "holds 242 bytes of voxels instead of 240"),
        (zlib.compress(noise().tobytes())[:-3], {"compressed": "True"}, "breaks off"),
        (zlib.compress(bytes(242)), {"compressed": "True"}, "241 bytes of voxels instead of 240"),
        (noise().tobytes(), {"compressed": "True"}, "cannot be read"),
        (np.full(120, np.nan, "<f4").tobytes(), {"kind": "MET_FLOAT"}, "120 values that are NaN"),
    ],
)
def test_damaged_data_is_refused(
    tmp_path: Path, data: bytes, fields: dict[str, str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        MetaImageReader(write(tmp_path / "bad.mha", data, **fields)).values()


def test_a_file_that_is_no_metaimage_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"\x00" * 100_000, b"NDims = 3\nDimSize = 4 5 6\n"):
        (tmp_path / "text.mha").write_bytes(content)
        with pytest.raises(DataError, match=r"text\.mha is not a readable MetaImage"):
            MetaImageReader(tmp_path / "text.mha")
    (tmp_path / "half.mha").write_bytes(b"NDims = 3\nElementDataFile = LOCAL\n")
    with pytest.raises(DataError, match="lacks dimsize, elementspacing, elementtype"):
        MetaImageReader(tmp_path / "half.mha")

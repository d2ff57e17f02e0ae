"""MetaImage volumes (`.mha`, or `.mhd` with its data file), raw or zlib-compressed.

The first stored axis varies fastest. TransformMatrix holds the direction of each axis in turn,
in the patient's LPS coordinates, Offset the centre of the first voxel.

Source  MetaIO, https://itk.org/Wiki/ITK/MetaIO/Documentation
"""

import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dexsearch.errors import DataError
from dexsearch.volumes.axes import centre_lps_mm, orientation_of
from dexsearch.volumes.scan import (
    ScanHeader,
    ScanReader,
    Voxels,
    damage_told,
    exact_voxels,
    refuse_absurd_grid,
)

ELEMENT_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
SYNONYMS = {
    "position": "offset",
    "origin": "offset",
    "rotation": "transformmatrix",
    "orientation": "transformmatrix",
    "elementsize": "elementspacing",
    "elementbyteordermsb": "binarydatabyteordermsb",
}
LONGEST_HEADER_BYTES = 2**16
STRAIGHT = "1 0 0 0 1 0 0 0 1"
REWRITE_HINT = "write it again as one .mha file, for example with SimpleITK or 3D Slicer"


class MetaImageReader(ScanReader):
    """A MetaImage of three axes and one number per voxel, with any orientation."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fields, self._data_start = _fields(path)
        self._refuse_other_kinds()
        shape = self._numbers("dimsize", "")
        spacing = self._numbers("elementspacing", "")
        refuse_absurd_grid(path, (round(n) for n in shape), spacing)
        matrix = np.array(self._numbers("transformmatrix", STRAIGHT, n=9)).reshape(3, 3).T
        try:
            self._orientation = orientation_of(matrix)
        except ValueError as error:
            raise DataError(
                f"{path} {error}", hint="convert the series again, with its orientation"
            ) from None
        self._shape = round(shape[0]), round(shape[1]), round(shape[2])
        first_mm = np.array(self._numbers("offset", "0 0 0", n=3))
        self.header = ScanHeader(
            shape=self._orientation.sorted(self._shape),
            spacing_mm=self._orientation.sorted((spacing[0], spacing[1], spacing[2])),
            centre_mm=centre_lps_mm(first_mm, matrix * np.array(spacing), self._shape),
        )

    def values(self) -> Voxels:
        """Read and unpack the data; too short and too long are both damage."""
        order = ">" if _is_true(self._fields.get("binarydatabyteordermsb")) else "<"
        dtype = np.dtype(order + ELEMENT_TYPES[self._fields["elementtype"].upper()])
        n_bytes = math.prod(self._shape) * dtype.itemsize
        with damage_told(self.path):
            data = self._data(n_bytes)
            if len(data) != n_bytes:
                raise ValueError(f"it holds {len(data)} bytes of voxels instead of {n_bytes}")
        stored: NDArray[Any] = np.frombuffer(data, dtype=dtype)
        stored = stored.astype(dtype.newbyteorder("="), copy=False)
        # The first axis varies fastest, which is Fortran's order.
        volume = stored.reshape(self._shape, order="F")
        return exact_voxels(self.path, self._orientation.turned(volume))

    def _data(self, n_bytes: int) -> bytes:
        name = self._fields["elementdatafile"]
        local = name.upper() == "LOCAL"
        file = self.path if local else self.path.parent / name
        with file.open("rb") as stream:
            stream.seek(self._skipped(file, n_bytes) if not local else self._data_start)
            packed = stream.read()
        if not _is_true(self._fields.get("compresseddata")):
            return packed
        unpacking = zlib.decompressobj()
        data = unpacking.decompress(packed, n_bytes + 1)
        if len(data) <= n_bytes and not unpacking.eof:
            raise ValueError("its compressed data breaks off")
        return data

    def _skipped(self, file: Path, n_bytes: int) -> int:
        header_size = int(self._fields.get("headersize", "0"))
        return max(0, file.stat().st_size - n_bytes) if header_size == -1 else header_size

    def _refuse_other_kinds(self) -> None:
        missing = {"dimsize", "elementspacing", "elementtype"} - self._fields.keys()
        name = self._fields["elementdatafile"]
        wrong = None
        if missing:
            wrong = f"lacks {', '.join(sorted(missing))}"
        elif self._fields["elementtype"].upper() not in ELEMENT_TYPES:
            wrong = f"has ElementType {self._fields['elementtype']}"
        elif self._fields.get("elementnumberofchannels", "1") != "1":
            wrong = f"has {self._fields['elementnumberofchannels']} channels"
        elif not _is_true(self._fields.get("binarydata", "True")):
            wrong = "holds its voxels as text"
        elif name.upper().startswith("LIST") or "%" in name:
            wrong = f"spreads its voxels over several files ({name})"
        elif name.upper() != "LOCAL" and not (self.path.parent / name).is_file():
            wrong = f"names the data file {name}, which is not beside it"
        if wrong is not None:
            raise DataError(f"{self.path} {wrong}", hint=REWRITE_HINT)

    def _numbers(self, field: str, default: str, n: int | None = None) -> tuple[float, ...]:
        text = self._fields.get(field, default)
        try:
            numbers = tuple(float(word) for word in text.split())
        except ValueError:
            numbers = ()
        if (n is not None and len(numbers) != n) or not all(map(math.isfinite, numbers)):
            numbers = ()
        if not numbers:
            raise DataError(f"{self.path} has {field} = {text!r}", hint=REWRITE_HINT)
        return numbers


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """Return the header's fields in lower case and where the data begins in the same file."""
    fields: dict[str, str] = {}
    with damage_told(path), path.open("rb") as stream:
        while stream.tell() < LONGEST_HEADER_BYTES:
            line = stream.readline(LONGEST_HEADER_BYTES)
            key, equals, value = line.decode("latin-1").partition("=")
            if not line or not equals:
                break
            name = key.strip().lower()
            fields[SYNONYMS.get(name, name)] = value.strip()
            if name == "elementdatafile":
                return fields, stream.tell()
    raise DataError(
        f"{path} is not a readable MetaImage: it has no ElementDataFile", hint=REWRITE_HINT
    )


def _is_true(text: str | None) -> bool:
    return (text or "").lower() in ("true", "1", "yes")

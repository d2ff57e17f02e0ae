"""Write a .npy file image by image, without knowing how many will come."""

import os
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import DTypeLike, NDArray


class ArrayStream:
    """An open .npy file of shape N H W that grows along N.

    NumPy pads the header for this purpose, so that the final N fits into it on closing.
    """

    def __init__(self, path: Path, shape: tuple[int, int], dtype: DTypeLike) -> None:
        self.n_images = 0
        self._shape = shape
        self._dtype = np.dtype(dtype)
        self._file = path.open("wb")
        self._write_header()

    def append(self, image: NDArray[Any]) -> None:
        """Append one image of the stream's shape and type."""
        self._file.write(np.ascontiguousarray(image, dtype=self._dtype).tobytes())
        self.n_images += 1

    def close(self) -> None:
        """Write the final count into the header and flush everything to the disk."""
        if self._file.closed:
            return
        with self._file:
            self._file.seek(0)
            self._write_header()
            self._file.flush()
            os.fsync(self._file.fileno())

    def __enter__(self) -> "ArrayStream":
        """Return the stream itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the file, or just let go of it when an error is under way."""
        if kind is None:
            self.close()
        else:
            self._file.close()

    def _write_header(self) -> None:
        npy.write_array_header_1_0(
            self._file,
            {
                "descr": npy.dtype_to_descr(self._dtype),
                "fortran_order": False,
                "shape": (self.n_images, *self._shape),
            },
        )

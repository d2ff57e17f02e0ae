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

    def __init__(
        self, path: Path, shape: tuple[int, int], dtype: DTypeLike, *, n_images: int = 0
    ) -> None:
        """Start a file, or go on after the first `n_images` of one; what follows them is cut off.

        Raises:
            ValueError: if the file holds fewer than `n_images`.
        """
        self.n_images = n_images
        self._shape = shape
        self._dtype = np.dtype(dtype)
        self._unflushed = True
        self._file = path.open("r+b" if n_images else "wb")
        self._write_header()
        end = self._file.tell() + n_images * int(np.prod(shape)) * self._dtype.itemsize
        size = os.fstat(self._file.fileno()).st_size
        if n_images and size < end:
            self._file.close()
            raise ValueError(f"{path} holds {size} bytes, {n_images} images need {end}")
        self._file.seek(end)
        self._file.truncate()

    def append(self, image: NDArray[Any]) -> None:
        """Append one image of the stream's shape, rounded to the stream's type."""
        self._file.write(np.ascontiguousarray(image, dtype=self._dtype).tobytes())
        self.n_images += 1
        self._unflushed = True

    def flush(self) -> None:
        """Make durable what was appended; the header keeps its old count until `close`."""
        if self._unflushed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._unflushed = False

    def close(self) -> None:
        """Write the final count into the header and flush everything to the disk."""
        if self._file.closed:
            return
        with self._file:
            self._file.seek(0)
            self._write_header()
            self._unflushed = True
            self.flush()

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

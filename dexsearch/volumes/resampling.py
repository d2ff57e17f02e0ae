"""Resampling a volume to cubes, a few slices at a time.

Each axis is one sparse matrix: where it becomes coarser, a Gaussian against aliasing, then linear
interpolation. Slices are reduced in the plane as they come, so the fine volume is never held in
floating point.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

SAME_SIZE = 1e-3
SLAB = 8
"""Slices at a time; large enough that the interpreter does not matter."""


class CubicGrid:
    """Cubes of one side around the centre of a volume with other voxels."""

    def __init__(
        self, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], side_mm: float
    ) -> None:
        self._n_slices = shape[0]
        self._through, self._down, self._across = (
            _matrix(n, size / side_mm) for n, size in zip(shape, spacing_mm, strict=True)
        )

    def resampled(
        self, volumes_of: Callable[[slice], tuple[NDArray[np.float32], ...]]
    ) -> list[NDArray[np.float32]]:
        """Resample the volumes whose slices `volumes_of` returns, all of them side by side."""
        reduced: list[NDArray[np.float32]] = []
        for rows in self._slabs():
            for index, volume in enumerate(volumes_of(rows)):
                if index == len(reduced):
                    plane = self._down.shape[0], self._across.shape[0]
                    reduced.append(np.empty((self._n_slices, *plane), dtype=np.float32))
                for row, image in enumerate(volume, start=rows.start):
                    reduced[index][row] = (self._across @ (self._down @ image).T).T
        return [self._stacked(volume) for volume in reduced]

    def _slabs(self) -> Iterator[slice]:
        for first in range(0, self._n_slices, SLAB):
            yield slice(first, min(first + SLAB, self._n_slices))

    def _stacked(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._through.shape[0] == self._through.shape[1] == self._through.nnz:
            return volume
        flat = self._through @ volume.reshape(len(volume), -1)
        return np.asarray(flat, dtype=np.float32).reshape(-1, *volume.shape[1:])


def _matrix(n: int, factor: float) -> sparse.csr_array:
    """Return the matrix that takes `n` voxels to about `n * factor`, about the same centre."""
    identity = np.eye(n, dtype=np.float64)
    if abs(factor - 1.0) < SAME_SIZE:
        return sparse.csr_array(identity.astype(np.float32))
    sigma = 0.4 * np.sqrt(max((1.0 / factor) ** 2 - 1.0, 0.0))
    smooth = identity
    if sigma > 0:
        smooth = ndimage.gaussian_filter1d(identity, sigma, axis=0, mode="nearest")
    n_out = max(1, round(n * factor))
    at = 0.5 * (n - 1) + (np.arange(n_out) - 0.5 * (n_out - 1)) / factor
    at = np.clip(at, 0, n - 1)
    below = np.minimum(at.astype(np.intp), max(n - 2, 0))
    share = (at - below)[:, None]
    mixed = (1.0 - share) * smooth[below] + share * smooth[np.minimum(below + 1, n - 1)]
    return sparse.csr_array(mixed.astype(np.float32))

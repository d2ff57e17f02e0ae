"""Bring an image to another pixel size: averages over areas to shrink, lines between to enlarge.

The upper left corners of both grids coincide. A weight matrix a side, almost empty, does either.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

_ROUNDING = 1e-6


def resampled_size_px(size_px: tuple[int, int], ratio: float) -> tuple[int, int]:
    """Return how many pixels, each `ratio` old ones wide, cover an image."""
    rows, columns = (max(1, int(np.ceil(n / ratio - _ROUNDING))) for n in size_px)
    return rows, columns


def resample(
    image: NDArray[np.float32], ratio: float, size_px: tuple[int, int]
) -> NDArray[np.float32]:
    """Return an image whose pixels are `ratio` times as wide as before.

    A wider pixel is the mean over the area that it covers, exactly, also where it covers parts
    of pixels; at the lower and right edge over that part of its area that lies in the image. A
    narrower one is interpolated linearly between pixel centres; beyond the outermost centres
    the edge pixels are repeated.

    Args:
        image: H x W.
        ratio: new pixel size divided by the old one, above 0.
        size_px: of the result; `resampled_size_px` covers the image.

    Raises:
        ValueError: if the ratio is not a finite number above 0.
    """
    if not (np.isfinite(ratio) and ratio > 0):
        raise ValueError(f"got a ratio of pixel sizes of {ratio!r}; it must be above 0")
    weights = _area_weights if ratio > 1 else _linear_weights
    rows, columns = (weights(o, n, ratio) for o, n in zip(image.shape, size_px, strict=True))
    return np.ascontiguousarray((columns @ (rows @ image).T).T, dtype=np.float32)


def _area_weights(n_old: int, n_new: int, ratio: float) -> sparse.csr_array:
    """Return which part of a new pixel each old one makes up; n_new x n_old, rows sum to 1."""
    edges = np.minimum(np.arange(n_new + 1) * ratio, n_old)
    edges[:-1] = np.minimum(edges[:-1], n_old - _ROUNDING)
    first = np.floor(edges[:-1]).astype(int)
    old = first[:, None] + np.arange(int(np.ceil(ratio)) + 1)
    shared = np.minimum(old + 1, edges[1:, None]) - np.maximum(old, edges[:-1, None])
    new = np.broadcast_to(np.arange(n_new)[:, None], old.shape)
    used = (shared > 0) & (old < n_old)
    parts = shared / np.where(used, shared, 0).sum(axis=1, keepdims=True)
    return _matrix(parts[used], new[used], old[used], (n_new, n_old))


def _linear_weights(n_old: int, n_new: int, ratio: float) -> sparse.csr_array:
    """Return how new pixel centres lie between old ones; n_new x n_old, rows sum to 1."""
    centres = np.clip((np.arange(n_new) + 0.5) * ratio - 0.5, 0, n_old - 1)
    before = np.minimum(centres.astype(int), max(0, n_old - 2))
    part = centres - before
    new = np.arange(n_new)
    after = np.minimum(before + 1, n_old - 1)
    return _matrix(
        np.concatenate((1 - part, part)), np.tile(new, 2), np.concatenate((before, after)),
        (n_new, n_old),
    )  # fmt: skip


def _matrix(
    values: NDArray[np.float64],
    rows: NDArray[np.int_],
    columns: NDArray[np.int_],
    shape: tuple[int, int],
) -> sparse.csr_array:
    return sparse.csr_array((values.astype(np.float32), (rows, columns)), shape=shape)

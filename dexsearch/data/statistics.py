"""Constants of a dataset, taken from its training images inside their masks."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CHUNK = 32  # images held in memory at once
_BINS = 1 << 17  # resolution of a percentile: under 1e-5 of the values' range


def mean_and_std(images: NDArray[Any], mask: NDArray[np.bool_]) -> tuple[float, float]:
    """Return mean and standard deviation over the mask, accumulated in float64."""
    total, total_squares, count = 0.0, 0.0, 0
    for values in _masked_chunks(images, mask):
        total += float(values.sum())
        total_squares += float(np.square(values).sum())
        count += values.size
    mean = total / count
    return mean, float(np.sqrt(max(0.0, total_squares / count - mean**2)))


def data_range(images: NDArray[Any], mask: NDArray[np.bool_]) -> float:
    """Return the 99.9th minus the 0.1th percentile over the mask.

    Found from a histogram, so that memory stays small: to 1e-5 of the values' range the nearest
    pixel's value, without interpolation between pixels.
    """
    low = min(float(values.min()) for values in _masked_chunks(images, mask))
    high = max(float(values.max()) for values in _masked_chunks(images, mask))
    if not low < high:
        return 0.0
    counts = np.zeros(_BINS, dtype=np.int64)
    for values in _masked_chunks(images, mask):
        counts += np.histogram(values, bins=_BINS, range=(low, high))[0]
    share = np.cumsum(counts) / counts.sum()
    first, last = np.searchsorted(share, (0.001, 0.999))
    return float((last - first) * (high - low) / _BINS)


def _masked_chunks(images: NDArray[Any], mask: NDArray[np.bool_]) -> Iterator[NDArray[np.float64]]:
    """Yield the values inside the mask, a few images at a time, skipping empty ones."""
    for start in range(0, len(images), _CHUNK):
        part = slice(start, start + _CHUNK)
        values = np.asarray(images[part])[np.asarray(mask[part])].astype(np.float64)
        if values.size:
            yield values

"""The body in a CT, without the table it lies on."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dexsearch.volumes.scan import Voxels

BODY_ABOVE_HU = -400.0


def body_mask(*scans: Voxels) -> NDArray[np.bool_]:
    """Return the largest body above -400 HU, holes filled slice by slice.

    Several scans of one body are averaged. A table that touches the body along a broad side is
    kept, because nothing but its shape tells it from the body; foam and gaps part it.
    """
    mask = np.stack([_dense(rows) for rows in zip(*scans, strict=True)])
    labels, n_parts = ndimage.label(mask)
    if n_parts == 0:
        return mask
    sizes = np.zeros(n_parts + 1, dtype=np.int64)
    for row in labels:
        sizes += np.bincount(row.ravel(), minlength=n_parts + 1)
    sizes[0] = 0
    largest = int(sizes.argmax())
    for row, filled in zip(labels, mask, strict=True):
        filled[:] = _filled(row == largest)
    return mask


def _dense(rows: Sequence[Voxels]) -> NDArray[np.bool_]:
    total = np.sum(rows, axis=0, dtype=np.float32)
    return np.asarray(total > BODY_ABOVE_HU * len(rows), dtype=np.bool_)


def _filled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill holes: what the border cannot reach. Much faster than scipy's `binary_fill_holes`."""
    outside, n_parts = ndimage.label(~mask)
    open_parts = np.zeros(n_parts + 1, dtype=np.bool_)
    for edge in (outside[0], outside[-1], outside[:, 0], outside[:, -1]):
        open_parts[edge] = True
    open_parts[0] = False
    return np.asarray(~open_parts[outside], dtype=np.bool_)

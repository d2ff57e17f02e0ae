"""The body in a CT, without the table it lies on, and the noise in it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dexsearch.volumes.scan import Voxels

BODY_ABOVE_HU = -400.0
THIN_MM = 4.0
"""Table tops, arm rests and straps are thinner than this, chest walls are not."""

SOFT_TISSUE_HU = (-150.0, 150.0)
NOISE_APART_PX = 3
"""Neighbours share noise through the reconstruction's kernel, these hardly."""
NOISE_SLICES = 16

Mask = NDArray[np.bool_]


def body_mask(*scans: Voxels, spacing_mm: tuple[float, float, float] | None = None) -> Mask:
    """Return the largest body above -400 HU, holes filled slice by slice.

    Several scans of one body are averaged. With the voxels' spacing known, what is thinner than
    4 mm in the slice and only touches the body is cut off a few voxels from it; without, or in
    voxels of 4 mm and more, whatever touches the body belongs to it.
    """
    n_steps = round(0.5 * THIN_MM / max(spacing_mm[1:])) if spacing_mm is not None else 0
    mask = np.stack([_thick(_dense(rows), n_steps) for rows in zip(*scans, strict=True)])
    if n_steps and not mask.any():
        return body_mask(*scans)
    labels, n_parts = ndimage.label(mask)
    sizes = np.zeros(n_parts + 1, dtype=np.int64)
    for row in labels:
        sizes += np.bincount(row.ravel(), minlength=n_parts + 1)
    sizes[0] = 0
    largest = int(sizes.argmax()) if n_parts else -1
    for body, row, rows in zip(mask, labels, zip(*scans, strict=True), strict=True):
        body[:] = _filled(_grown(row == largest, _dense(rows), 2 * n_steps + bool(n_steps)))
    return mask


def soft_tissue_noise_hu(scan: Voxels, body: Mask) -> float:
    """Return the standard deviation of noise in soft tissue in HU, 0 where there is none to see.

    From differences of nearby voxels, their median, which edges of organs hardly move; chosen by
    the pair's mean, which is independent of its difference.
    """
    low, high = SOFT_TISSUE_HU
    differences = []
    for index in range(0, len(scan), max(1, len(scan) // NOISE_SLICES)):
        row, inside = scan[index].astype(np.float32), body[index]
        one, other = row[:, :-NOISE_APART_PX], row[:, NOISE_APART_PX:]
        mean = 0.5 * (one + other)
        chosen = inside[:, :-NOISE_APART_PX] & inside[:, NOISE_APART_PX:]
        chosen = chosen & (low < mean) & (mean < high)
        differences.append(np.abs(one - other)[chosen])
    found = np.concatenate(differences)
    # The median of |d| is 0.6745 standard deviations of d, which are sqrt(2) of one voxel's.
    return float(np.median(found)) / (0.6745 * np.sqrt(2.0)) if found.size else 0.0


def _dense(rows: Sequence[Voxels]) -> Mask:
    total = np.sum(rows, axis=0, dtype=np.float32)
    return np.asarray(total > BODY_ABOVE_HU * len(rows), dtype=np.bool_)


def _thick(mask: Mask, n_steps: int) -> Mask:
    """Take `n_steps` voxels off every edge but the picture's own."""
    for _ in range(n_steps):
        smaller = mask.copy()
        smaller[1:] &= mask[:-1]
        smaller[:-1] &= mask[1:]
        smaller[:, 1:] &= mask[:, :-1]
        smaller[:, :-1] &= mask[:, 1:]
        mask = smaller
    return mask


def _grown(mask: Mask, within: Mask, n_steps: int) -> Mask:
    """Grow back along `within`; twice the steps taken off bring every corner back."""
    for _ in range(n_steps):
        larger = mask.copy()
        larger[1:] |= mask[:-1]
        larger[:-1] |= mask[1:]
        larger[:, 1:] |= mask[:, :-1]
        larger[:, :-1] |= mask[:, 1:]
        mask = larger & within
    return mask


def _filled(mask: Mask) -> Mask:
    """Fill holes: what the border cannot reach. Much faster than scipy's `binary_fill_holes`."""
    outside, n_parts = ndimage.label(~mask)
    open_parts = np.zeros(n_parts + 1, dtype=np.bool_)
    for edge in (outside[0], outside[-1], outside[:, 0], outside[:, -1]):
        open_parts[edge] = True
    open_parts[0] = False
    return np.asarray(~open_parts[outside], dtype=np.bool_)

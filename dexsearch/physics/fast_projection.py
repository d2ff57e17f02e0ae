"""Path lengths by a compiled ray march: the same method as torch's, several times faster.

Both volumes lie interleaved in memory, so that one fetch serves both. Rays only march through the
box that holds anything. Rows of the image are shared out to as many Python threads as torch is
set to (the compiled code runs without the interpreter's lock): a worker process that sets
OMP_NUM_THREADS=1 before it imports torch gets one thread; numba's own threads are never started.

Needs numba, the extra `fast`. Compiled code is kept beside this file, or in the user's cache
folder where the package cannot be written to; NUMBA_CACHE_DIR names another place.
"""

import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from dexsearch.physics.geometry import Detector, Pose, detector_rays, joseph_axis
from dexsearch.physics.projector import Projector, VolumePair

Function = TypeVar("Function", bound=Callable[..., Any])

ROWS_PER_TASK = 8
MARGIN_BEFORE, MARGIN_AFTER = 1, 2
"""Empty voxels around the box, so that no sample needs a check; one to spare for rounding."""


def _compile(function: Function) -> Function:
    """Compile at the first call; kept on disk unless no folder for that can be written to."""
    plain = inspect.unwrap(function)  # what checks types at run time cannot be compiled
    try:
        compiled: Function = numba.njit(plain, nogil=True, fastmath=True, cache=True)
    except RuntimeError:  # numba found no place for its cache
        compiled = numba.njit(plain, nogil=True, fastmath=True)
    return compiled


def _inlined(function: Function) -> Function:
    """Make part of whatever calls it, before anything is compiled.

    Linked as code of its own, perhaps from the cache, it would be optimised together with its
    caller or not, as it happens, and round differently.
    """
    compiled: Function = numba.njit(inspect.unwrap(function), inline="always")
    return compiled


@_inlined
def _slices_crossed(
    start: tuple[float, float], slope: tuple[float, float], end: tuple[float, float], n_slices: int
) -> tuple[int, int]:
    """Return the first slice in which a ray lies between 0 and `end`, and the one after the last.

    Slices count from 1; across them the ray lies at `start + slope * slice`.
    """
    low, high = 1.0, float(n_slices)
    for axis in range(2):
        if abs(slope[axis]) > 1e-9:
            at_zero = -start[axis] / slope[axis]
            at_end = (end[axis] - start[axis]) / slope[axis]
            low = max(low, min(at_zero, at_end))
            high = min(high, max(at_zero, at_end))
        elif start[axis] <= 0.0 or start[axis] >= end[axis]:
            high = 0.0
    return int(np.ceil(low)), int(np.floor(high)) + 1


@_inlined
def _sums_along(
    voxels: NDArray[np.float32],
    strides: NDArray[np.int64],
    start: tuple[float, float],
    slope: tuple[float, float],
    slices: tuple[int, int],
) -> tuple[np.float32, np.float32]:
    """Add up the bilinear samples of both volumes in a range of slices."""
    # Unsigned, because the compiler then need not look for negative indices.
    step_k, step_r = np.uint64(strides[0]), np.uint64(strides[1])
    step_c, second = np.uint64(strides[2]), np.uint64(1)
    start_r, start_c = np.float32(start[0]), np.float32(start[1])
    slope_r, slope_c = np.float32(slope[0]), np.float32(slope[1])
    sum_first = sum_second = np.float32(0.0)
    for k in range(slices[0], slices[1]):
        r = start_r + np.float32(k) * slope_r
        c = start_c + np.float32(k) * slope_c
        whole_r, whole_c = np.int32(r), np.int32(c)
        part_r, part_c = r - np.float32(whole_r), c - np.float32(whole_c)
        a = np.uint64(k) * step_k + np.uint64(whole_r) * step_r + np.uint64(whole_c) * step_c
        b = a + step_r
        weight_11 = part_r * part_c
        weight_10, weight_01 = part_r - weight_11, part_c - weight_11
        weight_00 = np.float32(1.0) - part_r - weight_01
        sum_first += weight_00 * voxels[a] + weight_01 * voxels[a + step_c]
        sum_first += weight_10 * voxels[b] + weight_11 * voxels[b + step_c]
        a, b = a + second, b + second
        sum_second += weight_00 * voxels[a] + weight_01 * voxels[a + step_c]
        sum_second += weight_10 * voxels[b] + weight_11 * voxels[b + step_c]
    return sum_first, sum_second


@_compile
def _march(
    voxels: NDArray[np.float32],
    strides: NDArray[np.int64],
    shape: NDArray[np.int64],
    middle: NDArray[np.float64],
    voxel_mm: float,
    axes: NDArray[np.int64],
    origin_mm: NDArray[np.float64],
    direction: NDArray[np.float64],
    rows: tuple[int, int],
    lengths: NDArray[np.float32],
) -> None:
    """Fill some rows of `lengths`; the first of `axes` is the one that the rays follow.

    Positions are in voxels of the padded box; `strides`, `shape` (of the box alone) and `middle`
    (the rays' origin) are ordered as `axes`.
    """
    along, row, column = axes
    end = (shape[1] + 1.0, shape[2] + 1.0)
    for i in range(rows[0], rows[1]):
        for j in range(origin_mm.shape[1]):
            slope_r = direction[i, j, row] / direction[i, j, along]
            slope_c = direction[i, j, column] / direction[i, j, along]
            depth = origin_mm[i, j, along] / voxel_mm + middle[0]
            start_r = origin_mm[i, j, row] / voxel_mm + middle[1] - depth * slope_r
            start_c = origin_mm[i, j, column] / voxel_mm + middle[2] - depth * slope_c
            start, slope = (start_r, start_c), (slope_r, slope_c)
            slices = _slices_crossed(start, slope, end, shape[0])
            first, second = _sums_along(voxels, strides, start, slope, slices)
            per_slice_cm = 0.1 * voxel_mm * np.sqrt(1.0 + slope_r * slope_r + slope_c * slope_c)
            lengths[0, i, j] = first * per_slice_cm
            lengths[1, i, j] = second * per_slice_cm


class FastProjector(Projector):
    """Joseph's method, ray by ray, on the CPU."""

    def __init__(self, pair: VolumePair) -> None:
        """Interleave the filled part of both volumes, 8 bytes a voxel."""
        shape = pair.first.shape
        padded = [n + MARGIN_BEFORE + MARGIN_AFTER for n in shape]
        voxels = np.zeros((*padded, 2), dtype=np.float32)
        d0, d1, d2 = (slice(MARGIN_BEFORE, MARGIN_BEFORE + n) for n in shape)
        voxels[d0, d1, d2, 0] = pair.first
        voxels[d0, d1, d2, 1] = pair.second
        self._voxels = voxels.reshape(-1)
        self._strides = np.array([2 * padded[1] * padded[2], 2 * padded[2], 2])
        self._shape = np.array(shape)
        self._voxel_mm = pair.voxel_mm
        middle = (np.array(shape) - 1) / 2 + MARGIN_BEFORE
        self._middle = middle - np.array(pair.centre_mm) / pair.voxel_mm

    def ray_lengths_cm(
        self, pose_deg: Pose, detector: Detector
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return both lengths of every ray; runs on as many threads as torch is set to."""
        rays = detector_rays(detector, pose_deg)
        along = joseph_axis(rays)
        axes = np.array([along, *(axis for axis in range(3) if axis != along)])
        n_rows, n_columns = rays.origin_mm.shape[:2]
        lengths = np.zeros((2, n_rows, n_columns), dtype=np.float32)

        def march_rows(first: int) -> None:
            _march(
                self._voxels, self._strides[axes], self._shape[axes], self._middle[axes],
                self._voxel_mm, axes, rays.origin_mm, rays.direction,
                (first, min(first + ROWS_PER_TASK, n_rows)), lengths,
            )  # fmt: skip

        starts = range(0, n_rows, ROWS_PER_TASK)
        n_threads = min(torch.get_num_threads(), len(starts))
        if n_threads == 1:
            for first in starts:
                march_rows(first)
        else:
            with ThreadPoolExecutor(n_threads) as pool:
                list(pool.map(march_rows, starts))
        return lengths[0], lengths[1]

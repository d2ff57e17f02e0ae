"""Cubes from any voxels: what resampling keeps."""

import numpy as np
import pytest
from scipy import ndimage

from dexsearch.volumes.resampling import CubicGrid


def test_the_same_voxels_are_returned_unchanged() -> None:
    volume = np.random.default_rng(0).random((11, 5, 6)).astype(np.float32)
    grid = CubicGrid(volume.shape, (2.0, 2.0, 2.0), 2.0)
    first, second = grid.resampled(lambda rows: (volume[rows], 2 * volume[rows]))
    np.testing.assert_array_equal(first, volume)
    np.testing.assert_array_equal(second, 2 * volume)


@pytest.mark.parametrize("side", [0.9, 1.5, 3.0])
def test_it_is_scipys_gaussian_and_linear_interpolation(side: float) -> None:
    volume = np.random.default_rng(0).random((19, 14, 16)).astype(np.float32)
    spacing = (1.7, 0.9, 1.1)
    (got,) = CubicGrid(volume.shape, spacing, side).resampled(lambda rows: (volume[rows],))
    factors = [size / side for size in spacing]
    sigma = [0.4 * np.sqrt(max(factor**-2 - 1, 0)) for factor in factors]
    centres = [
        (n - 1) / 2 + (np.arange(m) - (m - 1) / 2) / factor
        for n, m, factor in zip(volume.shape, got.shape, factors, strict=True)
    ]
    smooth = ndimage.gaussian_filter(volume.astype(float), sigma, mode="nearest")
    expected = ndimage.map_coordinates(
        smooth, np.meshgrid(*centres, indexing="ij"), order=1, mode="nearest"
    )
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_mass_and_centre_are_kept() -> None:
    volume = np.zeros((24, 20, 22), np.float32)
    volume[8:14, 5:12, 9:15] = 1
    (coarse,) = CubicGrid(volume.shape, (1.0, 1.0, 1.0), 2.0).resampled(
        lambda rows: (volume[rows],)
    )
    assert 8 * coarse.sum() == pytest.approx(volume.sum(), rel=1e-3)
    moved = np.subtract(ndimage.center_of_mass(volume), (np.array(volume.shape) - 1) / 2)
    coarse_moved = np.subtract(ndimage.center_of_mass(coarse), (np.array(coarse.shape) - 1) / 2)
    np.testing.assert_allclose(2 * coarse_moved, moved, atol=0.02)


def test_a_single_slice_is_resampled_too() -> None:
    (cube,) = CubicGrid((1, 1, 4), (3.0, 1.0, 1.0), 1.0).resampled(
        lambda rows: (np.ones((1, 1, 4), np.float32)[rows],)
    )
    assert cube.shape == (3, 1, 4)
    np.testing.assert_allclose(cube, 1.0)

"""The body without the table."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from dexsearch.volumes.body import body_mask, soft_tissue_noise_hu


def hu_with_a_table() -> NDArray[np.int16]:
    """A body with two lungs above a table, in our axes."""
    hu = np.full((6, 40, 48), -1000, np.int16)
    hu[:, 8:28, 6:42] = 40
    hu[:, 12:24, 10:18] = hu[:, 12:24, 26:36] = -850
    hu[:, 32:34, 2:46] = 100
    return hu


def test_the_table_is_taken_away_and_the_lungs_are_kept() -> None:
    mask = body_mask(hu_with_a_table())
    assert mask[:, 8:28, 6:42].all()
    assert mask.sum() == 6 * 20 * 36


def test_holes_are_filled_as_scipy_fills_them() -> None:
    hu = np.random.default_rng(0).normal(-400, 300, (8, 30, 30)).astype(np.float32)
    labels, _ = ndimage.label(hu > -400)
    largest = labels == np.bincount(labels.ravel())[1:].argmax() + 1
    expected = np.stack([ndimage.binary_fill_holes(row) for row in largest])
    np.testing.assert_array_equal(body_mask(hu), expected)


def test_an_open_airway_is_not_filled() -> None:
    hu = hu_with_a_table()
    hu[:, :10, 20:22] = -1000
    assert not body_mask(hu)[:, :10, 20:22].any()


SPACING_MM = (3.0, 2.0, 2.0)


def test_a_thin_arm_rest_that_touches_is_cut_off_and_the_body_kept() -> None:
    hu = hu_with_a_table()
    alone = body_mask(hu, spacing_mm=SPACING_MM)
    np.testing.assert_array_equal(alone, body_mask(hu))
    hu[:, 27:29, 41:48] = 60
    hu[:, 28:33, 46:48] = 60
    touching = body_mask(hu, spacing_mm=SPACING_MM)
    assert not (alone & ~touching).any()
    assert (touching & ~alone).sum() < 6 * 12
    assert body_mask(hu)[:, 32:34, 2:46].all()


def test_a_body_that_is_thin_everywhere_is_kept() -> None:
    hu = np.full((4, 9, 9), -1000, np.int16)
    hu[:, 4:6, 2:7] = 40
    np.testing.assert_array_equal(body_mask(hu, spacing_mm=SPACING_MM), hu == 40)


def test_voxels_that_are_too_coarse_for_thin_parts_lose_nothing() -> None:
    hu = hu_with_a_table()
    hu[:, 28:33, 20] = 40
    np.testing.assert_array_equal(body_mask(hu, spacing_mm=(5.0, 5.0, 5.0)), body_mask(hu))


def test_several_scans_are_averaged() -> None:
    low, high = hu_with_a_table(), hu_with_a_table()
    low[:, 4:6, 20:22], high[:, 4:6, 20:22] = 40, -1000
    low[:, 6:8, 20:22], high[:, 6:8, 20:22] = 40, 20
    mask = body_mask(low, high)
    assert mask[:, 6:8, 20:22].all()
    assert not mask[:, 4:6, 20:22].any()


def test_nothing_but_air_has_no_body() -> None:
    assert not body_mask(np.full((3, 4, 5), -1000, np.int16)).any()


@pytest.mark.parametrize("sigma_hu", [0.0, 30.0, 120.0])
def test_noise_is_measured_in_soft_tissue_whatever_lies_beside_it(sigma_hu: float) -> None:
    hu = hu_with_a_table()
    noise = np.random.default_rng(0).normal(0, 1, hu.shape)
    noisy = (hu + noise * np.where(hu == 40, sigma_hu, 10)).astype(np.float32)
    found = soft_tissue_noise_hu(noisy, body_mask(hu))
    assert found == pytest.approx(sigma_hu, rel=0.05, abs=0.01)


def test_a_scan_without_soft_tissue_shows_no_noise() -> None:
    air = np.full((3, 9, 9), -1000, np.int16)
    assert soft_tissue_noise_hu(air, air > 0) == 0.0

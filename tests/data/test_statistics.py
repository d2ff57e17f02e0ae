import numpy as np
import pytest

from dexsearch.data.statistics import data_range, mean_and_std

RNG = np.random.default_rng(0)
IMAGES = RNG.gamma(2.0, 3.0, (70, 20, 20)).astype(np.float32)
MASK = RNG.random(IMAGES.shape) < 0.4


def test_mean_and_std_are_those_of_the_pixels_in_the_mask() -> None:
    mean, std = mean_and_std(IMAGES, MASK)
    values = IMAGES[MASK].astype(np.float64)
    assert mean == pytest.approx(values.mean(), rel=1e-9)
    assert std == pytest.approx(values.std(), rel=1e-9)


def test_the_data_range_is_the_distance_of_two_percentiles() -> None:
    low, high = np.percentile(IMAGES[MASK], (0.1, 99.9))
    span = float(np.ptp(IMAGES[MASK]))
    # Between the two pixels around a percentile any value is one; the histogram adds 1e-5.
    values = np.sort(IMAGES[MASK].astype(np.float64))
    places = np.array([0.001, 0.999]) * values.size
    gap = max(np.ptp(values[int(place) - 2 : int(place) + 3]) for place in places)
    assert data_range(IMAGES, MASK) == pytest.approx(high - low, abs=2 * gap + 2e-5 * span)


def test_a_constant_image_has_no_data_range() -> None:
    assert data_range(np.ones_like(IMAGES), MASK) == 0.0


def test_images_with_an_empty_mask_are_passed_over() -> None:
    mask = MASK.copy()
    mask[:40] = False
    expected = mean_and_std(IMAGES[40:], MASK[40:])
    assert mean_and_std(IMAGES, mask) == pytest.approx(expected, rel=1e-12)


def test_path_lengths_in_half_precision_are_summed_in_double() -> None:
    # In float16 the sum would overflow after a few thousand pixels.
    halved = IMAGES.astype(np.float16)
    values = halved[MASK].astype(np.float64)
    assert mean_and_std(halved, MASK) == pytest.approx((values.mean(), values.std()), rel=1e-9)
    low, high = np.percentile(values, (0.1, 99.9))
    assert data_range(halved, MASK) == pytest.approx(high - low, rel=0.02)

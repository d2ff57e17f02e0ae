import numpy as np
import pytest

from dexsearch.images.resampling import resample, resampled_size_px

IMAGE = np.random.default_rng(0).random((12, 18)).astype(np.float32)


def test_a_whole_ratio_gives_the_means_of_blocks() -> None:
    blocks = IMAGE.reshape(4, 3, 6, 3).mean(axis=(1, 3))
    assert resample(IMAGE, 3.0, resampled_size_px(IMAGE.shape, 3.0)) == pytest.approx(blocks)


@pytest.mark.parametrize("ratio", [0.21, 0.99, 1.0, 1.01, 2.5, 7.3, 40.0])
def test_a_constant_stays_what_it_is(ratio: float) -> None:
    size_px = resampled_size_px((37, 50), ratio)
    assert resample(np.full((37, 50), 3, np.float32), ratio, size_px) == pytest.approx(3.0)


def test_parts_of_pixels_count_by_their_area() -> None:
    row = np.array([[1, 2, 3, 4, 5]], np.float32)
    expected = [[(1 + 0.5 * 2) / 1.5, (0.5 * 2 + 3) / 1.5, (4 + 0.5 * 5) / 1.5, 5]]
    assert resampled_size_px((1, 5), 1.5) == (1, 4)
    assert resample(row, 1.5, (1, 4)) == pytest.approx(np.array(expected))


def test_shrinking_keeps_the_amount_of_material() -> None:
    shrunk = resample(IMAGE, 1.5, resampled_size_px(IMAGE.shape, 1.5))
    assert shrunk.shape == (8, 12)
    assert shrunk.sum() * 1.5**2 == pytest.approx(IMAGE.sum(), rel=1e-5)


def test_a_ramp_keeps_its_places_there_and_back() -> None:
    ramp = np.add.outer(np.arange(60.0), 2 * np.arange(80.0)).astype(np.float32)
    shrunk = resample(ramp, 2.5, resampled_size_px(ramp.shape, 2.5))
    back = resample(shrunk, 1 / 2.5, ramp.shape)
    assert back[3:-3, 3:-3] == pytest.approx(ramp[3:-3, 3:-3], abs=0.13)  # steps are up to 2


@pytest.mark.parametrize("ratio", [0.0, -1.0, float("nan"), float("inf")])
def test_a_ratio_that_is_none_is_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        resample(IMAGE, ratio, (3, 3))

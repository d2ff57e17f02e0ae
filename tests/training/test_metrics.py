"""Laws of the image scores; scikit-image is the oracle."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.metrics import structural_similarity

from dexsearch.training.metrics import (
    EROSION_PX,
    erode,
    mae,
    masked_ssim,
    psnr,
    score_images,
    ssim_map,
    whole_ssim,
)


def images(
    seed: int, *, scale: float = 1.0, offset: float = 0.0, shape: tuple[int, int] = (48, 40)
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return prediction, truth and mask of 3 images and 2 targets."""
    rng = np.random.default_rng(seed)
    truth = ndimage.gaussian_filter(rng.normal(size=(3, 2, *shape)), (0, 0, 2, 2)) * 4
    prediction = truth + 0.1 * rng.normal(size=truth.shape)
    mask = np.zeros((3, 1, *shape), dtype=bool)
    mask[0, :, 4:40, 3:36], mask[1], mask[2, :, 10:33, 8:30] = True, True, True
    as_float = lambda array: torch.from_numpy(scale * array + offset).float()  # noqa: E731
    return as_float(prediction), as_float(truth), torch.from_numpy(mask)


def oracle(prediction: torch.Tensor, truth: torch.Tensor, data_range: float) -> np.ndarray:
    return structural_similarity(
        prediction.double().numpy(),
        truth.double().numpy(),
        data_range=data_range,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )[1]


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (20.0, 18.0), (500.0, 1000.0)])
def test_masked_ssim_equals_scikit_image(scale: float, offset: float) -> None:
    prediction, truth, mask = images(0, scale=scale, offset=offset)
    ranges = (3.0 * scale, 1.7 * scale)
    ours = masked_ssim(prediction, truth, data_range=ranges, mask=mask)
    square = np.ones((2 * EROSION_PX + 1,) * 2, dtype=bool)
    for image in range(3):
        inner = ndimage.binary_erosion(mask[image, 0].numpy(), square)
        for target in range(2):
            reference = oracle(prediction[image, target], truth[image, target], ranges[target])
            assert float(ours[image, target]) == pytest.approx(reference[inner].mean(), abs=1e-5)


def test_the_whole_map_equals_scikit_image_up_to_the_edges() -> None:
    prediction, truth, _ = images(1)
    ours = ssim_map(prediction, truth, data_range=2.0)
    for image in range(3):
        reference = oracle(prediction[image, 0], truth[image, 0], 2.0)
        np.testing.assert_allclose(ours[image, 0].numpy(), reference, atol=1e-4)
        whole = whole_ssim(prediction, truth, data_range=2.0)[image, 0]
        assert float(whole) == pytest.approx(reference[5:-5, 5:-5].mean(), abs=1e-5)


def test_an_identical_prediction_scores_one() -> None:
    _, truth, mask = images(2)
    scores = score_images(truth, truth, data_range=2.0, mask=mask)
    torch.testing.assert_close(scores.ssim, torch.ones(3, 2))
    torch.testing.assert_close(scores.psnr, torch.full((3, 2), 120.0))
    assert float(scores.mae.abs().max()) == 0


def test_what_lies_outside_the_mask_does_not_matter() -> None:
    prediction, truth, mask = images(3)
    spoilt = torch.where(mask, prediction, 1e6)
    one = score_images(prediction, truth, data_range=2.0, mask=mask)
    other = score_images(spoilt, truth, data_range=2.0, mask=mask)
    torch.testing.assert_close(one.ssim, other.ssim)
    torch.testing.assert_close(one.psnr, other.psnr)
    torch.testing.assert_close(one.mae, other.mae)


def test_scores_do_not_depend_on_the_unit() -> None:
    prediction, truth, mask = images(4)
    one = masked_ssim(prediction, truth, data_range=2.0, mask=mask)
    ten = masked_ssim(10 * prediction, 10 * truth, data_range=20.0, mask=mask)
    torch.testing.assert_close(one, ten, atol=1e-5, rtol=0)


def test_psnr_and_mae_of_a_constant_error() -> None:
    _, truth, mask = images(5)
    shifted = truth + 0.2
    torch.testing.assert_close(mae(shifted, truth, mask=mask), torch.full((3, 2), 0.2))
    torch.testing.assert_close(
        psnr(shifted, truth, data_range=2.0, mask=mask), torch.full((3, 2), 20.0)
    )


@pytest.mark.parametrize("radius_px", [0, 1, 2, 3, 5, 7, 20])
def test_erosion_is_that_of_a_square_and_the_edge_is_outside(radius_px: int) -> None:
    mask = torch.ones(2, 1, 44, 23, dtype=torch.bool)
    mask[0, 0, 9, 7] = mask[1, 0, 0, 22] = mask[1, 0, 30, 1] = False
    eroded = erode(mask, radius_px)
    square = np.ones((2 * radius_px + 1,) * 2, dtype=bool)
    for image in range(2):
        expected = ndimage.binary_erosion(mask[image, 0].numpy(), square)
        np.testing.assert_array_equal(eroded[image, 0].numpy(), expected)


def test_an_empty_mask_scores_nan_and_not_zero() -> None:
    prediction, truth, mask = images(6)
    mask[1] = False
    scores = masked_ssim(prediction, truth, data_range=1.0, mask=mask)
    assert scores.isnan().tolist() == [[False, False], [True, True], [False, False]]


def test_bad_ranges_and_small_images_are_refused() -> None:
    prediction, truth, _ = images(7)
    with pytest.raises(ValueError, match="data_range=0"):
        ssim_map(prediction, truth, data_range=0.0)
    with pytest.raises(ValueError, match="3 data ranges for 2 targets"):
        ssim_map(prediction, truth, data_range=(1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="at least 11 px"):
        ssim_map(prediction[..., :8, :8], truth[..., :8, :8], data_range=1.0)

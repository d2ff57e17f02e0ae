"""Gaussian blur against SciPy's."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from dexsearch.physics.blurring import blurred


@pytest.mark.parametrize("sigma_px", [0.2, 1.0, 3.9, 4.1, 12.5, 80.0])
def test_blur_is_that_of_scipy(sigma_px: float) -> None:
    image = torch.rand(2, 3, 40, 57, generator=torch.Generator().manual_seed(0))
    expected = gaussian_filter(
        image[1, 2].double().numpy(), sigma_px, mode="nearest", truncate=8.0
    )
    np.testing.assert_allclose(blurred(image, sigma_px)[1, 2].numpy(), expected, atol=2e-5)


@pytest.mark.parametrize("sigma_px", [0.5, 30.0])
def test_a_uniform_image_stays_as_it_is(sigma_px: float) -> None:
    np.testing.assert_allclose(blurred(torch.full((1, 16, 9), 3.0), sigma_px), 3.0, rtol=1e-6)


@pytest.mark.parametrize("sigma_px", [0.0, -1.0, float("nan"), float("inf")])
def test_a_width_that_is_none_is_refused(sigma_px: float) -> None:
    with pytest.raises(ValueError, match="it is above 0"):
        blurred(torch.zeros(1, 4, 4), sigma_px)


@pytest.mark.parametrize("sigma_px", [0.75, 9.0])
def test_the_number_of_threads_changes_no_bit_of_a_blur(
    sigma_px: float, request: pytest.FixtureRequest
) -> None:
    before = torch.get_num_threads()
    request.addfinalizer(lambda: torch.set_num_threads(before))
    images = torch.rand(2, 2, 34, 34, generator=torch.Generator().manual_seed(0))
    blurs = []
    for n_threads in (1, 2, 4):
        torch.set_num_threads(n_threads)
        blurs.append(blurred(images, sigma_px))
        assert torch.get_num_threads() == n_threads, "the caller's setting is left alone"
    assert torch.equal(blurs[0], blurs[1])
    assert torch.equal(blurs[0], blurs[2])

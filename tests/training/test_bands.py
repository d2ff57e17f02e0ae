"""Laws of filtering with banded matrices; SciPy is the oracle."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from dexsearch.training.bands import gaussian_filter


@pytest.mark.parametrize(("edges", "mode"), [("mirror", "reflect"), ("zero", "constant")])
@pytest.mark.parametrize("sigma_px", [0.7, 1.5, 9.0])
def test_blocks_of_a_banded_matrix_filter_as_scipy_does(
    edges: str, mode: str, sigma_px: float
) -> None:
    image = np.random.default_rng(0).normal(size=(53, 2, 70))
    radius = int(np.ceil(3 * sigma_px))
    ours = gaussian_filter(
        torch.from_numpy(image), sigma_px=sigma_px, radius_px=radius, edges=edges  # type: ignore[arg-type]
    )  # fmt: skip
    for plane in range(2):
        expected = ndimage.gaussian_filter(image[:, plane], sigma_px, mode=mode, radius=radius)
        np.testing.assert_allclose(ours[:, plane].numpy(), expected, atol=1e-10)

"""Laws of the shared layers."""

import pytest
import torch

from dexsearch.models.layers import Downsampling, Upsampling, norm_layer


@pytest.mark.parametrize("kernel_px", range(2, 8))
def test_halving_and_doubling_are_exact_for_every_kernel(kernel_px: int) -> None:
    images = torch.randn(1, 3, 12, 10)
    assert Downsampling(3, 4, kernel_px, bias=True)(images).shape == (1, 4, 6, 5)
    assert Upsampling(3, 4, kernel_px, bias=True)(images).shape == (1, 4, 24, 20)


def test_no_norm_is_no_layer() -> None:
    assert norm_layer("none", 3) is None
    assert norm_layer("batch", 3) is not None

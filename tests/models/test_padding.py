"""Laws of padding."""

import pytest
import torch

from dexsearch.models.padding import crop_images, pad_images, padded_size_px


@pytest.mark.parametrize("size", [(33, 64), (5, 7), (64, 64), (1, 90)])
def test_padding_reaches_a_multiple_and_cropping_undoes_it(size: tuple[int, int]) -> None:
    images = torch.randn(2, 3, *size)
    padded = pad_images(images, depth=4)
    assert padded.shape[-2:] == padded_size_px(size, depth=4)
    assert all(side % 16 == 0 and side >= 32 for side in padded.shape[-2:])
    assert torch.equal(crop_images(padded, size), images)


def test_a_fitting_image_is_not_touched() -> None:
    images = torch.randn(1, 1, 64, 32)
    assert pad_images(images, depth=4) is images

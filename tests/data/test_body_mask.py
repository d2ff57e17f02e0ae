"""The body is found in raw images, whichever way their values run."""

import numpy as np
import pytest

from dexsearch.data.body_mask import background, body_mask


@pytest.mark.parametrize("dense_is", [1.0, -1.0])
def test_lungs_and_noise_do_not_make_holes_in_the_body(dense_is: float) -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:80, 0:80]
    body = (y - 40) ** 2 + (x - 40) ** 2 < 30**2
    lung = (y - 40) ** 2 + (x - 30) ** 2 < 8**2
    image = np.where(body & ~lung, 5.0, 0.0) + rng.normal(0, 0.1, body.shape)
    found = body_mask((dense_is * image + 100).astype(np.float32))
    assert np.mean(found == body) > 0.99


def test_an_image_filled_by_the_body_has_a_full_mask() -> None:
    assert body_mask(np.full((20, 20), 3.0, dtype=np.float32)).all()


def test_one_marked_corner_is_no_background() -> None:
    y, x = np.mgrid[0:64, 0:64]
    body = (y - 32) ** 2 + (x - 32) ** 2 < 20**2
    image = np.where(body, 5.0, 0.0).astype(np.float32)
    image[:4, :4] = 9.0
    assert background(image) == 0
    assert np.array_equal(body_mask(image), body)


def test_a_body_that_reaches_over_the_edge_has_a_full_mask() -> None:
    image = np.zeros((64, 64), dtype=np.float32)
    image[20:] = 5.0
    assert body_mask(image).all()

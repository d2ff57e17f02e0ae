"""Laws of the least-squares line."""

import numpy as np
import pytest
import torch

from dexsearch.config.trial import GeneratorConfig
from dexsearch.models.generator import build_generator
from dexsearch.training.affine import fit_affine, start_from_affine


def test_the_line_is_that_of_polyfit_however_the_pixels_are_batched() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(5, 1, 1000).astype(np.float32)
    y = (2 * x + rng.normal(size=1000)).astype(np.float32)
    slope, offset = np.polyfit(x.astype(float), y.astype(float), 1)
    pixels = torch.from_numpy(x), torch.from_numpy(y)
    for size in (1000, 7):
        fit = fit_affine(zip(*(part.split(size) for part in pixels), strict=True))
        assert (fit.slope, fit.offset) == pytest.approx((slope, offset), abs=1e-9)
        assert fit.mean_target == pytest.approx(y.mean(dtype=float))


def test_equal_inputs_give_the_mean_target() -> None:
    fit = fit_affine([(torch.full((4,), 2.0), torch.tensor([1.0, 2.0, 3.0, 4.0]))])
    assert (fit.slope, fit.offset) == (0.0, 2.5)


def test_no_pixel_is_refused() -> None:
    with pytest.raises(ValueError, match="no pixel"):
        fit_affine([(torch.empty(0), torch.empty(0))])


@pytest.mark.parametrize("empty", [False, True])
def test_a_generator_starts_from_the_line_inside_the_masks(empty: bool) -> None:
    generator = build_generator(GeneratorConfig(depth=2, width=4), n_targets=2)
    x = torch.randn(37, 1, 16, 16)
    mask = torch.zeros_like(x, dtype=torch.bool) if empty else torch.rand(x.shape) > 0.3
    y = torch.cat((3 * x - 1, -0.5 * x + 2), dim=1)
    start_from_affine(generator, x, y if empty else torch.where(mask, y, 1e3), mask)
    torch.testing.assert_close(generator(x), y, atol=1e-4, rtol=1e-4)

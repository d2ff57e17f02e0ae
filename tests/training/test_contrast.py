"""Laws of contrast between neighbours."""

import pytest
import torch

from dexsearch.training.contrast import contrast_per_cm, high_pass, local_mean

SIZE_PX = 64
MASK = torch.ones(2, SIZE_PX, SIZE_PX, dtype=torch.bool)


def thicknesses() -> tuple[torch.Tensor, torch.Tensor]:
    """Ribs that take the place of soft tissue, whose thickness falls from left to right."""
    rng = torch.Generator().manual_seed(0)
    rows = torch.arange(SIZE_PX).view(-1, 1).expand(2, SIZE_PX, SIZE_PX)
    bone = (rows % 9 < 3).float()
    vessels = torch.rand(2, SIZE_PX, SIZE_PX, generator=rng)
    soft = torch.linspace(20, 10, SIZE_PX) - bone + vessels
    return soft, bone


def test_each_material_has_its_own_contrast_though_one_displaces_the_other() -> None:
    soft, bone = thicknesses()
    image = 0.2 * soft + 0.6 * bone + 3.0
    found = contrast_per_cm(image, soft, bone, MASK, pixel_mm=3.0)
    assert found == pytest.approx((0.2, 0.6), abs=1e-4)


def test_what_lies_outside_the_mask_does_not_count() -> None:
    soft, bone = thicknesses()
    mask = MASK.clone()
    mask[:, :, :20] = False
    image = torch.where(mask, 0.2 * soft + 0.6 * bone, 1e3)
    found = contrast_per_cm(image, soft, bone, mask, pixel_mm=3.0)
    assert found == pytest.approx((0.2, 0.6), abs=1e-4)


def test_thicknesses_that_only_vary_together_are_refused() -> None:
    soft, _ = thicknesses()
    for bone in (2 * soft, torch.ones_like(soft)):
        with pytest.raises(ValueError, match="do not vary independently"):
            contrast_per_cm(soft, soft, bone, MASK, pixel_mm=3.0)


def test_what_is_constant_in_the_mask_has_no_detail_whatever_lies_outside() -> None:
    mask = torch.zeros_like(MASK)
    mask[:, 20:50, 20:50] = True
    image = torch.where(mask, 4.0, 100.0)
    assert high_pass(image, mask, sigma_px=3.0).abs().max() < 1e-4
    assert local_mean(image, mask, sigma_px=3.0)[mask].allclose(torch.tensor(4.0))


@pytest.mark.parametrize("sigma_px", [0.0, -1.0, float("nan"), float("inf")])
def test_a_window_without_width_is_refused(sigma_px: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        high_pass(torch.ones(2, SIZE_PX, SIZE_PX), MASK, sigma_px=sigma_px)

"""Laws of the signal-difference-to-noise ratio."""

import math

import pytest
import torch

from dexsearch.training.sdnr import (
    Regions,
    anatomy_limited,
    rib_regions,
    tumour_regions,
    visibility,
)

SIZE_PX = 96
PIXEL_MM = 3.0
MASK = torch.ones(1, SIZE_PX, SIZE_PX, dtype=torch.bool)
CENTRE = torch.tensor([47.5])


def tumour() -> Regions:
    return tumour_regions(CENTRE, CENTRE, torch.tensor([20.0]), MASK)


def two_exposures(image: torch.Tensor, sigma: float) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    one, two = (image + sigma * torch.randn(image.shape, generator=rng) for _ in range(2))
    return one, two


def disc(value: float) -> torch.Tensor:
    return torch.where(tumour().signal, value, 0.0)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_ratio_is_the_contrast_over_the_noise(sign: float) -> None:
    seen = visibility(*two_exposures(disc(0.5 * sign), 0.1), tumour(), pixel_mm=PIXEL_MM)
    assert seen.difference.item() == pytest.approx(0.5 * sign, abs=0.02)
    assert seen.quantum.item() == pytest.approx(5.0, rel=0.1)
    assert seen.anatomy.item() == pytest.approx(5.0, rel=0.1)


def test_halving_the_noise_doubles_the_quantum_limited_ratio() -> None:
    noisy = visibility(*two_exposures(disc(1.0), 0.1), tumour(), pixel_mm=PIXEL_MM)
    quiet = visibility(*two_exposures(disc(1.0), 0.05), tumour(), pixel_mm=PIXEL_MM)
    assert quiet.quantum.item() == pytest.approx(2 * noisy.quantum.item(), rel=0.02)


def test_structures_in_the_background_limit_only_the_anatomical_ratio() -> None:
    stripes = torch.sin(torch.arange(SIZE_PX) * 1.3).expand(1, SIZE_PX, SIZE_PX)
    plain = visibility(*two_exposures(disc(1.0), 0.05), tumour(), pixel_mm=PIXEL_MM)
    crossed = visibility(*two_exposures(disc(1.0) + stripes, 0.05), tumour(), pixel_mm=PIXEL_MM)
    assert crossed.quantum.item() == pytest.approx(plain.quantum.item(), rel=0.1)
    assert crossed.anatomy.item() < 0.2 * plain.anatomy.item()


def test_units_and_a_common_offset_do_not_matter() -> None:
    one, two = two_exposures(disc(1.0), 0.1)
    first = visibility(one, two, tumour(), pixel_mm=PIXEL_MM)
    second = visibility(7 * one + 3, 7 * two + 3, tumour(), pixel_mm=PIXEL_MM)
    assert second.quantum.item() == pytest.approx(first.quantum.item(), rel=1e-3)
    assert second.anatomy.item() == pytest.approx(first.anatomy.item(), rel=1e-3)


def test_a_shading_across_the_image_is_no_signal() -> None:
    ramp = torch.linspace(0, 10, SIZE_PX).expand(1, SIZE_PX, SIZE_PX)
    seen = visibility(*two_exposures(ramp, 0.01), tumour(), pixel_mm=PIXEL_MM)
    assert abs(seen.difference.item()) < 0.02


def test_ribs_lie_over_the_lungs_and_spaces_between_them() -> None:
    rows = torch.arange(SIZE_PX).view(-1, 1).expand(SIZE_PX, SIZE_PX)
    columns = rows.T
    rib = (rows % 10 < 4).float()
    spine = (columns > 60).float()
    soft = 10 + 10 * spine
    regions = rib_regions(soft[None], (rib + 2 * spine)[None], MASK, pixel_mm=PIXEL_MM)
    assert regions.signal.any()
    assert regions.background.any()
    assert not (regions.signal & regions.background).any()
    assert (rib[regions.signal[0]] == 1).all()
    assert (rib[regions.background[0]] == 0).all()
    assert (columns[regions.signal[0]] < 66).all()
    assert not regions.signal[0, :3].any(), "the rim of the body is left out"


def test_a_view_without_the_structure_has_no_ratio() -> None:
    nothing = Regions(signal=torch.zeros_like(MASK), background=MASK)
    seen = visibility(*two_exposures(disc(1.0), 0.1), nothing, pixel_mm=PIXEL_MM)
    assert math.isnan(seen.quantum.item())


def test_one_exposure_given_twice_is_refused() -> None:
    one, _ = two_exposures(disc(1.0), 0.1)
    with pytest.raises(ValueError, match="the same exposure twice"):
        visibility(one, one, tumour(), pixel_mm=PIXEL_MM)


def test_two_plateaus_and_known_noise_have_the_ratio_of_the_closed_form() -> None:
    rows, columns = torch.meshgrid(torch.arange(SIZE_PX), torch.arange(SIZE_PX), indexing="ij")
    halves = Regions(signal=(columns < 48)[None], background=(columns >= 48)[None])
    noise = 0.25 * (1 - 2 * ((rows + columns) % 2))  # a chessboard: no mean, deviation 0.25
    image = torch.where(columns < 48, 5.0, 3.0 + noise)
    count = SIZE_PX * (SIZE_PX - 48)
    expected = (5.0 - 3.0) / (0.25 * math.sqrt(count / (count - 1)))
    found = anatomy_limited(image[None, None], halves, pixel_mm=PIXEL_MM)
    assert found.item() == pytest.approx(expected, rel=5e-3)
    darker = anatomy_limited(-image[None, None], halves, pixel_mm=PIXEL_MM)
    assert darker.item() == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize("value", [0.0, 0.1, 1.0, -1234.5])
def test_a_constant_image_has_ratio_zero_and_a_view_without_regions_none(value: float) -> None:
    images = torch.full((1, 2, SIZE_PX, SIZE_PX), value)
    assert anatomy_limited(images, tumour(), pixel_mm=PIXEL_MM).tolist() == [[0.0, 0.0]]
    nothing = Regions(signal=torch.zeros_like(MASK), background=MASK)
    assert anatomy_limited(images, nothing, pixel_mm=PIXEL_MM).isnan().all()


def test_views_cut_about_their_tumours_have_the_ratios_of_whole_views() -> None:
    size_px = 200
    places = torch.tensor([[99.5, 80.0], [3.0, 190.0], [150.2, 8.0]])  # two near a corner
    mask = torch.ones(3, size_px, size_px, dtype=torch.bool)
    mask[1, :20] = False
    regions = tumour_regions(*places.unbind(1), torch.tensor([9.0, 30.0, 12.5]), mask)
    regions.signal[1, 40, 150] = True
    both = regions.signal | regions.background
    image = torch.randn(both.shape, generator=torch.Generator().manual_seed(0)) + regions.signal
    elsewhere = torch.where(both, image, math.nan)
    whole = visibility(image, torch.where(both, image, 0.0), regions, pixel_mm=PIXEL_MM)
    cut = anatomy_limited(elsewhere[:, None], regions, pixel_mm=PIXEL_MM)[:, 0]
    assert cut.isfinite().all()
    assert cut.tolist() == pytest.approx(whole.anatomy.tolist(), rel=1e-5)

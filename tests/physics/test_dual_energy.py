"""Dual energy against closed forms, the simulator and the reference numbers."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from dexsearch.physics import dual_energy
from dexsearch.physics.attenuation import DetectedBeam, absorbed_beam
from dexsearch.physics.detector import log_projections
from dexsearch.physics.dual_energy import (
    Decomposition,
    bone_image,
    cancelling_weights,
    fit_decomposition,
    soft_image,
)
from dexsearch.physics.exposure import Exposure
from dexsearch.physics.geometry import Detector

PAIRS = [(60.0, 120.0), (80.0, 140.0)]


def exposures(low_kvp: float, high_kvp: float) -> tuple[Exposure, Exposure]:
    return Exposure(kvp=low_kvp), Exposure(kvp=high_kvp)


def expose(
    soft_cm: Tensor, bone_cm: Tensor, exposure: Exposure, seed: int | None = None
) -> Tensor:
    """Log projections of rows of thicknesses, one ray a pixel."""
    return log_projections(
        soft_cm.float()[None],
        bone_cm.float()[None],
        exposure,
        detector=Detector(size_px=1, pixel_mm=1.0),
        rays_per_pixel=1,
        rng=None if seed is None else torch.Generator().manual_seed(seed),
    )[0]


@pytest.mark.parametrize(
    ("kvp", "bone_cancelling", "soft_cancelling"),
    [((80.0, 140.0), 0.74, 0.89), ((60.0, 120.0), 0.59, 0.815)],
)
def test_weights_of_the_body_are_the_reference_ones(
    kvp: tuple[float, float], bone_cancelling: float, soft_cancelling: float
) -> None:
    weights = cancelling_weights(*exposures(*kvp))
    assert weights.bone_cancelling == pytest.approx(bone_cancelling, abs=0.01)
    assert weights.soft_cancelling == pytest.approx(soft_cancelling, abs=0.01)


def test_weights_of_the_plastic_phantom_are_the_reference_ones() -> None:
    weights = cancelling_weights(
        *exposures(80.0, 140.0), soft="cirs_plastic_water", bone="cirs_bone_adult"
    )
    assert weights.bone_cancelling == pytest.approx(0.78, abs=0.01)
    assert weights.soft_cancelling == pytest.approx(0.89, abs=0.01)


def test_weights_of_single_energies_are_ratios_of_attenuation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = {60.0: 50.0, 120.0: 70.0}

    def one_line(kvp: float, *, filters_mm: object) -> DetectedBeam:
        one = np.ones(1)
        return DetectedBeam(lines[kvp] * one, one, one, one)

    monkeypatch.setattr(dual_energy, "absorbed_beam", one_line)
    mu = {
        material: dual_energy.linear_attenuation_per_cm(material, np.array([50.0, 70.0]))
        for material in ("soft_tissue", "cortical_bone")
    }
    weights = cancelling_weights(*exposures(60.0, 120.0))
    assert weights.soft_cancelling == pytest.approx(mu["soft_tissue"][1] / mu["soft_tissue"][0])
    assert weights.bone_cancelling == pytest.approx(
        mu["cortical_bone"][1] / mu["cortical_bone"][0]
    )


@pytest.mark.parametrize("kvp", [(140.0, 80.0), (100.0, 100.0)])
@pytest.mark.parametrize("function", [cancelling_weights, fit_decomposition])
def test_beams_swapped_or_alike_are_refused(kvp: tuple[float, float], function: object) -> None:
    assert callable(function)
    with pytest.raises(ValueError, match="swap the beams or move them apart"):
        function(*exposures(*kvp))


def test_a_body_of_less_than_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="0 or more"):
        cancelling_weights(*exposures(60.0, 120.0), soft_cm=-1.0)


def test_a_filter_on_the_high_beam_lowers_both_weights() -> None:
    bare = cancelling_weights(Exposure(kvp=80.0), Exposure(kvp=140.0))
    tin = Exposure(kvp=140.0, filters_mm=(("tin", 0.5),))
    filtered = cancelling_weights(Exposure(kvp=80.0), tin)
    assert filtered.bone_cancelling < bare.bone_cancelling - 0.1
    assert filtered.soft_cancelling < bare.soft_cancelling - 0.02


@pytest.mark.parametrize("kvp", PAIRS)
def test_a_little_bone_vanishes_at_its_own_weight(kvp: tuple[float, float]) -> None:
    low, high = exposures(*kvp)
    weight = cancelling_weights(low, high, soft_cm=14.0, bone_cm=0.0).bone_cancelling
    soft_cm = torch.full((2, 1), 14.0)
    bone_cm = torch.tensor([[0.0], [0.1]])
    logs = [expose(soft_cm, bone_cm, exposure) for exposure in (low, high)]
    image = soft_image(logs[0], logs[1], weight)
    assert abs(image[1] - image[0]) < 0.02 * (logs[1][1] - logs[1][0])


@pytest.mark.parametrize("kvp", PAIRS)
def test_a_little_soft_tissue_vanishes_at_its_own_weight(kvp: tuple[float, float]) -> None:
    low, high = exposures(*kvp)
    weight = cancelling_weights(low, high, soft_cm=14.0, bone_cm=0.0).soft_cancelling
    soft_cm = torch.tensor([[13.5], [14.5]])
    logs = [expose(soft_cm, torch.zeros(2, 1), exposure) for exposure in (low, high)]
    image = bone_image(logs[0], logs[1], weight)
    assert abs(image[1] - image[0]) < 0.02 * (logs[1][1] - logs[1][0])


def body() -> tuple[Tensor, Tensor]:
    """A trunk that thickens towards its middle, with ribs and a spine."""
    column = torch.linspace(-1.0, 1.0, 64)
    soft_cm = 10.0 + 8.0 * (1.0 - column**2).expand(64, 64)
    ribs = (torch.arange(64) % 8 < 3).float()[:, None].expand(64, 64)
    bone_cm = 0.4 * ribs + 1.5 * (column.abs() < 0.15).float()
    return soft_cm - bone_cm, bone_cm


def correlation(first: Tensor, second: Tensor) -> float:
    return float(torch.corrcoef(torch.stack((first.flatten(), second.flatten())))[0, 1])


@pytest.mark.parametrize("kvp", PAIRS)
def test_the_bone_image_at_the_computed_weight_follows_bone(kvp: tuple[float, float]) -> None:
    soft_cm, bone_cm = body()
    low, high = exposures(*kvp)
    logs = [expose(soft_cm, bone_cm, exposure) for exposure in (low, high)]
    weight = cancelling_weights(low, high).soft_cancelling
    assert correlation(bone_image(logs[0], logs[1], weight), bone_cm) > 0.9
    assert correlation(logs[0], bone_cm) < 0.8
    away = correlation(bone_image(logs[0], logs[1], weight - 0.05), bone_cm)
    assert away < correlation(bone_image(logs[0], logs[1], weight), bone_cm) - 0.02


KERMA_UGY_PER_MAS = {60.0: 48.89, 80.0: 81.97, 120.0: 158.71, 140.0: 200.9}
"""Air kerma at 100 cm by SpekPy, for exposures of the same dose at the entrance."""


def bone_signal_to_noise(low_kvp: float, high_kvp: float) -> float:
    """Of 1 cm of bone in 18 cm of soft tissue, both exposures with the same entrance dose."""
    low, high = (
        Exposure(kvp=kvp, dose_mas=400.0 / KERMA_UGY_PER_MAS[kvp]) for kvp in (low_kvp, high_kvp)
    )
    weight = cancelling_weights(low, high).soft_cancelling
    soft_cm = torch.full((128, 128), 18.0)
    means, noise = [], 0.0
    for thickness_cm in (0.0, 1.0):
        bone_cm = torch.full_like(soft_cm, thickness_cm)
        logs = [expose(soft_cm, bone_cm, exposure, i) for i, exposure in enumerate((low, high))]
        image = bone_image(logs[0], logs[1], weight)
        means.append(float(image.mean()))
        noise = float(image.std())
    return (means[1] - means[0]) / noise


def test_60_and_120_kvp_show_bone_one_and_a_half_times_as_well_as_80_and_140() -> None:
    ratio = bone_signal_to_noise(60.0, 120.0) / bone_signal_to_noise(80.0, 140.0)
    assert ratio == pytest.approx(1.55, abs=0.15)


@pytest.fixture(scope="module", params=PAIRS)
def fitted(request: pytest.FixtureRequest) -> tuple[Exposure, Exposure, Decomposition]:
    low, high = exposures(*request.param)
    return low, high, fit_decomposition(low, high)


def exact_log(soft_cm: Tensor, bone_cm: Tensor, exposure: Exposure) -> Tensor:
    """Log projection of all 1 keV bins in float64."""
    beam = absorbed_beam(exposure.kvp)
    energy = torch.from_numpy(beam.quanta_per_cm2_mas * beam.energy_kev)
    length = soft_cm[..., None] * torch.from_numpy(beam.mu_soft_per_cm)
    length = length + bone_cm[..., None] * torch.from_numpy(beam.mu_bone_per_cm)
    return -((torch.exp(-length) @ energy) / energy.sum()).log()


def test_thicknesses_are_recovered_to_less_than_3e_3_cm(
    fitted: tuple[Exposure, Exposure, Decomposition],
) -> None:
    low, high, decomposition = fitted
    soft_cm, bone_cm = torch.meshgrid(
        torch.linspace(0, 30, 61).double(), torch.linspace(0, 5, 51).double(), indexing="ij"
    )
    logs = [exact_log(soft_cm, bone_cm, exposure) for exposure in (low, high)]
    found_soft, found_bone = decomposition.thickness_cm(logs[0], logs[1])
    assert (found_soft - soft_cm).abs().max() < 5e-4
    assert (found_bone - bone_cm).abs().max() < 2e-4


def test_float32_projections_cost_no_accuracy(
    fitted: tuple[Exposure, Exposure, Decomposition],
) -> None:
    low, high, decomposition = fitted
    soft_cm, bone_cm = body()
    logs = [expose(soft_cm, bone_cm, exposure) for exposure in (low, high)]
    found_soft, found_bone = decomposition.thickness_cm(logs[0][None], logs[1][None])
    assert found_soft.shape == (1, 64, 64)
    assert found_soft.dtype == torch.float32
    assert (found_soft[0] - soft_cm).abs().max() < 1e-3
    assert (found_bone[0] - bone_cm).abs().max() < 1e-3


def test_a_thick_patient_beyond_the_fitted_range_is_still_close(
    fitted: tuple[Exposure, Exposure, Decomposition],
) -> None:
    low, high, decomposition = fitted
    soft_cm, bone_cm = torch.tensor([38.0]).double(), torch.tensor([6.0]).double()
    logs = [exact_log(soft_cm, bone_cm, exposure) for exposure in (low, high)]
    found_soft, found_bone = decomposition.thickness_cm(logs[0], logs[1])
    assert abs(found_soft - soft_cm) < 0.1
    assert abs(found_bone - bone_cm) < 0.05


def test_noise_of_any_size_gives_finite_thicknesses(
    fitted: tuple[Exposure, Exposure, Decomposition],
) -> None:
    logs = torch.randn(2, 1000, generator=torch.Generator().manual_seed(0)) * 10.0
    for thickness_cm in fitted[2].thickness_cm(logs[0], logs[1]):
        assert torch.isfinite(thickness_cm).all()
        assert thickness_cm.abs().max() < 1e5


@pytest.mark.parametrize("order", [0, 7])
def test_an_order_that_is_not_fitted_is_refused(order: int) -> None:
    with pytest.raises(ValueError, match=f"got order={order}; a polynomial of order 1 to 6"):
        fit_decomposition(*exposures(60.0, 120.0), order=order)


def test_images_are_the_weighted_differences() -> None:
    low, high = torch.tensor([2.0]), torch.tensor([1.5])
    assert soft_image(low, high, 0.5).item() == pytest.approx(0.5)
    assert bone_image(low, high, 0.9).item() == pytest.approx(0.3)
    assert math.isfinite(soft_image(low, high, 0.75).item())

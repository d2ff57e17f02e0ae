"""Noise of exposures against closed forms and an exact simulation."""

import numpy as np
import pytest
import torch
from scipy.stats import skew
from torch import Tensor

from dexsearch.physics import detector
from dexsearch.physics.attenuation import DetectedBeam, absorbed_beam
from dexsearch.physics.detector import log_projections
from dexsearch.physics.exposure import Exposure
from dexsearch.physics.geometry import Detector

N_PIXELS = 40_000
DETECTOR = Detector(size_px=1, pixel_mm=1.0)


def expose(
    soft_cm: float,
    exposure: Exposure,
    seed: int = 0,
    *,
    n_pixels: int = N_PIXELS,
    dose_factor: Tensor | None = None,
) -> Tensor:
    """Return many pixels behind the same length of soft tissue; a row for each dose factor."""
    views = 1 if dose_factor is None else dose_factor.numel()
    lengths = torch.full((views, n_pixels, 1), soft_cm)
    return log_projections(
        lengths,
        0 * lengths,
        exposure,
        detector=DETECTOR,
        rays_per_pixel=1,
        rng=torch.Generator().manual_seed(seed),
        dose_factor=dose_factor,
    )[..., 0]


@pytest.fixture
def one_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    beam = DetectedBeam(np.array([60.0]), np.array([1e6]), np.array([0.2]), np.array([0.6]))
    monkeypatch.setattr(detector, "detected_beam", lambda kvp, filters_mm: beam)


@pytest.mark.usefixtures("one_energy")
def test_noise_of_a_single_energy_is_poisson() -> None:
    n_quanta = 1e6 * 1.0 * 0.01 * np.exp(-0.2 * 10)
    noisy = expose(10.0, Exposure(dose_mas=1.0))
    assert noisy.std() == pytest.approx(1 / np.sqrt(n_quanta), rel=0.02)


@pytest.mark.usefixtures("one_energy")
def test_a_dark_pixel_of_a_single_energy_counts_whole_quanta() -> None:
    n_quanta = 1e6 * 1e-4 * 0.01
    counts = n_quanta * torch.exp(-expose(0.0, Exposure(dose_mas=1e-4)).double())
    counts[counts < 0.75] = 0.0  # none at all is held at half a quantum
    torch.testing.assert_close(counts, counts.round(), rtol=0, atol=1e-5)
    assert (counts == 0).double().mean() == pytest.approx(np.exp(-n_quanta), abs=0.01)


@pytest.mark.parametrize(("kvp", "soft_cm"), [(60.0, 20.0), (120.0, 0.0), (120.0, 20.0)])
@pytest.mark.parametrize("n_effective", [3.0, 9.0, 12.0, 100.0])
def test_noise_of_a_spectrum_is_that_of_every_energy_drawn_for_itself(
    kvp: float, soft_cm: float, n_effective: float
) -> None:
    beam = absorbed_beam(kvp)
    quanta = np.exp(-soft_cm * beam.mu_soft_per_cm) * beam.quanta_per_cm2_mas * 0.01
    dose_mas = n_effective * (quanta @ beam.energy_kev**2) / (quanta @ beam.energy_kev) ** 2
    open_field = 0.01 * dose_mas * beam.quanta_per_cm2_mas
    draws = np.random.default_rng(0).poisson(quanta * dose_mas, (N_PIXELS, quanta.size))
    exact = (draws @ beam.energy_kev) / (open_field @ beam.energy_kev)
    exact = np.maximum(exact, 0.5 / open_field.sum())
    found = torch.exp(-expose(soft_cm, Exposure(kvp=kvp, dose_mas=dose_mas))[0].double()).numpy()
    assert found.mean() == pytest.approx(exact.mean(), rel=0.02)
    assert found.std() == pytest.approx(exact.std(), rel=0.03)
    assert skew(found) == pytest.approx(skew(exact), abs=0.08)
    assert np.log(found).mean() == pytest.approx(np.log(exact).mean(), abs=0.04)


def test_four_times_the_dose_halves_the_noise() -> None:
    low, high = (expose(20.0, Exposure(dose_mas=dose), 1).std() for dose in (1.0, 4.0))
    assert low / high == pytest.approx(2.0, rel=0.02)


def test_a_dose_factor_is_a_dose() -> None:
    exposure = Exposure(dose_mas=1.0, electronic_noise_kev=500.0)
    factors = torch.tensor([0.25, 1.0, 4.0])
    noisy = expose(20.0, exposure, dose_factor=factors)
    for view, factor in zip(noisy, factors, strict=True):
        alone = expose(20.0, Exposure(dose_mas=float(factor), electronic_noise_kev=500.0))
        assert view.std() == pytest.approx(float(alone.std()), rel=0.03)
        assert view.mean() == pytest.approx(float(alone.mean()), abs=0.005)


@pytest.mark.usefixtures("one_energy")
@pytest.mark.parametrize("n_quanta", [4.0, 1e3])
def test_electronic_noise_adds_to_that_of_the_quanta(n_quanta: float) -> None:
    exposure = Exposure(
        dose_mas=n_quanta / 1e4, electronic_noise_kev=60.0 * np.sqrt(3.0 * n_quanta)
    )
    found = torch.exp(-expose(0.0, exposure)).clamp_min(0.5 / n_quanta)
    free = 1.0 + 2.0 * torch.randn(N_PIXELS, generator=torch.Generator().manual_seed(1)) / (
        n_quanta**0.5
    )
    assert found.std() == pytest.approx(float(free.clamp_min(0.5 / n_quanta).std()), rel=0.05)


def test_the_same_state_gives_the_same_image() -> None:
    exposure = Exposure(dose_mas=0.01)
    first, second, third = (expose(20.0, exposure, seed, n_pixels=500) for seed in (5, 5, 6))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_two_exposures_are_drawn_independently() -> None:
    noise = expose(20.0, Exposure(dose_mas=1.0), dose_factor=torch.ones(2))
    assert abs(torch.corrcoef(noise)[0, 1]) < 0.02


def test_a_starved_detector_stays_finite() -> None:
    for soft_cm in (90.0, 400.0, 5000.0):
        assert torch.isfinite(expose(soft_cm, Exposure(dose_mas=1e-4), n_pixels=100)).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
def test_a_gpu_gives_the_same_clean_image_and_the_same_noise() -> None:
    lengths = torch.linspace(0.0, 30.0, 4096).repeat(16, 1)[None]
    exposure = Exposure(dose_mas=0.1, scatter_to_primary=0.5, blur_mm=0.5)

    def exposed(device: str, *, noise: bool) -> Tensor:
        on_device = lengths.to(device)
        return log_projections(
            on_device,
            0.1 * on_device,
            exposure,
            detector=DETECTOR,
            rays_per_pixel=2,
            rng=torch.Generator(device).manual_seed(0) if noise else None,
        ).cpu()

    clean = exposed("cpu", noise=False)
    torch.testing.assert_close(exposed("cuda", noise=False), clean, rtol=1e-4, atol=1e-5)
    spread = [(exposed(device, noise=True) - clean).std() for device in ("cpu", "cuda")]
    assert spread[0] == pytest.approx(float(spread[1]), rel=0.05)

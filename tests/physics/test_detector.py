"""Exposures against closed forms and laws."""

import numpy as np
import pytest
from numpy.typing import NDArray

from dexsearch.physics import detector
from dexsearch.physics.attenuation import Beam, detected_beam
from dexsearch.physics.detector import Exposure, log_projection

SHAPE = (96, 96)


def expose(
    soft_cm: float, bone_cm: float = 0.0, seed: int | None = None, **settings: float
) -> NDArray[np.float32]:
    return log_projection(
        np.full(SHAPE, soft_cm),
        np.full(SHAPE, bone_cm),
        Exposure(**settings),
        pixel_mm=2.0,
        rng=None if seed is None else np.random.default_rng(seed),
    )


@pytest.fixture
def one_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    beam = Beam(np.array([60.0]), np.array([1e6]), np.array([0.2]), np.array([0.6]))
    monkeypatch.setattr(detector, "detected_beam", lambda kvp: beam)


@pytest.mark.usefixtures("one_energy")
def test_a_single_energy_gives_mu_times_length() -> None:
    np.testing.assert_allclose(expose(15.0, 2.0), 0.2 * 15 + 0.6 * 2, rtol=1e-6)


@pytest.mark.usefixtures("one_energy")
def test_noise_of_a_single_energy_is_poisson() -> None:
    n_quanta = 1e6 * 0.1 * 0.04 * np.exp(-0.2 * 10)
    noisy = expose(10.0, seed=0, dose_mas=0.1)
    assert noisy.std() == pytest.approx(1 / np.sqrt(n_quanta), rel=0.05)


def test_noise_of_a_spectrum_is_compound_poisson() -> None:
    beam = detected_beam(120.0)
    quanta = beam.quanta_per_cm2_mas * 0.5 * 0.04 * np.exp(-20.0 * beam.mu_soft_per_cm)
    relative = np.sqrt(quanta @ beam.energy_kev**2) / (quanta @ beam.energy_kev)
    assert expose(20.0, seed=0, dose_mas=0.5).std() == pytest.approx(relative, rel=0.05)


def test_four_times_the_dose_halves_the_noise() -> None:
    low, high = (expose(20.0, seed=1, dose_mas=dose).std() for dose in (0.1, 0.4))
    assert low / high == pytest.approx(2.0, rel=0.02)


def test_nothing_in_the_beam_gives_zero() -> None:
    np.testing.assert_allclose(expose(0.0), 0.0, atol=1e-6)


def test_a_beam_hardens() -> None:
    first, second = expose(10.0)[0, 0], expose(20.0)[0, 0]
    assert second < 2 * first


def test_scatter_lowers_the_projection_by_its_ratio_in_a_uniform_field() -> None:
    primary, with_scatter = expose(20.0)[0, 0], expose(20.0, scatter_to_primary=2.0)[0, 0]
    assert primary - with_scatter == pytest.approx(np.log(3.0), rel=1e-5)


def test_the_same_seed_gives_the_same_image() -> None:
    np.testing.assert_array_equal(expose(20.0, seed=5), expose(20.0, seed=5))
    assert (expose(20.0, seed=5) != expose(20.0, seed=6)).any()


def test_a_starved_detector_stays_finite() -> None:
    assert np.isfinite(expose(90.0, 10.0, seed=0, dose_mas=1e-4)).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dose_mas": 0.0}, "above 0 mAs"),
        ({"scatter_to_primary": -1.0}, "0 or more"),
        ({"kvp": 200.0}, "60 to 140"),
    ],
)
def test_settings_that_no_tube_has_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Exposure(**settings)

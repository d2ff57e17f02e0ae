"""Exposures against closed forms and laws."""

import numpy as np
import pytest
from numpy.typing import NDArray

from dexsearch.physics import detector
from dexsearch.physics.attenuation import DetectedBeam, detected_beam
from dexsearch.physics.detector import Exposure, log_projection
from dexsearch.physics.projection import Detector, Geometry

SHAPE = (96, 96)


def expose(
    soft_cm: float, bone_cm: float = 0.0, seed: int | None = None, **settings: float
) -> NDArray[np.float32]:
    return log_projection(
        np.full(SHAPE, soft_cm),
        np.full(SHAPE, bone_cm),
        Exposure(**settings),
        detector=Detector(size_px=96, pixel_mm=2.0),
        rng=None if seed is None else np.random.default_rng(seed),
    )


@pytest.fixture
def one_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    beam = DetectedBeam(np.array([60.0]), np.array([1e6]), np.array([0.2]), np.array([0.6]))
    monkeypatch.setattr(detector, "detected_beam", lambda kvp, filters_mm: beam)


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


@pytest.mark.usefixtures("one_energy")
def test_a_half_covered_pixel_adds_intensities_not_lengths() -> None:
    lengths = np.zeros((4, 4))
    lengths[:, 1:] = 10.0
    pixels = log_projection(
        lengths,
        0 * lengths,
        Exposure(),
        detector=Detector(size_px=2, pixel_mm=4.0),
        rng=None,
    )
    np.testing.assert_allclose(pixels[:, 0], -np.log(0.5 + 0.5 * np.exp(-2.0)), rtol=1e-6)
    np.testing.assert_allclose(pixels[:, 1], 2.0, rtol=1e-6)


def edge(geometry: Geometry = "parallel", **settings: float) -> NDArray[np.float64]:
    """Detected energy across the edge of a half plane, against the open field."""
    soft_cm = np.zeros(SHAPE)
    soft_cm[:, 48:] = 300.0
    detector = Detector(size_px=96, pixel_mm=2.0, geometry=geometry)
    image = log_projection(
        soft_cm, 0 * soft_cm, Exposure(dose_mas=100.0, **settings), detector=detector, rng=None
    )
    return np.asarray(np.exp(-image[48].astype(np.float64)))


def width_mm(profile: NDArray[np.float64]) -> float:
    """Standard deviation of the line spread function."""
    spread = -np.diff(profile)
    place = 2.0 * np.arange(spread.size)
    mean = np.average(place, weights=spread)
    return float(np.sqrt(np.average((place - mean) ** 2, weights=spread)))


def test_blur_spreads_an_edge_by_its_own_width() -> None:
    assert width_mm(edge()) == pytest.approx(0.0, abs=0.1)
    assert width_mm(edge(blur_mm=6.0)) == pytest.approx(6.0, rel=0.02)


@pytest.mark.parametrize(("geometry", "sigma_mm"), [("parallel", 25.0), ("cone", 25.0 / 1.5)])
def test_scatter_spreads_by_25_mm_on_the_detector(geometry: Geometry, sigma_mm: float) -> None:
    scatter = edge(geometry, scatter_to_primary=1.0) - edge(geometry)
    slope = -np.diff(scatter)[47] / 2.0
    assert slope == pytest.approx(1 / (np.sqrt(2 * np.pi) * sigma_mm), rel=0.02)


@pytest.mark.usefixtures("one_energy")
def test_electronic_noise_adds_to_that_of_the_quanta() -> None:
    n_quanta = 1e6 * 0.1 * 0.04 * np.exp(-0.2 * 10)
    noisy = expose(10.0, seed=0, electronic_noise_kev=60.0 * np.sqrt(3.0 * n_quanta))
    assert noisy.std() == pytest.approx(2 / np.sqrt(n_quanta), rel=0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dose_mas": 0.0}, "above 0 mAs"),
        ({"scatter_to_primary": -1.0}, "0 or more"),
        ({"kvp": 200.0}, "60 to 140"),
        ({"blur_mm": -1.0}, "blur_mm=-1.0; a standard deviation is 0 or more"),
        ({"electronic_noise_kev": float("nan")}, "a standard deviation is 0 or more"),
    ],
)
def test_settings_that_no_tube_has_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Exposure(**settings)

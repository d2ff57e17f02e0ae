"""Exposures against closed forms and laws."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from numpy.typing import NDArray

from dexsearch.physics import detector
from dexsearch.physics.attenuation import DetectedBeam, Material, absorbed_beam
from dexsearch.physics.detector import log_projections
from dexsearch.physics.exposure import SCATTER_PRESETS, Exposure
from dexsearch.physics.geometry import Detector, Geometry
from dexsearch.physics.projection import build_projector

SHAPE = (96, 96)
DETECTOR = Detector(size_px=96, pixel_mm=2.0)


def expose(
    soft_cm: float, bone_cm: float = 0.0, seed: int | None = None, **settings: float
) -> NDArray[np.float32]:
    """Return the image of a uniform body."""
    exposed: NDArray[np.float32] = log_projections(
        torch.full((1, *SHAPE), soft_cm),
        torch.full((1, *SHAPE), bone_cm),
        Exposure(**settings),
        detector=DETECTOR,
        rays_per_pixel=1,
        rng=None if seed is None else torch.Generator().manual_seed(seed),
    )[0].numpy()
    return exposed


@pytest.fixture
def one_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    beam = DetectedBeam(np.array([60.0]), np.array([1e6]), np.array([0.2]), np.array([0.6]))
    monkeypatch.setattr(detector, "detected_beam", lambda kvp, filters_mm: beam)


@pytest.mark.usefixtures("one_energy")
def test_a_single_energy_gives_mu_times_length() -> None:
    np.testing.assert_allclose(expose(15.0, 2.0), 0.2 * 15 + 0.6 * 2, rtol=1e-6)


def test_nothing_in_the_beam_gives_zero() -> None:
    np.testing.assert_allclose(expose(0.0), 0.0, atol=1e-6)


def test_a_beam_hardens() -> None:
    first, second = expose(10.0)[0, 0], expose(20.0)[0, 0]
    assert second < 2 * first


def test_scatter_lowers_the_projection_by_its_ratio_in_a_uniform_field() -> None:
    primary, with_scatter = expose(20.0)[0, 0], expose(20.0, scatter_to_primary=2.0)[0, 0]
    met = 1.0 - np.exp(-primary)
    assert primary - with_scatter == pytest.approx(np.log(1.0 + 2.0 * met), rel=1e-5)
    assert met > 0.98, "behind a body nearly all of the primary has met matter"


def test_the_open_field_makes_no_scatter() -> None:
    assert expose(0.0, scatter_to_primary=2.0)[0, 0] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.usefixtures("one_energy")
def test_a_half_covered_pixel_adds_intensities_not_lengths() -> None:
    lengths = torch.zeros(1, 4, 4)
    lengths[..., 1:] = 10.0
    (pixels,) = log_projections(
        lengths,
        0 * lengths,
        Exposure(),
        detector=Detector(size_px=2, pixel_mm=4.0),
        rays_per_pixel=2,
        rng=None,
    )
    np.testing.assert_allclose(pixels[:, 0], -np.log(0.5 + 0.5 * np.exp(-2.0)), rtol=1e-6)
    np.testing.assert_allclose(pixels[:, 1], 2.0, rtol=1e-6)


def test_views_and_chunks_do_not_depend_on_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = torch.rand(3, 8, 10, generator=torch.Generator().manual_seed(0)) * 20.0
    exposure = Exposure(scatter_to_primary=0.5, blur_mm=1.0)

    def exposed(soft_cm: torch.Tensor) -> torch.Tensor:
        return log_projections(
            soft_cm, 0.1 * soft_cm, exposure, detector=DETECTOR, rays_per_pixel=2, rng=None
        )

    together = exposed(lengths)
    assert together.shape == (3, 4, 5)
    monkeypatch.setattr(detector, "RAYS_PER_CHUNK", {"cpu": 64})
    alone = torch.cat([exposed(view[None]) for view in lengths])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [34, 104])
@pytest.mark.parametrize("n_threads", [2, 4])
def test_the_number_of_threads_changes_no_bit(
    size: int, n_threads: int, request: pytest.FixtureRequest
) -> None:
    before = torch.get_num_threads()
    request.addfinalizer(lambda: torch.set_num_threads(before))
    lengths = torch.rand(2, 2 * size, 2 * size, generator=torch.Generator().manual_seed(0)) * 20.0
    exposure = Exposure(scatter_to_primary=0.5, blur_mm=1.5, electronic_noise_kev=100.0)
    images = []
    for number in (1, n_threads):
        torch.set_num_threads(number)
        images.append(
            log_projections(
                lengths, 0.1 * lengths, exposure, detector=DETECTOR, rays_per_pixel=2,
                rng=torch.Generator().manual_seed(1),
            )
        )  # fmt: skip
        assert torch.get_num_threads() == number, "the caller's setting is left alone"
    assert torch.equal(*images)


@pytest.mark.parametrize("kvp", [60.0, 81.5, 140.0])
def test_a_projection_is_that_of_all_1_kev_bins(kvp: float) -> None:
    beam = absorbed_beam(kvp)
    energy = beam.quanta_per_cm2_mas * beam.energy_kev
    passed = energy @ np.exp(-25.0 * beam.mu_soft_per_cm - 3.0 * beam.mu_bone_per_cm)
    assert expose(25.0, 3.0, kvp=kvp)[0, 0] == pytest.approx(
        -np.log(passed / energy.sum()), abs=1e-4
    )


def test_a_clean_image_does_not_depend_on_the_dose() -> None:
    soft = torch.full((1, 4, 4), 30.0)
    images = [
        log_projections(
            soft, soft / 6, Exposure(kvp=60.0, dose_mas=dose), detector=DETECTOR,
            rays_per_pixel=1, rng=None,
        )
        for dose in (1e-6, 100.0)
    ]  # fmt: skip
    torch.testing.assert_close(*images, rtol=1e-5, atol=0.0)


def test_half_precision_around_it_costs_no_accuracy() -> None:
    plain = expose(20.0, 1.0, scatter_to_primary=0.5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        np.testing.assert_array_equal(expose(20.0, 1.0, scatter_to_primary=0.5), plain)


def test_a_filter_hardens_the_beam() -> None:
    bare = Exposure()
    filtered = replace(bare, filters_mm=(("copper", 0.3),))
    assert hash(filtered) != hash(bare)
    lengths = torch.full((1, 1, 1), 20.0)
    first, second = (
        log_projections(
            lengths, 0 * lengths, exposure, detector=DETECTOR, rays_per_pixel=1, rng=None
        ).item()
        for exposure in (bare, filtered)
    )
    assert second < first - 0.1


def test_scatter_presets_are_the_documented_ratios() -> None:
    assert dict(SCATTER_PRESETS) == {"none": 0.0, "grid": 0.5, "no-grid": 2.0}


def edge(
    geometry: Geometry = "parallel", thin_cm: float = 0.0, **settings: float
) -> NDArray[np.float64]:
    """Detected energy across the edge of a half plane, against the open field."""
    soft_cm = torch.full((1, *SHAPE), thin_cm)
    soft_cm[..., 48:] = 60.0
    (image,) = log_projections(
        soft_cm,
        0 * soft_cm,
        Exposure(dose_mas=1e6, **settings),
        detector=replace(DETECTOR, geometry=geometry),
        rays_per_pixel=1,
        rng=None,
    )
    return np.asarray(np.exp(-image[48].double().numpy()))


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
    primary = edge(geometry, thin_cm=5.0)
    scatter = edge(geometry, thin_cm=5.0, scatter_to_primary=1.0) - primary
    slope = -np.diff(scatter)[47] / 2.0 / (primary[0] * (1.0 - primary[0]))
    assert slope == pytest.approx(1 / (np.sqrt(2 * np.pi) * sigma_mm), rel=0.02)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dose_mas": 0.0}, "above 0 mAs"),
        ({"scatter_to_primary": -1.0}, "0 or more"),
        ({"kvp": 200.0}, "60 to 140"),
        ({"blur_mm": -1.0}, "blur_mm=-1.0; a standard deviation is 0 or more"),
        ({"electronic_noise_kev": float("nan")}, "a standard deviation is 0 or more"),
        ({"dose_mas": float("inf")}, "above 0 mAs"),
    ],
)
def test_settings_that_no_tube_has_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Exposure(**settings)


def test_a_filter_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"filter of -1\.0 mm of tin"):
        Exposure(filters_mm=(("tin", -1.0),))


def test_a_filter_named_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="name every material once"):
        Exposure(filters_mm=(("tin", 0.1), ("tin", 0.2)))


@pytest.mark.parametrize(("material", "thickness_mm"), [("copper", 1000.0), ("copper", 20.0)])
def test_a_filter_that_leaves_no_beam_is_refused(material: Material, thickness_mm: float) -> None:
    with pytest.raises(ValueError, match=rf"60 kVp behind {thickness_mm:g} mm .* thinner filters"):
        Exposure(kvp=60.0, filters_mm=((material, thickness_mm),))


def test_a_thick_filter_that_leaves_a_beam_is_exposed_exactly() -> None:
    exposure = Exposure(filters_mm=(("copper", 20.0),))
    beam = absorbed_beam(120.0, filters_mm={"copper": 20.0})
    energy = beam.quanta_per_cm2_mas * beam.energy_kev
    lengths = torch.full((1, 1, 1), 20.0)
    found = log_projections(
        lengths, 0 * lengths, exposure, detector=DETECTOR, rays_per_pixel=1, rng=None
    ).item()
    passed = energy @ np.exp(-20.0 * beam.mu_soft_per_cm)
    assert found == pytest.approx(-np.log(passed / energy.sum()), abs=1e-4)


@pytest.mark.parametrize(
    ("per_pixel", "dose", "message"),
    [
        (3, None, "got 3 rays per pixel for 4 x 4 rays"),
        (0, None, "got 0 rays per pixel"),
        (-1, None, "got -1 rays per pixel"),
        (1, [0.0], "one a view, above 0"),
        (1, [float("nan")], "one a view, above 0"),
    ],
)
def test_lengths_and_doses_that_do_not_fit_are_refused(
    per_pixel: int, dose: list[float] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        log_projections(
            torch.zeros(1, 4, 4),
            torch.zeros(1, 4, 4),
            Exposure(),
            detector=DETECTOR,
            rays_per_pixel=per_pixel,
            rng=None,
            dose_factor=None if dose is None else torch.tensor(dose),
        )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_length_that_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="lengths are finite"):
        expose(value)


@pytest.mark.parametrize(("soft_cm", "bone_cm"), [(-5.0, 0.0), (5.0, -1.0)])
def test_a_negative_length_is_refused(soft_cm: float, bone_cm: float) -> None:
    with pytest.raises(
        ValueError, match=r"got path lengths through .* of -\d to -\d cm; .* 0 or more"
    ):
        expose(soft_cm, bone_cm)


def test_what_a_spline_leaves_below_0_counts_as_0() -> None:
    soft = torch.tensor([[[20.0, -0.3], [-1e-7, 0.0]]])
    bone = torch.tensor([[[1.0, -0.08], [0.0, 0.0]]])
    image, clamped = (
        log_projections(*lengths, Exposure(), detector=DETECTOR, rays_per_pixel=1, rng=None)
        for lengths in ((soft, bone), (soft.clamp_min(0.0), bone.clamp_min(0.0)))
    )
    assert torch.equal(image, clamped)
    assert image.min() > -1e-6


@pytest.mark.parametrize(
    ("bone_shape", "n_doses"), [((2, 4, 5), 2), ((1, 4, 4), 2), ((2, 4, 4), 1)]
)
def test_shapes_that_do_not_fit_are_refused(bone_shape: tuple[int, ...], n_doses: int) -> None:
    with pytest.raises((ValueError, TypeCheckError)):
        log_projections(
            torch.zeros(2, 4, 4),
            torch.zeros(bone_shape),
            Exposure(),
            detector=DETECTOR,
            rays_per_pixel=1,
            rng=None,
            dose_factor=torch.ones(n_doses),
        )


def test_a_body_turned_by_splines_can_be_exposed() -> None:
    block = np.zeros((12, 12, 12), np.float32)
    block[3:9, 3:9, 3:9] = 1.0
    shell = block.copy()
    shell[4:8, 4:8, 4:8] = 0.0
    projector = build_projector(block, shell, voxel_mm=10.0, kind="parity")
    rays = projector.ray_lengths_cm((20.0, 15.0, 40.0), Detector(40, 2.0))
    assert min(length.min() for length in rays) < -0.02
    soft, bone = (torch.from_numpy(length)[None] for length in rays)
    image = log_projections(soft, bone, Exposure(), detector=DETECTOR, rays_per_pixel=1, rng=None)
    assert image.min() > -1e-6

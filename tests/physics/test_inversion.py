"""Laws of the inverted exposure model."""

import json
from typing import Any

import pytest
import torch
from torch import Tensor

from dexsearch.physics.detector import log_projections
from dexsearch.physics.exposure import Exposure
from dexsearch.physics.geometry import Detector
from dexsearch.physics.inversion import ExposureInversion
from dexsearch.physics.inversion_fit import BONE_RANGE_CM, SOFT_RANGE_CM, fit_inversion

PIXEL = Detector(size_px=1, pixel_mm=1.0)
BEAMS = [
    Exposure(kvp=60.0),
    Exposure(kvp=80.0),
    Exposure(kvp=120.0),
    Exposure(kvp=140.0),
    Exposure(kvp=60.0, filters_mm=(("copper", 1.0),)),
    Exposure(kvp=140.0, filters_mm=(("aluminium", 4.0), ("tin", 0.5))),
]


def expose(soft_cm: Tensor, bone_cm: Tensor, exposure: Exposure) -> Tensor:
    """Return the simulator's clean log projections."""
    return log_projections(
        soft_cm[None], bone_cm[None], exposure, detector=PIXEL, rays_per_pixel=1, rng=None
    )[0]


def body(n_soft: int = 181, n_bone: int = 61) -> tuple[Tensor, Tensor]:
    """Return every thickness of the range with every other."""
    soft_cm = torch.linspace(*SOFT_RANGE_CM, n_soft)[:, None].expand(n_soft, n_bone)
    bone_cm = torch.linspace(*BONE_RANGE_CM, n_bone)[None].expand(n_soft, n_bone)
    return soft_cm.contiguous(), bone_cm.contiguous()


@pytest.mark.parametrize("exposure", BEAMS, ids=str)
def test_the_tissue_of_known_bone_is_found_over_the_whole_range(exposure: Exposure) -> None:
    soft_cm, bone_cm = body()
    inversion = fit_inversion(exposure)
    error = (inversion.soft_cm(expose(soft_cm, bone_cm, exposure), bone_cm) - soft_cm).abs().max()
    assert float(error) < 3e-4
    assert inversion.residual_cm < 2e-4


@pytest.mark.parametrize("exposure", BEAMS, ids=str)
def test_bone_and_derived_tissue_make_the_signal_again(exposure: Exposure) -> None:
    """Also where the bone is not the true one: an error of bone moves into the tissue."""
    soft_cm, bone_cm = body(46, 25)
    signal = expose(soft_cm, bone_cm, exposure)
    inversion = fit_inversion(exposure)
    for wrong_cm in (bone_cm, 0.5 * bone_cm, (bone_cm - 0.3).clamp_min(0.0)):
        derived = inversion.soft_cm(signal, wrong_cm)
        inside = derived <= SOFT_RANGE_CM[1]
        again = expose(derived.clamp_min(0.0), wrong_cm, exposure)
        assert float((again - signal)[inside].abs().max()) < 2e-4
        assert float(derived.min()) > -1e-3


def test_open_field_is_no_tissue() -> None:
    inversion = fit_inversion(Exposure())
    assert float(inversion.soft_cm(torch.zeros(()), torch.zeros(()))) == pytest.approx(0, abs=2e-4)


def test_more_signal_is_more_tissue_and_more_bone_is_less_wherever_networks_stray() -> None:
    """Beyond the range too: no oscillation of a polynomial, and a bound far out."""
    inversion = fit_inversion(Exposure())
    signal = torch.linspace(-0.5, inversion.largest_signal + 2.0, 400)[:, None]
    bone_cm = torch.linspace(-1.0, 7.0, 200)[None]
    soft_cm = inversion.soft_cm(*torch.broadcast_tensors(signal, bone_cm))
    assert bool((soft_cm.diff(dim=0) > 0).all())
    assert bool((soft_cm.diff(dim=1) < 0).all())
    extremes = torch.tensor([-1e6, 1e6])
    far = inversion.soft_cm(*torch.meshgrid(extremes, extremes, indexing="ij"))
    assert float(far.abs().max()) < 500.0


def test_the_tissue_is_smooth_where_the_range_ends() -> None:
    inversion = fit_inversion(Exposure())
    signal = torch.full((3,), 3.0, dtype=torch.float64)
    bone_cm = torch.tensor([-0.01, 0.0, 0.01], dtype=torch.float64)
    before, after = inversion.soft_cm(signal, bone_cm).diff().tolist()
    assert before == pytest.approx(after, rel=1e-6)


def test_noise_passes_on_without_bias() -> None:
    soft_cm, bone_cm = torch.full((2000, 64), 15.0), torch.full((2000, 64), 0.5)
    noisy = log_projections(
        soft_cm[None], bone_cm[None], Exposure(), detector=PIXEL, rays_per_pixel=1,
        rng=torch.Generator().manual_seed(0),
    )[0]  # fmt: skip
    derived = fit_inversion(Exposure()).soft_cm(noisy, bone_cm)
    clean = expose(soft_cm, bone_cm, Exposure())
    cm_per_log = float(derived.std() / noisy.std())
    assert 4.0 < cm_per_log < 5.0
    expected_cm = 15.0 + cm_per_log * float((noisy - clean).mean())
    assert float(derived.mean()) == pytest.approx(expected_cm, abs=2e-3)


def test_dose_blur_and_noise_leave_the_fit_as_it_is() -> None:
    plain = fit_inversion(Exposure())
    other = Exposure(dose_mas=9.0, blur_mm=2.0, electronic_noise_kev=500.0)
    assert fit_inversion(other) == plain
    assert fit_inversion(Exposure(kvp=121.0)) != plain


def test_scatter_is_refused() -> None:
    with pytest.raises(ValueError, match=r"scatter_to_primary=0.5; scatter comes from the whole"):
        fit_inversion(Exposure(scatter_to_primary=0.5))


def test_an_inversion_survives_json() -> None:
    inversion = fit_inversion(Exposure(filters_mm=(("copper", 0.1),)))
    assert ExposureInversion.from_dict(json.loads(json.dumps(inversion.as_dict()))) == inversion


@pytest.mark.parametrize(
    "change",
    [
        {"coefficients": [[1.0, 2.0], [3.0]]},
        {"coefficients": []},
        {"coefficients": [[float("nan")]]},
        {"largest_signal": 0.0},
        {"largest_bone_cm": float("inf")},
    ],
)
def test_numbers_that_are_no_inversion_are_refused(change: dict[str, Any]) -> None:
    values = fit_inversion(Exposure()).as_dict() | change
    with pytest.raises(ValueError, match="no square of finite numbers"):
        ExposureInversion.from_dict(values)

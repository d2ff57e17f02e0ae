"""Attenuation against published values and against an independent table."""

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from jaxtyping import TypeCheckError
from numpy.typing import NDArray

from dexsearch.physics.attenuation import (
    DetectedBeam,
    Material,
    _energy_behind_body,
    absorbed_beam,
    absorbed_fraction,
    cortical_bone_hu,
    density_g_per_cm3,
    effective_attenuation_per_cm,
    linear_attenuation_per_cm,
    mass_attenuation_cm2_per_g,
    tube_spectrum,
)
from dexsearch.physics.quadrature import detected_beam

ORACLE_NAMES = {
    "soft_tissue": "soft_tissue_icru44",
    "lung": "lung_icru44",
    "cortical_bone": "cortical_bone_icru44",
    "adipose": "adipose_icru44",
    "cirs_bone_adult": "cirs_bone_adult_and_15yo",
    "cirs_plastic_water": "cirs_plastic_water_lr",
    "cirs_adipose": "cirs_adipose_adult2",
    "cirs_liver": "cirs_liver_adult",
}


def mean_energy_behind_body_kev(kvp: float) -> float:
    energy, weight = _energy_behind_body(kvp)
    return float(np.average(energy, weights=weight))


@pytest.mark.parametrize(("material", "cm2_per_g"), [("water", 0.2059), ("cortical_bone", 0.3148)])
def test_mass_attenuation_at_60_kev_is_the_published_one(
    material: Material, cm2_per_g: float
) -> None:
    assert mass_attenuation_cm2_per_g(material, np.array([60.0])) == pytest.approx(
        cm2_per_g, rel=1e-3
    )


@pytest.mark.parametrize(
    ("material", "kev", "cm2_per_g"),
    [
        ("water", 30.0, 0.3756),
        ("water", 60.0, 0.2059),
        ("water", 100.0, 0.1707),
        ("cortical_bone", 30.0, 1.331),
        ("cortical_bone", 60.0, 0.3148),
        ("cortical_bone", 100.0, 0.1855),
        ("soft_tissue", 30.0, 0.379),
        ("soft_tissue", 60.0, 0.2048),
        ("soft_tissue", 100.0, 0.1693),
        ("csi", 30.0, 9.047),
        ("csi", 60.0, 7.921),
        ("csi", 100.0, 2.035),
    ],
)
def test_mass_attenuation_agrees_with_values_of_the_oracle(
    material: Material, kev: float, cm2_per_g: float
) -> None:
    ours = mass_attenuation_cm2_per_g(material, np.array([kev]))
    assert ours == pytest.approx(cm2_per_g, rel=1e-3)


@pytest.mark.parametrize("material", get_args(Material))
def test_mass_attenuation_agrees_with_the_oracle_everywhere(
    material: Material, shared_data: Path
) -> None:
    with np.load(shared_data / "xray_tables.npz", allow_pickle=False) as oracle:
        name = ORACLE_NAMES.get(material, material)
        expected = oracle[f"mu_rho/{name}/total"]
        about = json.loads(str(oracle["meta_json"]))[name]
        ours = mass_attenuation_cm2_per_g(material, oracle["energy_keV"])
    np.testing.assert_allclose(ours, expected, rtol=1e-3)
    assert density_g_per_cm3(material) == about["density_g_cm3"]


@pytest.mark.parametrize("kvp", [60.0, 70.0, 80.0, 90.0, 100.0, 110.0, 120.0, 130.0, 140.0])
def test_tube_spectra_agree_with_the_oracle(kvp: float, shared_data: Path) -> None:
    with np.load(shared_data / "xray_tables.npz", allow_pickle=False) as oracle:
        expected = oracle[f"spectrum/{kvp:.0f}kVp_2.5mmAl"].astype(np.float64)
    ours = tube_spectrum(kvp).fluence_per_cm2_mas
    np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-6 * expected.max())


@pytest.mark.parametrize(
    ("kvp", "kev", "soft", "bone", "hu"),
    [
        (60.0, 46.4, 0.260, 1.03, 3187.0),
        (80.0, 55.9, 0.233, 0.768, 2479.0),
        (120.0, 68.4, 0.213, 0.600, 1966.0),
        (140.0, 73.2, 0.209, 0.565, 1857.0),
    ],
)
def test_effective_numbers_behind_18_cm_are_the_measured_ones(
    kvp: float, kev: float, soft: float, bone: float, hu: float
) -> None:
    assert mean_energy_behind_body_kev(kvp) == pytest.approx(kev, abs=0.06)
    assert effective_attenuation_per_cm("soft_tissue", kvp) == pytest.approx(soft, rel=3e-3)
    assert effective_attenuation_per_cm("cortical_bone", kvp) == pytest.approx(bone, rel=3e-3)
    assert cortical_bone_hu(kvp) == pytest.approx(hu, abs=2)


def test_densities_are_those_of_icru_44() -> None:
    assert density_g_per_cm3("soft_tissue") == 1.06
    assert density_g_per_cm3("cortical_bone") == 1.92
    assert density_g_per_cm3("adipose") == 0.95


def test_a_tube_voltage_between_tables_lies_between_its_neighbours() -> None:
    means = [mean_energy_behind_body_kev(kvp) for kvp in (80.0, 83.0, 87.0, 90.0)]
    assert means == sorted(means)
    spectrum = tube_spectrum(83.0)
    assert spectrum.fluence_per_cm2_mas[spectrum.energy_kev > 83].sum() == 0.0


@pytest.mark.parametrize("kvp", [59.9, 140.1, float("nan")])
def test_a_tube_voltage_outside_the_tables_is_refused(kvp: float) -> None:
    with pytest.raises(ValueError, match=r"60 to 140 kVp"):
        tube_spectrum(kvp)


def test_an_energy_outside_the_tables_is_refused() -> None:
    with pytest.raises(ValueError, match=r"5\.\.150 keV"):
        mass_attenuation_cm2_per_g("water", np.array([160.0]))


def test_a_filter_attenuates_by_beer_and_lambert() -> None:
    bare, filtered = tube_spectrum(100.0), tube_spectrum(100.0, filters_mm={"copper": 0.3})
    kept = bare.fluence_per_cm2_mas > 0
    ratio = filtered.fluence_per_cm2_mas[kept] / bare.fluence_per_cm2_mas[kept]
    mu = linear_attenuation_per_cm("copper", bare.energy_kev[kept])
    np.testing.assert_allclose(ratio, np.exp(-mu * 0.03), rtol=1e-9)


def log_projections(
    beam: DetectedBeam, soft_cm: NDArray[np.float64], bone_cm: NDArray[np.float64]
) -> NDArray[np.float64]:
    energy = beam.quanta_per_cm2_mas * beam.energy_kev
    lengths = np.outer(soft_cm, beam.mu_soft_per_cm) + np.outer(bone_cm, beam.mu_bone_per_cm)
    return np.asarray(-np.log(np.exp(-lengths) @ energy / energy.sum()))


BODIES_CM = [
    grid.ravel() for grid in np.meshgrid(np.linspace(0.0, 25.0, 26), np.linspace(0.0, 3.0, 13))
]


@pytest.mark.parametrize("kvp", np.arange(60.0, 140.1, 2.5))
def test_a_dozen_energies_keep_the_log_projection(kvp: float) -> None:
    few, all_of_them = detected_beam(kvp), absorbed_beam(kvp)
    assert few.energy_kev.size <= 14
    error = log_projections(few, *BODIES_CM) - log_projections(all_of_them, *BODIES_CM)
    assert np.abs(error).max() < 1e-4


@pytest.mark.parametrize("filters_mm", [{"copper": 0.3}, {"tin": 1.0}, {"aluminium": 3.0}])
def test_a_dozen_energies_keep_a_filtered_beam(filters_mm: dict[Material, float]) -> None:
    few, all_of_them = (
        make(120.0, filters_mm=filters_mm) for make in (detected_beam, absorbed_beam)
    )
    error = log_projections(few, *BODIES_CM) - log_projections(all_of_them, *BODIES_CM)
    assert np.abs(error).max() < 1e-4
    assert few.quanta_per_cm2_mas.sum() == pytest.approx(
        all_of_them.quanta_per_cm2_mas.sum(), rel=1e-3
    )


@pytest.mark.parametrize("thickness_mm", [-0.1, float("nan"), float("inf")])
def test_a_filter_that_cannot_be_is_refused(thickness_mm: float) -> None:
    with pytest.raises(ValueError, match="allowed: 0 or more"):
        tube_spectrum(100.0, filters_mm={"tin": thickness_mm})


@pytest.mark.parametrize(
    ("kvp", "limit"), [(61.0, 5e-3), (67.3, 5e-3), (75.0, 2e-3), (95.0, 1e-3), (125.0, 1e-3)]
)
def test_a_tube_voltage_between_tables_is_that_of_spekpy(kvp: float, limit: float) -> None:
    pytest.importorskip("spekpy", reason="needs the extra `physics`")
    from dexsearch.physics.build_tables import ENERGY_KEV, fluence_per_cm2_mas

    mixed, made = tube_spectrum(kvp).fluence_per_cm2_mas, fluence_per_cm2_mas(kvp)
    assert mixed.sum() == pytest.approx(made.sum(), rel=1.5e-3)
    eta = absorbed_fraction(ENERGY_KEV)
    mu = [linear_attenuation_per_cm(name, ENERGY_KEV) for name in ("soft_tissue", "cortical_bone")]
    logs = [
        log_projections(DetectedBeam(ENERGY_KEV, fluence * eta, *mu), *BODIES_CM)
        for fluence in (mixed, made)
    ]
    assert np.abs(logs[0] - logs[1]).max() < limit


def test_a_material_that_is_not_tabulated_is_refused() -> None:
    with pytest.raises((ValueError, TypeCheckError), match="lead"):
        mass_attenuation_cm2_per_g("lead", np.array([60.0]))  # type: ignore[arg-type]

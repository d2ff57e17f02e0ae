"""Attenuation of materials, spectra of X-ray tubes, and the beam that a detector absorbs.

The numbers come from the packaged `tables/attenuation.npz`; `tables/SOURCE.md` names their
sources and `python -m dexsearch.physics.build_tables` makes them anew.

Symbols  mu: linear attenuation coefficient, 1/cm.   eta: absorbed fraction of the photons.
         Fluence: photons per cm2 and mAs at 100 cm from the focus.
"""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Material = Literal[
    "water", "soft_tissue", "lung", "cortical_bone", "adipose", "pmma", "aluminium", "copper",
    "tin", "csi", "gd2o2s", "cirs_bone_adult", "cirs_lung_inhale", "cirs_plastic_water",
    "cirs_adipose", "cirs_spinal_cord", "cirs_liver",
]  # fmt: skip

LOWEST_KVP = 60.0
HIGHEST_KVP = 140.0
KVP_STEP = 2.0
CSI_THICKNESS_CM = 0.06
CSI_PACKING = 0.8
REFERENCE_SOFT_CM = 18.0
LEAST_QUANTA_PER_CM2_MAS = 1.0


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Photons of a tube by energy."""

    energy_kev: NDArray[np.float64]
    fluence_per_cm2_mas: NDArray[np.float64]
    """Photons of each energy bin per cm2 and mAs, 100 cm from the focus."""


@dataclass(frozen=True, slots=True)
class DetectedBeam:
    """What the detector absorbs of a tube's beam, by energy, with mu of both bases."""

    energy_kev: NDArray[np.float64]
    quanta_per_cm2_mas: NDArray[np.float64]
    """Absorbed photons (fluence times eta) at 100 cm with nothing in the way."""
    mu_soft_per_cm: NDArray[np.float64]
    mu_bone_per_cm: NDArray[np.float64]


def density_g_per_cm3(material: Material) -> float:
    """Return the density at which one unit of a basis material counts."""
    return _tables().density_g_per_cm3[material]


def mass_attenuation_cm2_per_g(
    material: Material, energy_kev: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return mu / rho by log-log interpolation; exact on whole keV.

    Raises:
        ValueError: if the material is not tabulated or an energy lies outside 5..150 keV.
    """
    tables = _tables()
    if material not in tables.mass_attenuation:
        raise ValueError(f"got material {material!r}; tabulated: {', '.join(get_args(Material))}")
    lowest, highest = float(tables.energy_kev[0]), float(tables.energy_kev[-1])
    if energy_kev.size and not lowest <= energy_kev.min() <= energy_kev.max() <= highest:
        raise ValueError(
            f"got energies of {energy_kev.min():g}..{energy_kev.max():g} keV; the tables hold "
            f"{lowest:g}..{highest:g} keV"
        )
    log_value = np.log(tables.mass_attenuation[material])
    return np.exp(np.interp(np.log(energy_kev), np.log(tables.energy_kev), log_value))


def linear_attenuation_per_cm(
    material: Material, energy_kev: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return mu at the material's own density, in 1/cm."""
    return mass_attenuation_cm2_per_g(material, energy_kev) * density_g_per_cm3(material)


def tube_spectrum(kvp: float, *, filters_mm: Mapping[Material, float] | None = None) -> Spectrum:
    """Return a tungsten spectrum behind 2.5 mm of aluminium, in bins of 1 keV.

    Exact at 60, 62 .. 140 kVp. In between, neighbours are mixed linearly; above the lower one's
    end, the upper one is scaled so that the spectrum ends at the tube voltage. Against SpekPy the
    output is then within 0.1 % and the log projection within 2e-3 from 70 kVp on, 5e-3 below,
    behind up to 25 cm of soft tissue and 3 cm of bone. `filters_mm` adds filtration by
    Beer-Lambert.

    Raises:
        ValueError: if the tube voltage lies outside 60..140 kVp or a filter is negative.
    """
    if not LOWEST_KVP <= kvp <= HIGHEST_KVP:
        raise ValueError(
            f"got {kvp!r} kVp; tube spectra are tabulated from {LOWEST_KVP:g} to "
            f"{HIGHEST_KVP:g} kVp, so choose a tube voltage in that range"
        )
    tables = _tables()
    below = LOWEST_KVP + KVP_STEP * ((kvp - LOWEST_KVP) // KVP_STEP)
    above, share = below + KVP_STEP, (kvp - below) / KVP_STEP
    fluence = tables.fluence[int(below)]
    if share > 0:
        upper = tables.fluence[int(above)]
        to_end = np.clip((kvp - tables.energy_kev) / (above - below), 0.0, share)
        reach = np.clip((above - tables.energy_kev) / (above - below), 1e-9, 1.0)
        mixed = (1.0 - share) * fluence + share * upper
        fluence = np.where(tables.energy_kev < below, mixed, upper * to_end / reach)
    for material, thickness_mm in (filters_mm or {}).items():
        if not 0 <= thickness_mm < np.inf:
            raise ValueError(
                f"got a filter of {thickness_mm!r} mm of {material}; allowed: 0 or more"
            )
        mu = linear_attenuation_per_cm(material, tables.energy_kev)
        fluence = fluence * np.exp(-mu * thickness_mm / 10.0)
    return Spectrum(energy_kev=tables.energy_kev.copy(), fluence_per_cm2_mas=fluence.copy())


def absorbed_fraction(energy_kev: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return eta of 600 um of caesium iodide at 80 % packing."""
    mu = linear_attenuation_per_cm("csi", energy_kev)
    return 1.0 - np.exp(-mu * CSI_THICKNESS_CM * CSI_PACKING)


def absorbed_beam(
    kvp: float, *, filters_mm: Mapping[Material, float] | None = None
) -> DetectedBeam:
    """Return what the detector absorbs in bins of 1 keV; `quadrature` makes it few energies."""
    spectrum = tube_spectrum(kvp, filters_mm=filters_mm)
    kept = spectrum.fluence_per_cm2_mas > 0
    energy = spectrum.energy_kev[kept]
    return DetectedBeam(
        energy_kev=energy,
        quanta_per_cm2_mas=spectrum.fluence_per_cm2_mas[kept] * absorbed_fraction(energy),
        mu_soft_per_cm=linear_attenuation_per_cm("soft_tissue", energy),
        mu_bone_per_cm=linear_attenuation_per_cm("cortical_bone", energy),
    )


def usable_beam(kvp: float, *, filters_mm: Mapping[Material, float] | None = None) -> DetectedBeam:
    """Return `absorbed_beam`, and refuse one of which nothing is left.

    Raises:
        ValueError: as `tube_spectrum`, and if filters leave less than one absorbed quantum.
    """
    beam = absorbed_beam(kvp, filters_mm=filters_mm)
    quanta = beam.quanta_per_cm2_mas.sum()
    if quanta < LEAST_QUANTA_PER_CM2_MAS:
        layers = (filters_mm or {}).items()
        filters = " and ".join(f"{thick:g} mm of {material}" for material, thick in layers)
        raise ValueError(
            f"got {kvp:g} kVp behind {filters}, which leaves {quanta:.2g} absorbed quanta per cm2 "
            f"and mAs; at least {LEAST_QUANTA_PER_CM2_MAS:g} is allowed, so take thinner filters "
            "or a higher tube voltage"
        )
    return beam


def effective_attenuation_per_cm(material: Material, kvp: float) -> float:
    """Return mu of a thin layer behind 18 cm of soft tissue, weighted by absorbed energy."""
    energy, weight = _energy_behind_body(kvp)
    return float(np.average(linear_attenuation_per_cm(material, energy), weights=weight))


def cortical_bone_hu(kvp: float) -> float:
    """Return the Hounsfield number of ICRU-44 cortical bone in a CT of that tube voltage."""
    water = effective_attenuation_per_cm("water", kvp)
    bone = effective_attenuation_per_cm("cortical_bone", kvp)
    return 1000.0 * (bone / water - 1.0)


@dataclass(frozen=True, slots=True)
class _Tables:
    energy_kev: NDArray[np.float64]
    mass_attenuation: Mapping[str, NDArray[np.float64]]
    fluence: Mapping[int, NDArray[np.float64]]
    density_g_per_cm3: Mapping[str, float]


@functools.cache
def _tables() -> _Tables:
    file = resources.files("dexsearch.physics") / "tables" / "attenuation.npz"
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        columns = {name: arrays[name].astype(np.float64) for name in arrays.files if "/" in name}
        return _Tables(
            energy_kev=arrays["energy_kev"].astype(np.float64),
            mass_attenuation=_below(columns, "mass_attenuation/"),
            fluence={int(kvp): row for kvp, row in _below(columns, "spectrum/").items()},
            density_g_per_cm3=json.loads(str(arrays["about_json"]))["density_g_per_cm3"],
        )


def _below(
    columns: Mapping[str, NDArray[np.float64]], prefix: str
) -> dict[str, NDArray[np.float64]]:
    return {k.removeprefix(prefix): v for k, v in columns.items() if k.startswith(prefix)}


def _energy_behind_body(kvp: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    spectrum = tube_spectrum(kvp)
    energy = spectrum.energy_kev
    transmitted = np.exp(-linear_attenuation_per_cm("soft_tissue", energy) * REFERENCE_SOFT_CM)
    absorbed = spectrum.fluence_per_cm2_mas * absorbed_fraction(energy) * energy
    return energy, absorbed * transmitted

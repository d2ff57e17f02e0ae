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
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Material = Literal[
    "soft_tissue", "cortical_bone", "water", "adipose", "csi", "aluminium", "copper", "tin"
]

LOWEST_KVP = 60.0
HIGHEST_KVP = 140.0
CSI_THICKNESS_CM = 0.06
CSI_PACKING = 0.8
REFERENCE_SOFT_CM = 18.0
BIN_REFERENCE_CM = 5.0


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Photons of a tube by energy."""

    energy_kev: NDArray[np.float64]
    fluence_per_cm2_mas: NDArray[np.float64]
    """Photons of each energy bin per cm2 and mAs, 100 cm from the focus."""


@dataclass(frozen=True, slots=True)
class Beam:
    """What the detector absorbs of a tube's beam, by energy bin, with mu of both bases."""

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
        ValueError: if an energy lies outside 5..150 keV.
    """
    tables = _tables()
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
    return density_g_per_cm3(material) * mass_attenuation_cm2_per_g(material, energy_kev)


def tube_spectrum(kvp: float, *, filters_mm: Mapping[Material, float] | None = None) -> Spectrum:
    """Return a tungsten spectrum behind 2.5 mm of aluminium, in bins of 1 keV.

    Exact at 60, 70 .. 140 kVp; in between the two neighbours are mixed linearly and cut at the
    tube voltage. `filters_mm` adds filtration by Beer-Lambert.

    Raises:
        ValueError: if the tube voltage lies outside 60..140 kVp.
    """
    if not LOWEST_KVP <= kvp <= HIGHEST_KVP:
        raise ValueError(
            f"got {kvp!r} kVp; tube spectra are tabulated from {LOWEST_KVP:g} to "
            f"{HIGHEST_KVP:g} kVp, so choose a tube voltage in that range"
        )
    tables = _tables()
    below = int(kvp // 10) * 10
    share = (kvp - below) / 10.0
    fluence = tables.fluence[below].copy()
    if share > 0:
        fluence = (1.0 - share) * fluence + share * tables.fluence[below + 10]
        fluence[tables.energy_kev > kvp] = 0.0
    for material, thickness_mm in (filters_mm or {}).items():
        mu = linear_attenuation_per_cm(material, tables.energy_kev)
        fluence = fluence * np.exp(-mu * thickness_mm / 10.0)
    return Spectrum(energy_kev=tables.energy_kev.copy(), fluence_per_cm2_mas=fluence)


def absorbed_fraction(energy_kev: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return eta of 600 um of caesium iodide at 80 % packing."""
    mu = linear_attenuation_per_cm("csi", energy_kev)
    return 1.0 - np.exp(-mu * CSI_THICKNESS_CM * CSI_PACKING)


def detected_beam(
    kvp: float,
    *,
    bin_kev: int = 2,
    filters_mm: Mapping[Material, float] | None = None,
) -> Beam:
    """Rebin a tube's absorbed beam to `bin_kev`, keeping its absorbed energy.

    Each bin's mu is the mean over what passes 5 cm of soft tissue. Log error of 2 keV bins
    against 1 keV bins, up to 25 cm of soft tissue and 1 cm of bone: below 5e-4 at 120 and
    140 kVp, 7e-4 at 80, 2e-3 at 60; bins of 5 keV cost ten times as much.
    """
    spectrum = tube_spectrum(kvp, filters_mm=filters_mm)
    energy = spectrum.energy_kev
    mu_soft = linear_attenuation_per_cm("soft_tissue", energy)
    mu_bone = linear_attenuation_per_cm("cortical_bone", energy)
    quanta = spectrum.fluence_per_cm2_mas * absorbed_fraction(energy)
    bins = ((energy - energy[0]) // bin_kev).astype(np.int64)
    count = np.bincount(bins, weights=quanta).astype(np.float64)
    kept = count > 0

    def mean(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        total = np.bincount(bins, weights=weights)[kept]
        return np.asarray(np.bincount(bins, weights=weights * values)[kept] / total)

    passed = quanta * energy * np.exp(-mu_soft * BIN_REFERENCE_CM)
    return Beam(
        energy_kev=mean(energy, quanta),
        quanta_per_cm2_mas=count[kept],
        mu_soft_per_cm=mean(mu_soft, passed),
        mu_bone_per_cm=mean(mu_bone, passed),
    )


def effective_attenuation_per_cm(material: Material, kvp: float) -> float:
    """Return mu of a thin layer behind 18 cm of soft tissue, weighted by absorbed energy."""
    energy, weight = _energy_behind_body(kvp)
    return float(np.average(linear_attenuation_per_cm(material, energy), weights=weight))


def mean_detected_energy_kev(kvp: float) -> float:
    """Return the mean photon energy behind 18 cm of soft tissue, weighted by absorbed energy."""
    energy, weight = _energy_behind_body(kvp)
    return float(np.average(energy, weights=weight))


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

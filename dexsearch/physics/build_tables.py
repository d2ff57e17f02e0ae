"""Write the packaged tables anew: `python -m dexsearch.physics.build_tables`.

Needs the extra `physics` (xraydb, spekpy). Nothing at run time imports either: the package
reads `tables/attenuation.npz`, and `tables/SOURCE.md` says what is in it and from where.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ENERGY_KEV = np.arange(5.0, 151.0)

COMPOSITIONS: dict[str, tuple[float, dict[str, float]]] = {
    # material: density in g/cm3, mass fractions; tables/SOURCE.md names where they come from
    "water": (1.0, {"H": 0.111894, "O": 0.888106}),
    "soft_tissue": (
        1.06,
        {"H": 0.102, "C": 0.143, "N": 0.034, "O": 0.708, "Na": 0.002, "P": 0.003}
        | {"S": 0.003, "Cl": 0.002, "K": 0.003},
    ),
    "lung": (
        0.26,
        {"H": 0.103, "C": 0.105, "N": 0.031, "O": 0.749, "Na": 0.002, "P": 0.002}
        | {"S": 0.003, "Cl": 0.003, "K": 0.002},
    ),
    "cortical_bone": (
        1.92,
        {"H": 0.034, "C": 0.155, "N": 0.042, "O": 0.435, "Na": 0.001, "Mg": 0.002}
        | {"P": 0.103, "S": 0.003, "Ca": 0.225},
    ),
    "adipose": (
        0.95,
        {"H": 0.114, "C": 0.598, "N": 0.007, "O": 0.278, "Na": 0.001, "S": 0.001} | {"Cl": 0.001},
    ),
    "pmma": (1.19, {"H": 0.080538, "C": 0.599848, "O": 0.319614}),
    "aluminium": (2.699, {"Al": 1.0}),
    "copper": (8.96, {"Cu": 1.0}),
    "tin": (7.287, {"Sn": 1.0}),
    "csi": (4.51, {"Cs": 0.5115, "I": 0.4885}),
    "gd2o2s": (7.32, {"Gd": 0.8308, "O": 0.0845, "S": 0.0847}),
    "cirs_bone_adult": (
        1.6,
        {"H": 0.048314, "C": 0.370411, "N": 0.009703, "O": 0.356707, "Mg": 0.061919, "Cl": 0.0005}
        | {"Ca": 0.152446},
    ),
    "cirs_lung_inhale": (
        0.205,
        {
            "H": 0.085909,
            "C": 0.658966,
            "N": 0.035204,
            "O": 0.192919,
            "Cl": 0.016902,
            "Ca": 0.010101,
        },
    ),
    "cirs_plastic_water": (
        1.029,
        {"H": 0.0791, "C": 0.5362, "N": 0.0174, "O": 0.2721, "Mg": 0.0929, "Cl": 0.0023},
    ),
    "cirs_adipose": (
        0.962,
        {"H": 0.10056, "C": 0.698419, "N": 0.01631, "O": 0.1664, "Mg": 0.01651, "Cl": 0.001801},
    ),
    "cirs_spinal_cord": (
        1.07,
        {"H": 0.073615, "C": 0.542809, "N": 0.021704, "O": 0.265953, "Mg": 0.093719, "Cl": 0.0022},
    ),
    "cirs_liver": (
        1.072,
        {
            "H": 0.09009,
            "C": 0.694695,
            "N": 0.021021,
            "O": 0.171171,
            "Cl": 0.001001,
            "Ca": 0.022022,
        },
    ),
}
TUBE_VOLTAGES_KVP = range(60, 141, 2)
ANODE_ANGLE_DEG = 12.0
FILTER_MM_AL = 2.5


def build_tables() -> dict[str, Any]:
    """Compute every array of the packaged file, on a grid of 5..150 keV in steps of 1 keV."""
    import spekpy  # noqa: PLC0415  the extra `physics`, needed by this script alone
    import xraydb  # noqa: PLC0415

    arrays: dict[str, Any] = {"energy_kev": ENERGY_KEV}
    for material in COMPOSITIONS:
        arrays[f"mass_attenuation/{material}"] = mass_attenuation_cm2_per_g(material)
    for kvp in TUBE_VOLTAGES_KVP:
        arrays[f"spectrum/{kvp}"] = fluence_per_cm2_mas(float(kvp))
    about = {
        "density_g_per_cm3": {name: density for name, (density, _) in COMPOSITIONS.items()},
        "mass_fractions": {name: fractions for name, (_, fractions) in COMPOSITIONS.items()},
        "xraydb": xraydb.__version__,
        "spekpy": spekpy.__version__,
    }
    arrays["about_json"] = np.array(json.dumps(about, sort_keys=True))
    return arrays


def mass_attenuation_cm2_per_g(material: str) -> NDArray[np.float64]:
    """Mix the elements of a material, coherent scattering included, at `ENERGY_KEV`."""
    import xraydb  # noqa: PLC0415

    total = sum(
        fraction * xraydb.mu_elam(element, 1000.0 * ENERGY_KEV, kind="total")
        for element, fraction in COMPOSITIONS[material][1].items()
    )
    return np.asarray(total, dtype=np.float64)


def fluence_per_cm2_mas(kvp: float) -> NDArray[np.float64]:
    """Compute a tungsten spectrum behind 2.5 mm of aluminium at `ENERGY_KEV`, bins of 1 keV."""
    import spekpy  # noqa: PLC0415

    tube = spekpy.Spek(kvp=kvp, th=ANODE_ANGLE_DEG, dk=1.0)
    tube.filter("Al", FILTER_MM_AL)
    bin_centre_kev, fluence = tube.get_spectrum()
    spectrum = np.interp(ENERGY_KEV, bin_centre_kev, fluence, left=0.0, right=0.0)
    return np.asarray(spectrum, dtype=np.float64)


def main() -> None:
    """Write `tables/attenuation.npz` beside this file."""
    path = Path(__file__).with_name("tables") / "attenuation.npz"
    arrays = {
        name: array.astype(np.float32) if array.dtype == np.float64 else array
        for name, array in build_tables().items()
    }
    np.savez_compressed(path, allow_pickle=False, **arrays)
    sys.stderr.write(f"wrote {path}\n")


if __name__ == "__main__":
    main()

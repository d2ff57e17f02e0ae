"""Write the packaged tables anew: `python -m dexsearch.physics.build_tables`.

Needs the extra `physics` (xraydb, spekpy). Nothing at run time imports either: the package
reads `tables/attenuation.npz`, and `tables/SOURCE.md` says what is in it and from where.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

COMPOSITIONS: dict[str, tuple[float, dict[str, float]]] = {
    # material: density in g/cm3, mass fractions (tissues: ICRU Report 44, table of body tissues)
    "water": (1.0, {"H": 0.111894, "O": 0.888106}),
    "soft_tissue": (
        1.06,
        {"H": 0.102, "C": 0.143, "N": 0.034, "O": 0.708, "Na": 0.002, "P": 0.003, "S": 0.003}
        | {"Cl": 0.002, "K": 0.003},
    ),
    "cortical_bone": (
        1.92,
        {"H": 0.034, "C": 0.155, "N": 0.042, "O": 0.435, "Na": 0.001, "Mg": 0.002, "P": 0.103}
        | {"S": 0.003, "Ca": 0.225},
    ),
    "adipose": (
        0.95,
        {"H": 0.114, "C": 0.598, "N": 0.007, "O": 0.278, "Na": 0.001, "S": 0.001, "Cl": 0.001},
    ),
    "csi": (4.51, {"Cs": 0.5115, "I": 0.4885}),
    "aluminium": (2.699, {"Al": 1.0}),
    "copper": (8.96, {"Cu": 1.0}),
    "tin": (7.287, {"Sn": 1.0}),
}
TUBE_VOLTAGES_KVP = range(60, 141, 10)
ANODE_ANGLE_DEG = 12.0
FILTER_MM_AL = 2.5


def build_tables() -> dict[str, Any]:
    """Compute every array of the packaged file, on a grid of 5..150 keV in steps of 1 keV."""
    import spekpy  # noqa: PLC0415  the extra `physics`, needed by this script alone
    import xraydb  # noqa: PLC0415

    energy_kev = np.arange(5.0, 151.0)
    arrays: dict[str, Any] = {"energy_kev": energy_kev}
    for material, (_, fractions) in COMPOSITIONS.items():
        arrays[f"mass_attenuation/{material}"] = sum(
            weight * xraydb.mu_elam(element, 1000.0 * energy_kev, kind="total")
            for element, weight in fractions.items()
        )
    for kvp in TUBE_VOLTAGES_KVP:
        tube = spekpy.Spek(kvp=kvp, th=ANODE_ANGLE_DEG, dk=1.0)
        tube.filter("Al", FILTER_MM_AL)
        bin_centre_kev, fluence = tube.get_spectrum()
        arrays[f"spectrum/{kvp}"] = np.interp(
            energy_kev, bin_centre_kev, fluence, left=0.0, right=0.0
        )
    about = {
        "density_g_per_cm3": {name: density for name, (density, _) in COMPOSITIONS.items()},
        "mass_fractions": {name: fractions for name, (_, fractions) in COMPOSITIONS.items()},
        "xraydb": xraydb.__version__,
        "spekpy": spekpy.__version__,
    }
    arrays["about_json"] = np.array(json.dumps(about, sort_keys=True))
    return arrays


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

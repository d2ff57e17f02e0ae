"""Hounsfield numbers as fractions of soft tissue and cortical bone.

    relative = mu / mu_water = 1 + HU / 1000

One tube voltage:
    HU <= 150   all soft tissue, its density scaled
    HU > 150    bone fraction (HU - 150) / (HU_cortical - 150), the rest soft tissue
Both mu and HU_cortical are those of the CT's own tube voltage, so mu is reproduced exactly there.
The split is continuous: hard labels would leave the spine in the soft image. Contrast agent above
150 HU counts as bone.

Several tube voltages k, with the columns mu_basis(k) / mu_water(k):
    relative(k) = soft * mu_soft(k) / mu_water(k) + bone * mu_bone(k) / mu_water(k)
solved exactly for two, by least squares for more.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dexsearch.physics.attenuation import cortical_bone_hu, effective_attenuation_per_cm

BONE_FROM_HU = 150.0
SMALLEST_KVP_RANGE = 10.0

Fraction = NDArray[np.float32]


def two_bases(hu: Fraction, *, kvp: float) -> tuple[Fraction, Fraction]:
    """Split Hounsfield numbers of one CT into fractions of soft tissue and cortical bone.

    Raises:
        ValueError: if the tube voltage lies outside 60..140 kVp.
    """
    mu_water = effective_attenuation_per_cm("water", kvp)
    water_in_soft = mu_water / effective_attenuation_per_cm("soft_tissue", kvp)
    water_in_bone = mu_water / effective_attenuation_per_cm("cortical_bone", kvp)
    cortical_hu = cortical_bone_hu(kvp)
    relative = np.maximum(1.0 + hu / 1000.0, 0.0)
    share = np.clip((hu - BONE_FROM_HU) / (cortical_hu - BONE_FROM_HU), 0.0, 1.0)
    bone = np.where(hu > cortical_hu, relative * water_in_bone, share)
    soft = np.where(share > 0.0, (1.0 - share) * (1.0 + BONE_FROM_HU / 1000.0), relative)
    return (soft * water_in_soft).astype(np.float32), bone.astype(np.float32)


def decompose(relative: Sequence[Fraction], *, kvp: Sequence[float]) -> tuple[Fraction, Fraction]:
    """Solve for both fractions from two or more CTs at different tube voltages.

    Linear, so noise stays noise around the truth, negative values included; average first, by
    resampling, then call `without_negatives`. Noise of 10 HU becomes 0.023 of bone
    fraction with CTs at 80 and 140 kVp, 0.012 at 60 and 120.

    Args:
        relative: attenuation relative to water, one volume per tube voltage.
        kvp: the tube voltages, 60..140, at least 10 kV between lowest and highest.

    Raises:
        ValueError: if there are not as many tube voltages as volumes, fewer than two, one that
            is outside the tables, or if they lie too close together.
    """
    if len(relative) != len(kvp) or len(kvp) < 2 or max(kvp) - min(kvp) < SMALLEST_KVP_RANGE:
        raise ValueError(
            f"got {len(relative)} volumes at {', '.join(f'{one:g}' for one in kvp)} kVp; two "
            f"bases need two or more, at least {SMALLEST_KVP_RANGE:g} kV apart"
        )
    soft_row, bone_row = np.linalg.pinv(_columns(kvp)).astype(np.float32)
    soft, bone = np.zeros_like(relative[0]), np.zeros_like(relative[0])
    for volume, to_soft, to_bone in zip(relative, soft_row, bone_row, strict=True):
        soft += to_soft * volume
        bone += to_bone * volume
    return soft, bone


def all_soft(relative: Sequence[Fraction], *, kvp: Sequence[float]) -> Fraction:
    """Return the soft tissue that alone explains the CTs best.

    Raises:
        ValueError: if a tube voltage lies outside 60..140 kVp.
    """
    column = _columns(kvp)[:, 0]
    weights = (column / (column @ column)).astype(np.float32)
    soft = np.zeros_like(relative[0])
    for volume, weight in zip(relative, weights, strict=True):
        soft += weight * volume
    return soft


def without_negatives(
    soft: Fraction, bone: Fraction, *, kvp: Sequence[float]
) -> tuple[Fraction, Fraction]:
    """Return the nearest fractions that are not negative, in the least-squares sense.

    Where one basis is negative it becomes zero and the other takes over what it explained, so
    that mu is kept as well as it can be. Exact for least squares with that constraint, because
    attenuations have one sign. Voxels of pure soft tissue keep the positive half of their noise
    as bone: at most 0.4 of its standard deviation.
    """
    columns = _columns(kvp)
    soft_squared, bone_squared = (float(column @ column) for column in columns.T)
    product = float(columns[:, 0] @ columns[:, 1])
    no_bone = np.maximum(soft + np.float32(product / soft_squared) * bone, 0.0)
    no_soft = np.maximum(bone + np.float32(product / bone_squared) * soft, 0.0)
    return (
        np.where(bone < 0.0, no_bone, np.maximum(soft, 0.0)),
        np.where(soft < 0.0, no_soft, np.maximum(bone, 0.0)),
    )


def _columns(kvp: Sequence[float]) -> NDArray[np.float64]:
    """Return mu of both bases relative to water, one row per tube voltage."""
    mu = [
        [effective_attenuation_per_cm(basis, one) for basis in ("soft_tissue", "cortical_bone")]
        for one in kvp
    ]
    water = [[effective_attenuation_per_cm("water", one)] for one in kvp]
    return np.asarray(np.array(mu) / np.array(water))

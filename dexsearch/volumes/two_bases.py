"""Hounsfield numbers as fractions of soft tissue and cortical bone.

    relative = mu / mu_water = 1 + HU / 1000

One tube voltage:
    HU <= 150   all soft tissue, its density scaled
    HU > 150    bone fraction (HU - 150) / (HU_cortical - 150), the rest soft tissue
Both mu and HU_cortical are those of the CT's own tube voltage, so mu is reproduced exactly there.
The split is continuous: hard labels would leave the spine in the soft image. Contrast agent above
150 HU counts as bone.

The split has a corner at 150 HU. Splitting before voxels are averaged turns noise into bone,
splitting after it loses thin bone; `averaged_bases` does neither.

Several tube voltages k, with the columns mu_basis(k) / mu_water(k):
    relative(k) = soft * mu_soft(k) / mu_water(k) + bone * mu_bone(k) / mu_water(k)
solved exactly for two, by least squares for more.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special

from dexsearch.physics.attenuation import cortical_bone_hu, effective_attenuation_per_cm

BONE_FROM_HU = 150.0
PLAIN_TISSUE_HU = 55.0
SMALLEST_KVP_RANGE = 10.0

Fraction = NDArray[np.float32]


def averaged_bases(
    relative: Fraction,
    bone: Fraction,
    share: Fraction | None = None,
    *,
    kvp: float,
    noise_hu: float,
) -> tuple[Fraction, Fraction]:
    """Return the fractions of one CT in voxels that are averages of finer, noisier ones.

    From the averaged bone goes what noise alone would have made of soft tissue, and up to twice
    that is no bone; but there is never less than the averaged attenuation itself tells. Without
    noise that is the averaged bone. The attenuation is kept.

    Args:
        relative: averaged attenuation relative to water.
        bone: averaged bone fraction of `two_bases`.
        share: how much of each voxel may hold bone, 0..1; None: all of it.
        kvp: tube voltage, 60..140.
        noise_hu: standard deviation of the finer voxels in HU.

    Raises:
        ValueError: if the tube voltage lies outside 60..140 kVp.
    """
    _, certain = two_bases(1000 * (relative - 1), kvp=kvp)
    of_noise = _bone_of_noise(relative, kvp=kvp, noise_hu=noise_hu)
    if share is not None:
        certain, of_noise = certain * share, of_noise * share
    left = np.where(bone > 2 * of_noise, bone - of_noise, np.float32(0))
    to_soft, to_bone = (float(column) for column in _columns([kvp])[0])
    most = np.maximum(relative, 0) / np.float32(to_bone)
    bone = np.minimum(np.maximum(left, certain), most)
    soft = (np.maximum(relative, 0) - np.float32(to_bone) * bone) / np.float32(to_soft)
    return np.maximum(soft, 0), bone


def _bone_of_noise(relative: Fraction, *, kvp: float, noise_hu: float) -> Fraction:
    """Return what noise adds on average to the bone of even tissue: E[max(x, 0)] - max(x, 0).

    Below soft tissue it counts as soft tissue: a mixture with lung or air, of which only the
    soft tissue's noise reaches 150 HU.
    """
    if noise_hu <= 0:
        return np.zeros_like(relative)
    hu = np.maximum(1000 * (relative - 1), np.float32(PLAIN_TISSUE_HU))
    above = np.abs(hu - np.float32(BONE_FROM_HU)) / np.float32(noise_hu)
    density = np.exp(-0.5 * above**2) / np.float32(np.sqrt(2 * np.pi))
    added_hu = noise_hu * (density - above * special.ndtr(-above))
    return np.asarray(added_hu / (cortical_bone_hu(kvp) - BONE_FROM_HU), dtype=np.float32)


def bases_with_region(
    relative: Sequence[Fraction], inside: Sequence[Fraction], *, kvp: Sequence[float]
) -> tuple[Fraction, Fraction]:
    """Return the fractions of several CTs where only a part of the body may hold bone.

    Args:
        relative: attenuation relative to water, one volume per tube voltage.
        inside: the part of it that comes from the region with bone.
        kvp: as `decompose`.

    Raises:
        ValueError: as `decompose`.
    """
    soft, bone = decompose(inside, kvp=kvp)
    outside = [whole - part for whole, part in zip(relative, inside, strict=True)]
    return without_negatives(soft + all_soft(outside, kvp=kvp), bone, kvp=kvp)


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

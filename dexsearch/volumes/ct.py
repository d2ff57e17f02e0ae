"""CTs in Hounsfield units as a two-basis volume: one CT, or several of one patient.

path -> reader (scan_readers) -> HU in our axes -> body without the table (body) -> relative
     attenuation -> cubes (resampling) -> fractions of both bases (two_bases) -> Subject
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dexsearch.errors import ConfigurationError, DataError
from dexsearch.physics.attenuation import HIGHEST_KVP, LOWEST_KVP
from dexsearch.volumes.body import body_mask, soft_tissue_noise_hu
from dexsearch.volumes.ct_info import (
    CtInfo,
    ct_info,
    ct_patient,
    ct_sha256,
    refuse_mixed_patients,
)
from dexsearch.volumes.resampling import SLAB, CubicGrid
from dexsearch.volumes.scan import (
    ScanReader,
    Voxels,
    refuse_other_grid,
    refuse_what_is_not_hu,
)
from dexsearch.volumes.scan_readers import open_scan, scan_name
from dexsearch.volumes.subject import Subject
from dexsearch.volumes.two_bases import (
    SMALLEST_KVP_RANGE,
    averaged_bases,
    bases_with_region,
    decompose,
    two_bases,
    without_negatives,
)

__all__ = [
    "CtInfo",
    "ct_info",
    "ct_patient",
    "ct_sha256",
    "load_ct",
    "refuse_mixed_patients",
]

DEFAULT_KVP = 120.0
DENSE = 1.3
"""Relative attenuation of 300 HU: bone, contrast agent or metal at any tube voltage."""
FEWEST_DENSE = 100

Relative = NDArray[np.float32]


def load_ct(
    sources: Sequence[Path] | Path,
    *,
    kvp: float | Sequence[float] | None = None,
    voxel_mm: float | None = None,
    bone_mask: Path | None = None,
) -> Subject:
    """Read a CT, or several of one patient, take the table away, and split into the two bases.

    Args:
        sources: DICOM folders or volumes in Hounsfield units, in any axis order; several are one
            patient at different tube voltages on one grid.
        kvp: the tube voltages, 60..140, one per CT; None: what the headers tell, else 120 for a
            single CT.
        voxel_mm: side of the cubic voxels; None: the finest spacing. Never finer than that.
        bone_mask: a volume of 0 and 1 on the CT's grid; where it is 0 there is no bone, which
            keeps contrast agent and calcified leads out.

    Raises:
        DataError: if a file is missing, damaged, no CT, or on another grid.
        ConfigurationError: if the tube voltages are unknown, out of range, too alike, or if bone
            does not fall with them.
    """
    paths = [sources] if isinstance(sources, Path) else list(sources)
    if not paths:
        raise DataError("got no CT", hint="give at least one")
    readers = [open_scan(path) for path in paths]
    voltages = _voltages(readers, kvp)
    for reader in readers[1:]:
        refuse_other_grid(reader.path, reader.header, readers[0].path, readers[0].header)
    region = _bone_region(bone_mask, readers[0]) if bone_mask is not None else None
    scans = [_hounsfield(reader) for reader in readers]
    header = readers[0].header
    side = max(min(header.spacing_mm), voxel_mm or 0.0)
    body = body_mask(*scans, spacing_mm=header.spacing_mm)
    grid = CubicGrid(header.shape, header.spacing_mm, side)
    resampled = grid.resampled(_Fine(scans, voltages, body, region).rows)
    relative = resampled[: len(scans)]
    _refuse_wrong_order(paths, relative, voltages)
    noise_hu = soft_tissue_noise_hu(scans[0], body) if len(scans) == 1 else 0.0
    soft, bone = _split(resampled, voltages, noise_hu)
    if len(scans) > 1:
        for one in relative:
            np.maximum(one, 0.0, out=one)
    return Subject(
        name=scan_name(paths[0]),
        soft=soft,
        bone=bone,
        voxel_mm=side,
        scans=dict(zip(voltages, relative, strict=True)) if len(scans) > 1 else {},
    )


class _Fine:
    """What is averaged to cubes, a few slices at a time.

    The relative attenuation of each CT without its table, noise below air included. Of one CT
    also its bone, and the bone region where there is one; of several, which are split linearly
    later, also their parts inside the region.
    """

    def __init__(
        self,
        scans: Sequence[Voxels],
        kvp: Sequence[float],
        body: NDArray[np.bool_],
        bone_region: NDArray[np.bool_] | None,
    ) -> None:
        self._scans, self._kvp, self._body = scans, kvp, body
        self._bone_region = bone_region

    def rows(self, rows: slice) -> tuple[Relative, ...]:
        body, region = self._body[rows], self._bone_region
        hu: list[Relative] = [np.where(body, one[rows], np.float32(-1000)) for one in self._scans]
        relative = [np.float32(1) + one / np.float32(1000) for one in hu]
        share = None if region is None else region[rows].astype(np.float32)
        if len(hu) > 1:
            return (*relative, *(() if share is None else (share * one for one in relative)))
        _, bone = two_bases(hu[0], kvp=self._kvp[0])
        return (relative[0], bone) if share is None else (relative[0], share * bone, share)


def _split(
    resampled: Sequence[Relative], kvp: Sequence[float], noise_hu: float
) -> tuple[Relative, Relative]:
    """Return both fractions of what `_Fine` gave; slice by slice, which saves memory.

    Those of one CT take the place of what they come from.
    """
    n = len(kvp)
    if n == 1:
        soft, bone = resampled[:2]
    else:
        soft, bone = np.empty_like(resampled[0]), np.empty_like(resampled[0])
    for rows in _slabs(len(soft)):
        parts = [one[rows] for one in resampled]
        if n == 1:
            soft[rows], bone[rows] = averaged_bases(*parts, kvp=kvp[0], noise_hu=noise_hu)
        elif len(parts) > n:
            soft[rows], bone[rows] = bases_with_region(parts[:n], parts[n:], kvp=kvp)
        else:
            soft[rows], bone[rows] = without_negatives(*decompose(parts, kvp=kvp), kvp=kvp)
    return soft, bone


def _slabs(n_slices: int) -> Iterator[slice]:
    for first in range(0, n_slices, SLAB):
        yield slice(first, first + SLAB)


def _refuse_wrong_order(
    paths: Sequence[Path], relative: Sequence[Relative], kvp: Sequence[float]
) -> None:
    """Refuse CTs whose dense voxels do not fall with the tube voltage, as bone and iodine do."""
    if len(kvp) < 2:
        return
    dense = np.logical_and.reduce([one > DENSE for one in relative])
    if int(dense.sum()) < FEWEST_DENSE:
        return
    medians_hu = [1000 * (float(np.median(one[dense])) - 1) for one in relative]
    in_order = [median for _, median in sorted(zip(kvp, medians_hu, strict=True))]
    if all(one > other for one, other in pairwise(in_order)):
        return
    found = ", ".join(
        f"{path} {median:.0f} HU at {one:g} kVp"
        for path, median, one in zip(paths, medians_hu, kvp, strict=True)
    )
    raise ConfigurationError(
        f"median of the voxels above 300 HU: {found}; it falls as the tube voltage rises",
        hint="check the tube voltages: --ct-kvp gives them in the order of the CTs",
    )


def _hounsfield(reader: ScanReader) -> Voxels:
    values = reader.values()
    refuse_what_is_not_hu(reader.path, values)
    return values


def _bone_region(path: Path, ct: ScanReader) -> NDArray[np.bool_]:
    reader = open_scan(path)
    refuse_other_grid(path, reader.header, ct.path, ct.header)
    values = reader.values()
    region = np.asarray(values == 1, dtype=np.bool_)
    wrong = values[(values != 0) & ~region]
    if wrong.size:
        raise DataError(
            f"{path} holds {wrong.size} values such as {wrong[0]:g}; a bone mask holds 0 and 1",
            hint="write bone as 1 and everything else as 0",
        )
    if not region.any():
        raise DataError(
            f"{path} marks no voxel as bone",
            hint="write bone as 1, or leave the bone mask out",
        )
    return region


def _voltages(readers: Sequence[ScanReader], kvp: float | Sequence[float] | None) -> list[float]:
    """Return one tube voltage per CT, what the caller gave before what the headers tell."""
    names = ", ".join(str(reader.path) for reader in readers)
    if kvp is None:
        told = [reader.header.kvp for reader in readers]
        if len(told) == 1 and told[0] is None:
            told = [DEFAULT_KVP]
    else:
        told = [float(one) for one in kvp] if isinstance(kvp, Sequence) else [float(kvp)]
    known = [one for one in told if one is not None]
    given = ", ".join("unknown" if one is None else f"{one:g}" for one in told)
    if len(known) != len(readers):
        wrong = "one known tube voltage per CT is needed"
    elif not all(LOWEST_KVP <= one <= HIGHEST_KVP for one in known):
        wrong = f"the tables hold {LOWEST_KVP:g}..{HIGHEST_KVP:g} kVp"
    elif len(known) > 1 and (
        len(set(known)) < len(known) or max(known) - min(known) < SMALLEST_KVP_RANGE
    ):
        wrong = (
            "CTs of one patient must differ in tube voltage, lowest and highest by "
            f"{SMALLEST_KVP_RANGE:g} kV"
        )
    else:
        return known
    raise ConfigurationError(
        f"{names}: tube voltage {given} kVp; {wrong}",
        hint="give the tube voltages in the order of the CTs, as with --ct-kvp 80,140",
    )

"""CTs in Hounsfield units as a two-basis volume: one CT, or several of one patient.

path -> reader (scan_readers) -> HU in our axes -> body without the table (body)
     -> fractions of both bases (two_bases) -> cubes (resampling) -> Subject
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dexsearch.errors import ConfigurationError, DataError
from dexsearch.physics.attenuation import HIGHEST_KVP, LOWEST_KVP
from dexsearch.volumes.body import body_mask
from dexsearch.volumes.resampling import CubicGrid
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
    all_soft,
    decompose,
    two_bases,
    without_negatives,
)

__all__ = [
    "body_mask",
    "ct_contrast_agent",
    "ct_extent_mm",
    "ct_kvp",
    "ct_name",
    "ct_sha256",
    "load_ct",
    "two_bases",
]

DEFAULT_KVP = 120.0


def ct_name(path: Path) -> str:
    """Return the subject's name: the file's name without its ending, or the series' folder.

    Raises:
        DataError: if the path can be no CT.
    """
    return scan_name(path)


def ct_extent_mm(path: Path) -> tuple[float, float, float]:
    """Return the extent from head to feet, front to back and right to left; reads headers only.

    Raises:
        DataError: if the CT is missing or its headers are not those of one sound volume.
    """
    header = open_scan(path).header
    up, front, right = (n * mm for n, mm in zip(header.shape, header.spacing_mm, strict=True))
    return up, front, right


def ct_kvp(path: Path) -> float | None:
    """Return the tube voltage that the CT's headers tell, None where they tell none.

    Raises:
        DataError: as `ct_extent_mm`.
    """
    return open_scan(path).header.kvp


def ct_contrast_agent(path: Path) -> str | None:
    """Return the contrast agent that the CT's headers name, None where they name none.

    Raises:
        DataError: as `ct_extent_mm`.
    """
    return open_scan(path).header.contrast_agent


def ct_sha256(path: Path) -> str:
    """Return the sha256 of the voxels in our axes and their spacing.

    So packing, renaming, another order of the slices or another format does not change it.

    Raises:
        DataError: if the CT is missing, damaged or not one sound volume.
    """
    reader = open_scan(path)
    spacing = " ".join(f"{mm:.3f}" for mm in reader.header.spacing_mm)
    whole = hashlib.sha256(f"{reader.header.shape} {spacing} ".encode())
    values = reader.values()
    little = values.dtype.newbyteorder("<")
    for row in values:
        whole.update(np.ascontiguousarray(row, dtype=little).tobytes())
    return whole.hexdigest()


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
        ConfigurationError: if the tube voltages are unknown, out of range or too alike.
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
    split = _Split(scans, voltages, body, region)
    grid = CubicGrid(header.shape, header.spacing_mm, side)
    soft, bone, *relative = grid.resampled(split.rows)
    if relative:
        soft, bone = without_negatives(soft, bone, kvp=voltages)
    return Subject(
        name=ct_name(paths[0]),
        soft=soft,
        bone=bone,
        voxel_mm=side,
        scans=dict(zip(voltages, relative, strict=False)),
    )


class _Split:
    """The fractions of a few slices at a time, and the relative attenuation of several CTs."""

    def __init__(
        self,
        scans: Sequence[Voxels],
        kvp: Sequence[float],
        body: NDArray[np.bool_],
        bone_region: NDArray[np.bool_] | None,
    ) -> None:
        self._scans, self._kvp = scans, kvp
        self._body, self._bone_region = body, bone_region

    def rows(self, rows: slice) -> tuple[NDArray[np.float32], ...]:
        hu = [np.where(self._body[rows], scan[rows], np.float32(-1000)) for scan in self._scans]
        relative = [np.maximum(1.0 + one / np.float32(1000), np.float32(0)) for one in hu]
        if len(hu) == 1:
            soft, bone = two_bases(hu[0], kvp=self._kvp[0])
        else:
            soft, bone = decompose(relative, kvp=self._kvp)
        if self._bone_region is not None:
            inside = self._bone_region[rows]
            soft = np.where(inside, soft, all_soft(relative, kvp=self._kvp))
            bone = np.where(inside, bone, np.float32(0))
        return (soft, bone) if len(hu) == 1 else (soft, bone, *relative)


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

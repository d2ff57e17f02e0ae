"""What is known of a CT before its voxels are read, and of which patient it is.

`ct_info` opens a CT once; a DICOM series costs one pass over its headers.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np

from dexsearch.errors import DataError
from dexsearch.volumes.scan import ScanHeader, ScanReader, grid_difference
from dexsearch.volumes.scan_readers import open_scan, scan_name


@dataclass(frozen=True, slots=True)
class CtInfo:
    """A CT that is there and whose headers are those of one sound volume."""

    path: Path
    name: str
    """The file's name without its ending, or that of the DICOM series' folder."""
    extent_mm: tuple[float, float, float]
    """From head to feet, front to back and right to left."""
    kvp: float | None
    """Tube voltage, None where the headers tell none."""
    contrast_agent: str | None
    """None where the headers name none."""
    patient: str | None = field(repr=False)
    """PatientID of DICOM; None elsewhere, and where it was taken away."""
    _reader: ScanReader = field(repr=False, compare=False)

    @property
    def header(self) -> ScanHeader:
        """The grid of the scan and how it was taken."""
        return self._reader.header

    def sha256(self) -> str:
        """Read the voxels and return the sha256 of them in our axes and of their spacing.

        So packing, renaming, another order of the slices or another format does not change it.

        Raises:
            DataError: if the voxels are damaged.
        """
        spacing = " ".join(f"{mm:.3f}" for mm in self.header.spacing_mm)
        whole = hashlib.sha256(f"{self.header.shape} {spacing} ".encode())
        values = self._reader.values()
        little = values.dtype.newbyteorder("<")
        for row in values:
            whole.update(np.ascontiguousarray(row, dtype=little).tobytes())
        return whole.hexdigest()


def ct_info(path: Path) -> CtInfo:
    """Open a CT and return what its headers tell.

    Raises:
        DataError: if the CT is missing or its headers are not those of one sound volume.
    """
    reader = open_scan(path)
    header = reader.header
    up, front, right = (n * mm for n, mm in zip(header.shape, header.spacing_mm, strict=True))
    return CtInfo(
        path=path,
        name=scan_name(path),
        extent_mm=(up, front, right),
        kvp=header.kvp,
        contrast_agent=header.contrast_agent,
        patient=header.patient,
        _reader=reader,
    )


def ct_patient(path: Path) -> str | None:
    """Return the PatientID that a CT's DICOM headers tell, None where they tell none.

    Raises:
        DataError: as `ct_info`.
    """
    return ct_info(path).patient


def ct_sha256(path: Path) -> str:
    """Return `CtInfo.sha256` of the volume at `path`.

    Raises:
        DataError: if it is missing, damaged or not one sound volume.
    """
    return ct_info(path).sha256()


def refuse_mixed_patients(
    sources: Sequence[Path | CtInfo], *, same_patient: bool
) -> tuple[str, ...]:
    """Refuse CTs whose headers contradict that they are of one patient, or of different ones.

    Volumes of one patient in several subsets make every score on the hold-out worthless.

    Returns:
        One line for each group of CTs that may be one patient, which only the user can tell.

    Raises:
        DataError: if CTs of different patients share PatientID or FrameOfReferenceUID, or if
            those of one patient have different PatientIDs.
    """
    infos = [one if isinstance(one, CtInfo) else ct_info(one) for one in sources]
    for one, other in combinations(infos, 2):
        shared = _shared(one.header, other.header)
        if not same_patient and shared:
            raise DataError(
                f"{one.path} and {other.path} are CTs of one patient: they share {shared}; "
                "without --same-patient every CT is another patient",
                hint="give --same-patient if all are CTs of one patient, else one CT of each",
            )
        if same_patient and None not in (one.patient, other.patient):
            _refuse_another_patient(one, other, shared)
    return () if same_patient else tuple(_look_alikes(infos))


def _refuse_another_patient(one: CtInfo, other: CtInfo, shared: str | None) -> None:
    if one.patient == other.patient:
        return
    raise DataError(
        f"{one.path} and {other.path} are CTs of two patients: they have different PatientIDs; "
        "--same-patient takes CTs of one",
        hint=f"they share {shared}: correct the PatientID of one"
        if shared
        else "leave --same-patient out",
    )


def _shared(header: ScanHeader, other: ScanHeader) -> str | None:
    if header.patient is not None and header.patient == other.patient:
        return "the PatientID"
    frame = header.frame_of_reference
    return (
        "the FrameOfReferenceUID"
        if frame is not None and frame == other.frame_of_reference
        else None
    )


def _look_alikes(infos: Sequence[CtInfo]) -> list[str]:
    groups: list[list[CtInfo]] = []
    for info in infos:
        if info.header.centre_mm is None:
            continue
        home = next((group for group in groups if _one_grid(group[0], info)), None)
        if home is None:
            groups.append([info])
        else:
            home.append(info)
    return [
        f"{', '.join(str(one.path) for one in group)} look like one patient: the same grid, voxel "
        "size and position; give --same-patient if they are"
        for group in groups
        if len(group) > 1 and any(one.patient is None for one in group)
    ]


def _one_grid(one: CtInfo, other: CtInfo) -> bool:
    return grid_difference(other.header, one.header) is None

"""The CTs of a dataset before any view is made: whose, at which voltage, what to tell of them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dexsearch.config.data import CtDataConfig
from dexsearch.data.recipe import VOLTAGES
from dexsearch.data.volume_sources import CtSource
from dexsearch.errors import ConfigurationError, DataError
from dexsearch.volumes.ct import CtInfo, ct_info, refuse_mixed_patients

DEFAULT_KVP = 120.0


@dataclass(frozen=True, slots=True)
class CtFiles:
    """The CTs of one dataset.

    Attributes:
        paths: as given.
        names: one for each, all different.
        kvp: tube voltage of each.
        sha256: of the voxels of each.
        field_mm: side of the square field that shows the largest of them.
        notes: what the user should know, one line each.
    """

    paths: tuple[Path, ...]
    names: tuple[str, ...]
    kvp: tuple[float, ...]
    sha256: tuple[str, ...]
    field_mm: float
    notes: tuple[str, ...]

    def sources(
        self, *, same_patient: bool, voxel_mm: float, bone_mask: Path | None
    ) -> list[CtSource]:
        """Return a source for each patient."""
        paths = tuple(path.resolve() for path in self.paths)
        mask = bone_mask.resolve() if bone_mask else None
        if same_patient:
            return [CtSource(self.names[0], paths, self.kvp, voxel_mm, mask)]
        return [
            CtSource(name, (path,), (kvp,), voxel_mm, mask)
            for name, path, kvp in zip(self.names, paths, self.kvp, strict=True)
        ]


def read_ct_files(
    paths: Sequence[Path], config: CtDataConfig, *, bone_mask: Path | None
) -> CtFiles:
    """Read the headers and hash the voxels of all CTs.

    Raises:
        DataError: on a file that is no CT, one CT given twice, or patients that are mixed up.
        ConfigurationError: on tube voltages or a bone mask that do not fit the CTs.
    """
    if not paths:
        raise DataError("got no CT", hint="give at least one")
    if bone_mask is not None and len(paths) > 1 and not config.same_patient:
        raise ConfigurationError(
            f"got one bone mask for {len(paths)} patients; make a dataset of each, or leave "
            "--bone-mask out"
        )
    if bone_mask is not None and not bone_mask.exists():
        raise DataError(f"no such bone mask: {bone_mask}", hint="check --bone-mask")
    infos = [ct_info(path) for path in paths]
    hashes = _hashes(infos)
    notes = list(refuse_mixed_patients(infos, same_patient=config.same_patient))
    kvp = _tube_voltages(infos, config.ct_kvp, notes, same_patient=config.same_patient)
    if bone_mask is None:
        notes += [_contrast_note(info) for info in infos if info.contrast_agent]
    if config.targets == "xray-gan" and not set(VOLTAGES) <= set(kvp):
        notes.append("the CTs at 80, 120 and 140 kV of xray_GAN's recipe are simulated")
    return CtFiles(
        paths=tuple(paths),
        names=_names(infos, same_patient=config.same_patient),
        kvp=kvp,
        sha256=hashes,
        field_mm=max(side for info in infos for side in info.extent_mm),
        notes=tuple(notes),
    )


def _names(infos: Sequence[CtInfo], *, same_patient: bool) -> tuple[str, ...]:
    """Return a name for each CT; with the folder's where two files are called alike."""
    counts = Counter(info.name for info in infos)
    names = [
        info.name if counts[info.name] == 1 else f"{info.path.resolve().parent.name}-{info.name}"
        for info in infos
    ]
    if len(set(names)) < len(names) and not same_patient:
        raise DataError(
            f"got the CTs {names}, and a subject's name is that of its file",
            hint="give each patient's file or folder a name of its own",
        )
    return tuple(names)


def _tube_voltages(
    infos: Sequence[CtInfo],
    given: tuple[float, ...],
    notes: list[str],
    *,
    same_patient: bool,
) -> tuple[float, ...]:
    """Return the tube voltage of each CT: as given, else as its headers say, else 120."""
    n_allowed = (0, len(infos)) if same_patient else (0, 1, len(infos))
    if len(given) not in n_allowed:
        raise ConfigurationError(
            f"got {len(given)} tube voltage{'' if len(given) == 1 else 's'} for {len(infos)} CTs; "
            "give --ct-kvp one for each, with commas, in the order of the CTs"
        )
    asked = given if len(given) == len(infos) else given * len(infos)
    for info, voltage in zip(infos, asked, strict=False):
        if info.kvp is not None and info.kvp != voltage:
            raise ConfigurationError(
                f"{info.path} was taken at {info.kvp:g} kV, and --ct-kvp says {voltage:g}; leave "
                "the flag out"
            )
    if asked:
        return asked
    notes += [
        f"{info.path} does not tell its tube voltage, {DEFAULT_KVP:g} kV is assumed; --ct-kvp "
        "says otherwise"
        for info in infos
        if info.kvp is None
    ]
    return tuple(info.kvp or DEFAULT_KVP for info in infos)


def _contrast_note(info: CtInfo) -> str:
    return (
        f"warning: {info.path} was taken with the contrast agent {info.contrast_agent!r}; vessels "
        "above 150 HU count as bone, unless --bone-mask says where bone is"
    )


def _hashes(infos: Sequence[CtInfo]) -> tuple[str, ...]:
    """Return the sha256 of each CT; refuse one given twice."""
    first: dict[str, Path] = {}
    for info in infos:
        sha256 = info.sha256()
        if sha256 in first:
            raise DataError(
                f"{first[sha256]} and {info.path} are the same CT, given twice",
                hint="give each CT once",
            )
        first[sha256] = info.path
    return tuple(first)

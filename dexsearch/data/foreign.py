"""Foreign image pairs: files of the same name in one folder for each kind of image.

    SRC/<single energy>/m30_15_45.npy      one volume from the pose -30, 15, 45 degrees
    SRC/<bone>/m30_15_45.npy
    SRC/<tissue>/m30_15_45.npy

is the layout of xray_GAN. Radiographs have any names, formats that may differ between folders,
and sub-folders for subjects (SRC/<input>/<subject>/<image>.png); one target may be absent.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dexsearch.data.foreign_files import Folders, find_folders, matched
from dexsearch.data.foreign_subjects import Identities, Identity, identify, pose_of
from dexsearch.data.splits import Pose
from dexsearch.errors import DataError
from dexsearch.images.reading import ImageHeader, read_header

__all__ = [
    "Folders",
    "ForeignPair",
    "FoundPairs",
    "find_folders",
    "find_pairs",
    "pose_from_name",
]

_SPACING_TOLERANCE = 0.01  # of the spacing


@dataclass(frozen=True, slots=True)
class ForeignPair:
    """The files of one image, all of one size.

    Attributes:
        subject: whose image it is.
        pose_deg: from where it was seen; zero where the name does not say.
        name: of the image, empty where its pose is its name.
        size_px: rows and columns.
        input: single-energy image.
        bone: bone image, if there are any.
        tissue: soft-tissue image, if there are any.
    """

    subject: str
    pose_deg: Pose
    name: str
    size_px: tuple[int, int]
    input: Path
    bone: Path | None = None
    tissue: Path | None = None

    def paths(self) -> dict[str, Path]:
        """Return the files that there are by the name of the dataset's arrays."""
        files = {"input": self.input, "bone": self.bone, "tissue": self.tissue}
        return {kind: path for kind, path in files.items() if path is not None}


@dataclass(frozen=True, slots=True)
class FoundPairs:
    """All pairs of an import and what is known of them.

    Attributes:
        pairs: in the order in which they are imported.
        identities: whose images they are.
        pixel_mm: pixel spacing in the files where all agree, else None.
        notes: what the user should know, one line each.
    """

    pairs: tuple[ForeignPair, ...]
    identities: Identities
    pixel_mm: float | None
    notes: tuple[str, ...]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The names of the dataset's arrays that there are images for."""
        return tuple(self.pairs[0].paths())


def find_pairs(folders: Folders, *, subject_pattern: str | None = None) -> FoundPairs:
    """Match the folders' files by name, compare their sizes and tell their subjects apart.

    Only headers are read.

    Args:
        folders: where the kinds of images lie.
        subject_pattern: regular expression whose one group is the subject in a file's path
            within its folder, without suffix.

    Raises:
        DataError: naming the file that lacks a partner, is no image, is of another size or
            patient than its partner, or does not tell its subject.
        ConfigurationError: on a pattern that cannot be used.
    """
    files = matched(folders)
    headers = {
        key: {kind: read_header(path) for kind, path in paths.items()}
        for key, paths in files.items()
    }
    for key, paths in files.items():
        _refuse_unlike(paths, headers[key])
    patients = {key: _patient(found) for key, found in headers.items()}
    identities = identify(patients, subject_pattern=subject_pattern)
    pairs = tuple(
        _pair(identity, headers[key]["input"].size_px, files[key])
        for key, identity in identities.by_key.items()
    )
    pixel_mm, spacing_notes = _common_spacing([found["input"] for found in headers.values()])
    notes = (*identities.notes, *spacing_notes, *_doubts(files, headers))
    return FoundPairs(pairs, identities, pixel_mm, notes)


def pose_from_name(path: Path) -> Pose:
    """Return the angles that a file name such as `m30_15_45.npy` holds, in degrees.

    Raises:
        DataError: on another name.
    """
    pose = pose_of(path.stem)
    if pose is None:
        raise DataError(
            f"{path}: expected a name of three angles such as m30_15_45{path.suffix} "
            "(m for minus)",
            hint="rename the file after its pose, or move it out of the folder",
        )
    return pose


def _pair(identity: Identity, size_px: tuple[int, int], paths: dict[str, Path]) -> ForeignPair:
    return ForeignPair(identity.subject, identity.pose_deg, identity.name, size_px, **paths)


def _refuse_unlike(paths: Mapping[str, Path], headers: Mapping[str, ImageHeader]) -> None:
    """Refuse a target that cannot show the same as its input."""
    size_px, patient = headers["input"].size_px, headers["input"].patient
    for kind, header in headers.items():
        if header.size_px != size_px:
            raise DataError(
                f"{paths[kind]}: is {header.size_px[0]} x {header.size_px[1]} px, but "
                f"{paths['input']} is {size_px[0]} x {size_px[1]}",
                hint="the images of one name must cover the same pixels",
            )
        if None not in (header.patient, patient) and header.patient != patient:
            raise DataError(
                f"{paths[kind]}: is of patient {header.patient}, but {paths['input']} of "
                f"{patient}",
                hint="check the files' names; images are matched by name",
            )


def _patient(headers: Mapping[str, ImageHeader]) -> str | None:
    return next((header.patient for header in headers.values() if header.patient), None)


def _common_spacing(headers: Sequence[ImageHeader]) -> tuple[float | None, tuple[str, ...]]:
    spacings = [header.pixel_mm for header in headers if header.pixel_mm is not None]
    if not spacings:
        return None, ()
    low, high = min(spacings), max(spacings)
    if len(spacings) < len(headers):
        missing = len(headers) - len(spacings)
        return None, (f"{missing} of {len(headers)} inputs lack a pixel spacing, so none is kept",)
    if high - low > _SPACING_TOLERANCE * low:
        return None, (f"pixel spacings differ ({low:g} to {high:g} mm), so none is kept",)
    return spacings[0], ()


def _doubts(
    files: Mapping[str, Mapping[str, Path]], headers: Mapping[str, Mapping[str, ImageHeader]]
) -> list[str]:
    """Return one line for each kind of warning that the headers give."""
    paths: dict[str, list[Path]] = defaultdict(list)
    for key, found in headers.items():
        for kind, header in found.items():
            for warning in header.warnings:
                paths[warning].append(files[key][kind])
    n_files = sum(len(found) for found in files.values())
    return [
        f"warning: {len(where)} of {n_files} files, {where[0].name} first: {warning}"
        for warning, where in paths.items()
    ]

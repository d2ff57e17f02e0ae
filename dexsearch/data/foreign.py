"""Find foreign image pairs: three folders of files with the same names, one per kind of image.

    SRC/<single energy>/m30_15_45.npy      the pose -30, 15, 45 degrees
    SRC/<bone>/m30_15_45.npy
    SRC/<tissue>/m30_15_45.npy

The layout of xray_GAN. A folder is known by its name (case, `-`, `_` and blanks do not matter):
single, single energy, se, input, drr or a tube voltage such as 120kV; bone or bones; soft, soft
tissue or tissue. A minus sign is written `m` or `-`.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dexsearch.data.splits import Pose
from dexsearch.errors import DataError
from dexsearch.images.reading import SUFFIXES, read_image_size

_FOLDER_NAMES = {
    "input": re.compile(r"single(energy)?|se|inputs?|drrs?|\d+kvp?"),
    "bone": re.compile(r"bones?"),
    "tissue": re.compile(r"soft(tissues?)?|tissues?"),
}
_ANGLE = r"((?:m|-)?\d+(?:\.\d+)?)"
_POSE = re.compile(rf"{_ANGLE}_{_ANGLE}_{_ANGLE}")
_LISTED = 3


@dataclass(frozen=True, slots=True)
class Folders:
    """Where the three kinds of images lie."""

    input: Path
    bone: Path
    tissue: Path

    def by_kind(self) -> dict[str, Path]:
        """Return the folders by the name of the dataset's arrays."""
        return {"input": self.input, "bone": self.bone, "tissue": self.tissue}


@dataclass(frozen=True, slots=True)
class ForeignPair:
    """The three files of one pose, all of one size."""

    pose_deg: Pose
    size_px: tuple[int, int]
    input: Path
    bone: Path
    tissue: Path


def find_folders(
    source: Path,
    *,
    input_dir: Path | None = None,
    bone_dir: Path | None = None,
    tissue_dir: Path | None = None,
) -> Folders:
    """Find the three folders in `source` by their names; a folder given by hand comes first.

    Raises:
        DataError: if a folder is missing or two could be meant.
    """
    if not source.is_dir():
        reason = "is not a folder" if source.exists() else "does not exist"
        raise DataError(
            f"{source}: {reason}", hint="give the folder that holds the three image folders"
        )
    given = {"input": input_dir, "bone": bone_dir, "tissue": tissue_dir}
    return Folders(**{kind: _folder(source, kind, path) for kind, path in given.items()})


def find_pairs(folders: Folders) -> list[ForeignPair]:
    """Match the three folders' files by name and compare their sizes, in the order of the poses.

    Raises:
        DataError: naming the file that lacks a partner, has no pose in its name or another size.
    """
    files = {kind: _images_in(folder) for kind, folder in folders.by_kind().items()}
    names = set().union(*files.values())
    for kind, found in files.items():
        missing = sorted(names - set(found))
        if missing:
            _refuse_unpaired(kind, folders.by_kind()[kind], missing)
    pairs = [_pair(name, files) for name in sorted(names)]
    poses: dict[Pose, ForeignPair] = {}
    for pair in pairs:
        twin = poses.setdefault(pair.pose_deg, pair)
        if twin is not pair:
            raise DataError(
                f"{pair.input} and {twin.input.name} are of the same pose", hint="remove one"
            )
    return [poses[pose] for pose in sorted(poses)]


def content_sha256(pairs: Sequence[ForeignPair]) -> str:
    """Return one hash over all files and their poses, wherever they lie."""
    whole = hashlib.sha256()
    for pair in pairs:
        whole.update(repr(pair.pose_deg).encode())
        for path in (pair.input, pair.bone, pair.tissue):
            with path.open("rb") as file:
                whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


def pose_from_name(path: Path) -> Pose:
    """Return the angles that a file name such as `m30_15_45.npy` holds, in degrees."""
    match = _POSE.fullmatch(path.stem)
    if match is None:
        raise DataError(
            f"{path}: expected a name of three angles such as m30_15_45{path.suffix} "
            "(m for minus)",
            hint="rename the file after its pose, or move it out of the folder",
        )
    x, y, z = (float(angle.replace("m", "-")) + 0.0 for angle in match.groups())
    return x, y, z


def _folder(source: Path, kind: str, given: Path | None) -> Path:
    option = f"--{kind}-dir"
    if given is not None:
        for path in (source / given, given):
            if path.is_dir():
                return path
        raise DataError(f"{option} {str(given)!r} is no folder, neither in {source} nor here")
    inside = sorted(path for path in source.iterdir() if path.is_dir())
    matching = [path for path in inside if _FOLDER_NAMES[kind].fullmatch(_plain(path.name))]
    if len(matching) == 1:
        return matching[0]
    names = ", ".join(path.name for path in matching or inside) or "none"
    reason = "could be any of" if matching else "is not among the folders"
    raise DataError(
        f"{source}: the folder of {kind} images {reason}: {names}", hint=f"name it with {option}"
    )


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name.lower())


def _images_in(folder: Path) -> dict[str, Path]:
    """Return the visible files of a folder by their names without suffix."""
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.is_dir():
            continue
        if path.suffix.lower() not in SUFFIXES:
            raise DataError(
                f"{path}: not an image; known formats: {', '.join(SUFFIXES)}",
                hint="convert the file, or move it out of the folder",
            )
        if path.stem in files:
            raise DataError(f"{path} stands beside {files[path.stem].name}", hint="remove one")
        files[path.stem] = path
    if not files:
        raise DataError(f"{folder}: holds no images; known formats: {', '.join(SUFFIXES)}")
    return files


def _refuse_unpaired(kind: str, folder: Path, missing: list[str]) -> None:
    listed = ", ".join(missing[:_LISTED])
    more = f" and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
    raise DataError(
        f"{folder}: the {kind} image of {listed}{more} is missing; every pose needs all three",
        hint="add the files, or remove their partners from the other two folders",
    )


def _pair(name: str, files: dict[str, dict[str, Path]]) -> ForeignPair:
    paths = {kind: found[name] for kind, found in files.items()}
    sizes = {kind: read_image_size(path) for kind, path in paths.items()}
    for kind, size_px in sizes.items():
        if size_px != sizes["input"]:
            raise DataError(
                f"{paths[kind]}: is {size_px[0]} x {size_px[1]} px, but {paths['input']} is "
                f"{sizes['input'][0]} x {sizes['input'][1]}",
                hint="the three images of one pose must cover the same pixels",
            )
    return ForeignPair(pose_deg=pose_from_name(paths["input"]), size_px=sizes["input"], **paths)

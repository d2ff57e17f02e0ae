"""Find the image files of foreign pairs: one folder per kind of image, matched by name.

A folder is known by its name (case, `-`, `_` and blanks do not matter): single, single energy,
se, input, drr or a tube voltage such as 120kV; bone or bones; soft, soft tissue or tissue.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from dexsearch.errors import DataError
from dexsearch.images.reading import SUFFIXES, is_image

_FOLDER_NAMES = {
    "input": re.compile(r"single(energy)?|se|inputs?|drrs?|\d+kvp?"),
    "bone": re.compile(r"bones?"),
    "tissue": re.compile(r"soft(tissues?)?|tissues?"),
}
_NOT_IMAGES = ("dicomdir", "thumbs.db", "desktop.ini")
_DEEPEST = 4  # sub-folders; a link that leads back up ends here
_LISTED = 3


@dataclass(frozen=True, slots=True)
class Folders:
    """Where the kinds of images lie; one target may be absent."""

    input: Path
    bone: Path | None
    tissue: Path | None

    def by_kind(self) -> dict[str, Path]:
        """Return the folders that there are by the name of the dataset's arrays."""
        folders = {"input": self.input, "bone": self.bone, "tissue": self.tissue}
        return {kind: folder for kind, folder in folders.items() if folder is not None}


def find_folders(
    source: Path,
    *,
    input_dir: Path | None = None,
    bone_dir: Path | None = None,
    tissue_dir: Path | None = None,
) -> Folders:
    """Find the folders in `source` by their names; a folder given by hand comes first.

    One target may be missing where the other is given by hand, or where `source` holds no folder
    of an unknown name that could be meant.

    Raises:
        DataError: if a folder is missing, two could be meant, or one is meant twice.
    """
    if not source.is_dir():
        reason = "is not a folder" if source.exists() else "does not exist"
        raise DataError(f"{source}: {reason}", hint="give the folder that holds the image folders")
    by_hand = {"input": input_dir, "bone": bone_dir, "tissue": tissue_dir}
    inside = [path for path in sorted(source.iterdir()) if path.is_dir() and _is_visible(path)]
    found: dict[str, Path | None] = {
        kind: _given(source, kind, path) if path else _by_name(source, kind, inside)
        for kind, path in by_hand.items()
    }
    used = [path for path in found.values() if path is not None]
    for path in used:
        if sum(path.samefile(other) for other in used) > 1:
            raise DataError(f"{path}: is given as the folder of two kinds of images")
    _refuse_missing(source, found, by_hand, inside)
    return Folders(**found)  # type: ignore[arg-type]


def images_in(folder: Path) -> dict[str, Path]:
    """Return the visible images of a folder and its sub-folders by what they are matched by.

    That is the path within `folder`, with `/` between its parts, without the suffix.

    Raises:
        DataError: on a file that is no image, on two files of one name, and where images lie
            both in `folder` itself and in sub-folders, which would tell subjects apart.
    """
    files: dict[str, Path] = {}
    for path in _files_in(folder, depth=0):
        if not is_image(path):
            raise DataError(
                f"{path}: not an image; known formats: {', '.join(SUFFIXES)}",
                hint="convert the file, or move it out of the folder",
            )
        known = path.suffix.lower() in SUFFIXES
        key = (path.with_suffix("") if known else path).relative_to(folder).as_posix()
        if key in files:
            raise DataError(f"{path} stands beside {files[key].name}", hint="remove one")
        files[key] = path
    if not files:
        raise DataError(f"{folder}: holds no images; known formats: {', '.join(SUFFIXES)}")
    loose = [key for key in files if "/" not in key]
    if loose and len(loose) < len(files):
        raise DataError(
            f"{files[loose[0]]}: lies beside sub-folders; either all images of {folder} lie in "
            "sub-folders, one for each subject, or none",
            hint="move it into the sub-folder of its subject",
        )
    return files


def matched(folders: Folders) -> dict[str, dict[str, Path]]:
    """Return the paths of each pair by kind of image, by the pairs' common names, sorted.

    Raises:
        DataError: naming what lacks a partner; as `images_in`.
    """
    by_kind = folders.by_kind()
    files = {kind: images_in(folder) for kind, folder in by_kind.items()}
    names = set().union(*files.values())
    for kind, found in files.items():
        missing = sorted(names - set(found))
        if missing:
            listed = ", ".join(missing[:_LISTED])
            more = f" and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
            raise DataError(
                f"{by_kind[kind]}: the {kind} image of {listed}{more} is missing; every name "
                f"needs all of {', '.join(by_kind)}",
                hint="add the files, or remove their partners from the other folders",
            )
    return {name: {kind: files[kind][name] for kind in files} for name in sorted(names)}


def _given(source: Path, kind: str, given: Path) -> Path:
    for path in (source / given, given):
        if path.is_dir():
            return path
    raise DataError(f"--{kind}-dir {str(given)!r} is no folder, neither in {source} nor here")


def _by_name(source: Path, kind: str, inside: list[Path]) -> Path | None:
    matching = [path for path in inside if _FOLDER_NAMES[kind].fullmatch(_plain(path.name))]
    if len(matching) > 1:
        raise DataError(
            f"{source}: the folder of {kind} images could be any of: {_names(matching)}",
            hint=f"name it with --{kind}-dir",
        )
    return matching[0] if matching else None


def _refuse_missing(
    source: Path,
    found: dict[str, Path | None],
    by_hand: dict[str, Path | None],
    inside: list[Path],
) -> None:
    missing = [kind for kind, path in found.items() if path is None]
    unknown = [path for path in inside if path not in found.values()]
    named_target = by_hand["bone"] or by_hand["tissue"]
    if not missing or (len(missing) == 1 and found["input"] and (named_target or not unknown)):
        return
    alone = ""
    if len(missing) == 1 and missing != ["input"]:
        present = "tissue" if missing[0] == "bone" else "bone"
        alone = f"; {present} images alone are imported with --{present}-dir"
    raise DataError(
        f"{source}: the folder of {missing[0]} images is not among the folders: "
        f"{_names(inside) or 'none'}{alone}",
        hint=f"name it with --{missing[0]}-dir",
    )


def _files_in(folder: Path, *, depth: int) -> list[Path]:
    if depth > _DEEPEST:
        raise DataError(
            f"{folder}: lies more than {_DEEPEST} folders deep",
            hint="lay images out as FOLDER/<subject>/<image>",
        )
    files: list[Path] = []
    for path in sorted(folder.iterdir()):
        if not _is_visible(path):
            continue
        files += _files_in(path, depth=depth + 1) if path.is_dir() else [path]
    return files


def _is_visible(path: Path) -> bool:
    return not path.name.startswith(".") and path.name.lower() not in _NOT_IMAGES


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name.lower())


def _names(paths: list[Path]) -> str:
    return ", ".join(path.name for path in paths)

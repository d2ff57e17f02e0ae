"""Are the files of a package those of its manifest, and nothing but those?"""

import os
from collections.abc import Container, Iterator
from pathlib import Path, PurePosixPath

from dexsearch.durable import file_sha256
from dexsearch.errors import DataError

_MANIFEST = "manifest.json"
_LEFT_BY_MLFLOW = "registered_model_meta"
"""What MLflow itself writes into a model folder that it loads; it is never read here."""


def check_file(path: Path, name: str, expected: str) -> None:
    """Check that a file lies inside its package, is no link and has the expected hash.

    Args:
        path: of the package.
        name: of the file, as the manifest has it.
        expected: its sha256.

    Raises:
        DataError: if it is anything else, whatever a hostile manifest may name.
    """
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts or "\\" in name:
        raise damaged(path, _MANIFEST, f"it names {name!r}, which lies outside the package")
    file = path / name
    try:
        if any(place.is_symlink() for place in _between(path, file)):
            raise damaged(path, name, "it is a symbolic link, or lies behind one")
        if not file.is_file():
            raise damaged(path, name, "it is missing")
        found = file_sha256(file)
    except OSError as error:  # a name that is too long, a file that cannot be read
        raise damaged(path, name, error.strerror or str(error)) from None
    if found != expected:
        raise damaged(path, name, f"sha256 {found[:12]}.., expected {str(expected)[:12]}..")


def refuse_additions(folder: Path, files: Container[str]) -> None:
    """Check that a subfolder of a package holds nothing that the manifest does not list.

    It matters for MLflow's model folder: MLflow prefers some files to others where it finds both,
    so an addition can take the place of the model that was hashed.

    Args:
        folder: the subfolder; it may be missing.
        files: what the manifest lists, relative to the package.

    Raises:
        DataError: if there is an addition.
    """
    for place, subfolders, names in os.walk(folder):
        links = [name for name in subfolders if os.path.islink(os.path.join(place, name))]
        for name in (*names, *links):
            found = Path(place, name).relative_to(folder.parent).as_posix()
            if found not in files and found != f"{folder.name}/{_LEFT_BY_MLFLOW}":
                raise damaged(folder.parent, found, "the manifest does not list it")


def damaged(path: Path, name: str, how: str) -> DataError:
    """Return the error of a package that is not what was written; `name` is the file at fault."""
    return DataError(
        f"generator package {str(path)!r} is damaged: {name!r}: {how}",
        hint="delete the folder, then download it again, or run the dexsearch tune that made it",
    )


def _between(path: Path, file: Path) -> Iterator[Path]:
    """Yield a file of a package, then the folders between it and the package."""
    yield file
    for folder in file.parents:
        if folder == path:
            return
        yield folder

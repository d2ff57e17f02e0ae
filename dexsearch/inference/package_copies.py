"""Put a generator package into another folder: copied or received, whole or not at all."""

import shutil
from collections.abc import Callable
from pathlib import Path

from dexsearch.durable import file_sha256, partial_beside
from dexsearch.errors import ConfigurationError
from dexsearch.inference.package import MANIFEST, Package, open_package


def copy_package(source: Path, target: Path, *, sha256: str | None = None) -> Package:
    """Copy a package to a new or empty folder and check the copy; nothing is left on failure.

    Raises:
        ConfigurationError: if `target` holds something else, or cannot be written.
        DataError: if the package is damaged.
    """
    original = open_package(source, sha256=sha256)

    def copy(folder: Path) -> None:
        for name in (*original.files, MANIFEST):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, folder / name)

    return receive_package(target, sha256=original.sha256, fill=copy)


def receive_package(target: Path, *, sha256: str, fill: Callable[[Path], None]) -> Package:
    """Put a known package into a new or empty folder, its hashes checked, whole or not at all.

    Args:
        target: the folder; if that package is there already, it stays.
        sha256: of the package's manifest.
        fill: writes the package's files into the folder that it is given.

    Raises:
        ConfigurationError: if `target` holds something else, or cannot be written.
        DataError: if what was written is not that package.
    """
    partial = partial_beside(target.absolute())
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            if target.is_dir() and _is_copy(target, sha256):
                return open_package(target, sha256=sha256)
            raise ConfigurationError(
                f"{str(target)!r} exists and is not empty",
                hint="name a folder that does not exist",
            )
        partial.mkdir(parents=True)
        fill(partial)
        open_package(partial, sha256=sha256)
        if target.exists():
            target.rmdir()
        partial.rename(target.absolute())
    except OSError as error:
        raise ConfigurationError(
            f"cannot copy the package to {str(target)!r}: {error.strerror or error}",
            hint="name a folder that can be made and written",
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return open_package(target, sha256=sha256)


def _is_copy(target: Path, sha256: str) -> bool:
    manifest = target / MANIFEST
    return manifest.is_file() and file_sha256(manifest) == sha256

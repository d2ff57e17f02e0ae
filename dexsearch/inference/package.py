"""A generator package: a folder with everything that a trained generator needs to be used.

    weights.safetensors   the generator's moving average: exactly the weights that were scored
    config.json           `GeneratorCard`: configuration, normalisation, data, scores, baselines
    curve.json            one record per epoch of the training run
    curve.png             the same as a picture
    pictures/*.png        input, truth, prediction and difference
    manifest.json         size and sha256 of every other file; written last

A package is written beside its place and renamed, so it is there whole or not at all. Every
hash is checked when a package is opened or copied. No file is a pickle, none holds code.
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from dexsearch.durable import file_sha256
from dexsearch.errors import ConfigurationError, DataError
from dexsearch.inference.card import FORMAT, GeneratorCard, card_from

__all__ = [
    "CONFIG",
    "CURVE",
    "CURVE_PICTURE",
    "FORMAT",
    "MANIFEST",
    "PICTURES",
    "WEIGHTS",
    "GeneratorCard",
    "Package",
    "copy_package",
    "open_package",
    "write_package",
]

WEIGHTS, CONFIG, CURVE, MANIFEST = (
    "weights.safetensors",
    "config.json",
    "curve.json",
    "manifest.json",
)
PICTURES, CURVE_PICTURE = "pictures", "curve.png"
LARGEST_JSON_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Package:
    """A package whose hashes agree; `sha256` is that of its manifest, so it covers every file."""

    path: Path
    card: GeneratorCard
    files: dict[str, str]
    """Relative path -> sha256, the manifest itself left out."""
    sha256: str

    @property
    def weights(self) -> Path:
        """Path of the safetensors file."""
        return self.path / WEIGHTS


def write_package(
    path: Path,
    *,
    weights: bytes,
    card: GeneratorCard,
    curve: list[dict[str, Any]],
    draw: Callable[[Path], None],
) -> Package:
    """Write a package, whole or not at all; an intact one at `path` is left as it is.

    Of two processes that write the same package at once, the slower one leaves that of the
    faster.

    Args:
        path: folder to make; a damaged package there is replaced.
        weights: content of the safetensors file.
        card: becomes `config.json`.
        curve: epoch records in order.
        draw: writes curve.png and pictures/ into the folder that it is given.
    """
    if path.exists():
        try:
            return open_package(path)
        except DataError:
            shutil.rmtree(path, ignore_errors=True)
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        (partial / WEIGHTS).write_bytes(weights)
        _write_json(partial / CONFIG, asdict(card))
        _write_json(partial / CURVE, curve)
        draw(partial)
        _write_json(partial / MANIFEST, {"format": FORMAT, "files": _hashes(partial)})
        _sync(partial)
        _take_place(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return open_package(path)


def open_package(path: Path, *, sha256: str | None = None) -> Package:
    """Open a package after checking the hash of every file.

    Args:
        path: the package folder.
        sha256: what the manifest's hash has to be, where it is known from elsewhere.

    Raises:
        DataError: if there is no package, or a file is missing, damaged or not its own.
    """
    manifest = path / MANIFEST
    if not manifest.is_file():
        raise DataError(
            f"{str(path)!r} is not a generator package: it has no {MANIFEST}",
            hint="dexsearch best --download DIR makes one",
        )
    found = file_sha256(manifest)
    if sha256 is not None and found != sha256:
        raise _damaged(path, MANIFEST, f"sha256 {found[:12]}.., registered {sha256[:12]}..")
    listing = _read_json(manifest)
    files = listing.get("files") if isinstance(listing, dict) else None
    if not isinstance(files, dict) or not {WEIGHTS, CONFIG} <= set(files):
        raise _damaged(path, MANIFEST, "it does not list the weights and the configuration")
    if listing.get("format") != FORMAT:
        raise DataError(
            f"{str(path)!r} has package format {listing.get('format')!r}; this version reads "
            f"{FORMAT}",
            hint="use the dexsearch version that wrote it",
        )
    for name, expected in files.items():
        _check_file(path, name, expected)
    return Package(path, _read_card(path), dict(files), found)


def copy_package(source: Path, target: Path, *, sha256: str | None = None) -> Package:
    """Copy a package to a new or empty folder and check the copy; nothing is left on failure.

    Raises:
        ConfigurationError: if `target` holds something else, or cannot be written.
        DataError: if the package is damaged.
    """
    original = open_package(source, sha256=sha256)
    partial = target.absolute().with_name(f"{target.absolute().name}.partial-{os.getpid()}")
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            if target.is_dir() and _is_copy(target, original.sha256):
                return open_package(target, sha256=original.sha256)
            raise ConfigurationError(
                f"{str(target)!r} exists and is not empty",
                hint="name a folder that does not exist",
            )
        for name in (*original.files, MANIFEST):
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, partial / name)
        open_package(partial, sha256=original.sha256)
        if target.exists():
            target.rmdir()
        partial.rename(target.absolute())
    except OSError as error:
        raise ConfigurationError(
            f"cannot copy {str(source)!r} to {str(target)!r}: {error.strerror or error}",
            hint="name a folder that can be made and written",
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return open_package(target, sha256=original.sha256)


def _take_place(partial: Path, path: Path) -> None:
    """Give a whole package its name, unless another process did that meanwhile."""
    try:
        partial.rename(path)
    except OSError:
        if not path.exists():
            raise


def _is_copy(target: Path, sha256: str) -> bool:
    manifest = target / MANIFEST
    return manifest.is_file() and file_sha256(manifest) == sha256


def _check_file(path: Path, name: str, expected: str) -> None:
    """Raise DataError unless `name` stays inside the package and has the expected hash."""
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts or "\\" in name:
        raise _damaged(path, MANIFEST, f"it names {name!r}, which lies outside the package")
    file = path / name
    if file.is_symlink() or not file.is_file():
        raise _damaged(path, name, "it is missing")
    found = file_sha256(file)
    if found != expected:
        raise _damaged(path, name, f"sha256 {found[:12]}.., expected {str(expected)[:12]}..")


def _damaged(path: Path, name: str, how: str) -> DataError:
    return DataError(
        f"generator package {str(path)!r} is damaged: {name!r}: {how}",
        hint="delete the folder, then download it again, or run the dexsearch tune that made it",
    )


def _read_card(path: Path) -> GeneratorCard:
    try:
        return card_from(_read_json(path / CONFIG))
    except ValueError as error:
        raise _damaged(path, CONFIG, str(error)) from None


def _read_json(path: Path) -> Any:  # noqa: ANN401
    if path.stat().st_size > LARGEST_JSON_BYTES:
        raise DataError(f"{str(path)!r} is too large to be a package's {path.name}")
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise _damaged(path.parent, path.name, "it is not JSON") from None


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in files}


def _sync(folder: Path) -> None:
    """Make sure that files are on disk before their folder gets its name."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())

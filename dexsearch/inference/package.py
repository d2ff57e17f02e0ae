"""A generator package: a folder with everything that a trained generator needs to be used.

    weights.safetensors   the generator's moving average: exactly the weights that were scored
    config.json           `GeneratorCard`: configuration, normalisation, data, scores, baselines
    curve.json            one record per epoch of the training run
    curve.png             the same as a picture
    pictures/*.png        input, truth, prediction and difference
    model_card.md         what a person should know before using it (format 2)
    mlflow/               the generator for people without dexsearch, as MLflow model (format 2)
    manifest.json         sha256 of every other file; written last

A package is written beside its place and renamed, so it is there whole or not at all. Every
hash is checked when a package is opened or copied. No file is a pickle, none holds code, and of
`mlflow/` nothing is ever loaded here.
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dexsearch.durable import file_sha256, partial_beside
from dexsearch.errors import DataError, EnvironmentFault
from dexsearch.inference.card import FORMAT, FORMATS, GeneratorCard, card_from
from dexsearch.inference.integrity import check_file, damaged, refuse_additions
from dexsearch.inference.model_card import model_card

__all__ = [
    "CONFIG",
    "CURVE",
    "CURVE_PICTURE",
    "FORMAT",
    "MANIFEST",
    "MLFLOW",
    "MODEL_CARD",
    "PICTURES",
    "WEIGHTS",
    "GeneratorCard",
    "Package",
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
MODEL_CARD, MLFLOW = "model_card.md", "mlflow"
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
    draw: Callable[[Path], GeneratorCard | None],
) -> Package:
    """Write a package, whole or not at all; an intact one at `path` is left as it is.

    Of two processes that write the same package at once, the slower one leaves that of the
    faster.

    Args:
        path: folder to make; a damaged package there is replaced.
        weights: content of the safetensors file.
        card: becomes `config.json`.
        curve: epoch records in order.
        draw: writes curve.png, pictures/ and mlflow/ into the folder that it is given, where the
            weights are already; returns the card with what it measured, if it measured.

    Raises:
        EnvironmentFault: if the disk is full or cannot be written; nothing is left there.
    """
    if path.exists():
        try:
            return open_package(path)
        except DataError:
            shutil.rmtree(path, ignore_errors=True)
    partial = partial_beside(path)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        (partial / WEIGHTS).write_bytes(weights)
        _write_json(partial / CURVE, curve)
        card = draw(partial) or card
        _write_json(partial / CONFIG, asdict(card))
        (partial / MODEL_CARD).write_text(model_card(card), encoding="utf-8")
        _write_json(partial / MANIFEST, {"format": FORMAT, "files": _hashes(partial)})
        _sync(partial)
        _take_place(partial, path)
    except (OSError, EnvironmentFault) as error:
        cause = error if isinstance(error, OSError) else error.__context__  # a picture's
        if not isinstance(cause, OSError):
            raise
        raise EnvironmentFault(
            f"generator package {str(path)!r} cannot be written: {cause.strerror or cause}",
            hint="free disk space or correct the permissions; the same command then continues",
        ) from error
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
    if manifest.is_symlink() or not manifest.is_file():
        raise DataError(
            f"{str(path)!r} is not a generator package: it has no {MANIFEST}",
            hint="dexsearch best --download DIR makes one",
        )
    found = file_sha256(manifest)
    if sha256 is not None and found != sha256:
        raise damaged(path, MANIFEST, f"sha256 {found[:12]}.., registered {sha256[:12]}..")
    listing = _read_json(manifest)
    files = listing.get("files") if isinstance(listing, dict) else None
    if not isinstance(files, dict) or not {WEIGHTS, CONFIG} <= set(files):
        raise damaged(path, MANIFEST, "it does not list the weights and the configuration")
    if listing.get("format") not in FORMATS:
        raise DataError(
            f"{str(path)!r} has package format {listing.get('format')!r}; this version reads "
            f"{' and '.join(map(str, FORMATS))}",
            hint="use the dexsearch version that wrote it",
        )
    for name, expected in files.items():
        check_file(path, name, expected)
    refuse_additions(path / MLFLOW, files)
    return Package(path, _read_card(path), dict(files), found)


def _take_place(partial: Path, path: Path) -> None:
    """Give a whole package its name, unless another process did that meanwhile."""
    try:
        partial.rename(path)
    except OSError:
        if not path.exists():
            raise


def _read_card(path: Path) -> GeneratorCard:
    try:
        return card_from(_read_json(path / CONFIG))
    except ValueError as error:
        raise damaged(path, CONFIG, str(error)) from None


def _read_json(path: Path) -> Any:  # noqa: ANN401
    if path.stat().st_size > LARGEST_JSON_BYTES:
        raise DataError(f"{str(path)!r} is too large to be a package's {path.name}")
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise damaged(path.parent, path.name, "it is not JSON") from None


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

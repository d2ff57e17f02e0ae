"""The generator that a person names, and the dataset that it was trained and scored on."""

import re
import shlex
from collections.abc import Container
from pathlib import Path
from typing import TYPE_CHECKING

from dexsearch.errors import DataError, DexSearchError
from dexsearch.inference.package import MANIFEST, Package, open_package
from dexsearch.ledger.studies import read_studies
from dexsearch.registry.record import read_registry
from dexsearch.registry.store import open_registered

if TYPE_CHECKING:
    from dexsearch.data.store import Dataset


def open_model(model: str, workspace: Path) -> Package:
    """Open a registered generator, or the package folder that `model` is; hashes are checked.

    Args:
        model: `name@alias`, `name/version`, `name` (its champion), or a package folder; a folder
            that is called like a registered version is meant by `./name/version`.
        workspace: where the registry is.

    Raises:
        NotRegistered: if the registry holds no such model.
        DataError: if the package is damaged, or the folder none.
    """
    folder = Path(model)
    if means_folder(model, read_registry(workspace).names):
        if not (folder / MANIFEST).is_file():
            raise DataError(
                f"{model!r} is a folder without {MANIFEST}, so no generator package",
                hint=f"dexsearch best --download {shlex.quote(model)}-generator makes one",
            )
        return open_package(folder)
    return open_registered(workspace, model)


def means_folder(model: str, names: Container[str]) -> bool:
    """Return whether a model is a folder; never where it reads as one of the registered names.

    Evidence goes by `name/version`, so a folder that happens to be called so must not pass for it.
    """
    read = re.fullmatch(r"([^@/]+)(@.*|/[0-9]+)?", model, re.DOTALL)
    return bool(model) and Path(model).is_dir() and not (read and read[1] in names)


def find_dataset(workspace: Path, digest: str, given: Path | None = None) -> "Dataset":
    """Open the dataset with a digest: the one given, else where studies or the workspace have it.

    Args:
        workspace: its studies tell where their datasets were; `datasets/` is looked through too.
        digest: of the dataset that is needed.
        given: a folder to take instead of looking for one.

    Raises:
        DataError: if there is none, or the one given has another digest.
    """
    from dexsearch.data.store import open_dataset

    if given is not None:
        dataset = open_dataset(given)
        if dataset.manifest.digest != digest:
            raise DataError(
                f"dataset {str(given)!r} has digest {dataset.manifest.digest[:12]}, but "
                f"{digest[:12]} is needed",
                hint="give the dataset that the generator was trained on",
            )
        return dataset
    recorded = [Path(s.dataset) for s in read_studies(workspace, lambda _: None)]
    here = sorted((workspace / "datasets").glob("*/"))
    for path in dict.fromkeys([*recorded, *here]):
        try:
            dataset = open_dataset(path)
        except (DexSearchError, OSError):
            continue
        if dataset.manifest.digest == digest:
            return dataset
    raise DataError(
        f"the dataset with digest {digest[:12]} is neither in {str(workspace / 'datasets')!r} nor "
        "where the studies had it",
        hint="name its folder: --dataset DIR",
    )

"""Read the manifest of a dataset folder, and say what is wrong with one that cannot be read."""

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

from dexsearch.data.image_info import image_info_from
from dexsearch.data.manifest import FORMAT, MANIFEST_NAME, Manifest, PathLengths
from dexsearch.errors import DataError
from dexsearch.images.limits import MAX_SIDE_PX


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a dataset folder.

    Raises:
        DataError: if the folder is missing, holds no readable manifest, or one of another format.
    """
    path = folder / MANIFEST_NAME
    if not os.path.exists(folder):  # unlike Path.exists, False for a name that is too long
        raise DataError(
            f"dataset {str(folder)!r} does not exist",
            hint="dexsearch data phantom OUT makes one",
        )
    if not os.path.isfile(path):
        raise DataError(
            f"{str(folder)!r} is not a dataset: it has no {MANIFEST_NAME}",
            hint="give a folder that dexsearch data phantom, ct or import made",
        )
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        found = values["format"]
        if found != FORMAT:
            raise DataError(
                f"{path}: format {found!r} is not known here; this version reads format {FORMAT}",
                hint="make the dataset again, or use the dexsearch version that wrote it",
            )
        return _manifest_from(values)
    except (
        OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError,
    ) as error:  # fmt: skip
        raise DataError(
            f"{path}: not a readable manifest ({_told(error)})",
            hint="make the file readable for you"
            if isinstance(error, PermissionError)
            else "copy the folder again, or remove it and make the dataset again",
        ) from None


def _told(error: Exception) -> str:
    """Say what is wrong without the words that Python has for its own functions."""
    match error:
        case KeyError():
            return f"it lacks {error}"
        case TypeError() | AttributeError():
            return "an entry is of the wrong kind, or not a known one"
        case _:
            return str(error)


def _manifest_from(values: dict[str, Any]) -> Manifest:
    _refuse_other_keys(set(values))
    rows, columns = values["size_px"]
    if not (0 < rows <= MAX_SIDE_PX and 0 < columns <= MAX_SIDE_PX):
        raise ValueError(f"images of {rows} x {columns} px; at most {MAX_SIDE_PX} a side are read")
    images = {
        subset: tuple(image_info_from(entry) for entry in entries)
        for subset, entries in values["images"].items()
    }
    lengths = values["path_lengths"]
    known = {
        "size_px": (int(rows), int(columns)),
        "images": images,
        "path_lengths": None if lengths is None else PathLengths(**lengths),
    }
    return Manifest(**{**values, **known})


def _refuse_other_keys(found: set[str]) -> None:
    """Name the keys that are missing or not known, of which Python's own message says little."""
    known = {field.name for field in fields(Manifest)}
    told = [
        f"{what} {', '.join(map(repr, sorted(keys)))}"
        for what, keys in (("it lacks", known - found), ("it has unknown", found - known))
        if keys
    ]
    if told:
        raise ValueError(
            f"{' and '.join(told)}; a manifest of format {FORMAT} has {len(known)} keys"
        )

"""NumPy volumes (`NAME.npy`) with a sidecar `NAME.json` that says how large the voxels are.

    {"spacing_mm": [3, 2, 2], "axes": "head,front,right", "kvp": 120}

`spacing_mm` goes with the array's axes. `axes` names the side at which each axis begins; without
it they begin at the head, the front and the patient's right, as ours do. `kvp` may be left out.
"""

import json
import math
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from dexsearch.errors import DataError
from dexsearch.volumes.axes import orientation_of
from dexsearch.volumes.scan import (
    ScanHeader,
    ScanReader,
    Voxels,
    damage_told,
    exact_voxels,
    refuse_absurd_grid,
)

TOWARDS_LPS = {
    "head": (0.0, 0.0, -1.0),
    "feet": (0.0, 0.0, 1.0),
    "front": (0.0, 1.0, 0.0),
    "back": (0.0, -1.0, 0.0),
    "right": (1.0, 0.0, 0.0),
    "left": (-1.0, 0.0, 0.0),
}
"""Direction of an axis that begins at the named side."""

DEFAULT_AXES = "head,front,right"
KEYS = ("spacing_mm", "axes", "kvp")
EXAMPLE = '{"spacing_mm": [3, 2, 2], "axes": "head,front,right", "kvp": 120}'


class NpyReader(ScanReader):
    """An array of three axes and its sidecar."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._stored = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, EOFError, ValueError, SyntaxError, TokenError) as error:
            raise DataError(f"{path} is not a readable .npy file: {error}") from None
        if not isinstance(self._stored, np.ndarray):
            self._stored.close()
            raise DataError(f"{path} is an archive", hint="save one array with numpy.save")
        if self._stored.dtype.kind not in "biuf":
            raise DataError(f"{path} holds no numbers", hint="save an array of integers or floats")
        sidecar = path.with_suffix(".json")
        about = _about(path, sidecar)
        spacing = _spacing_mm(sidecar, about)
        refuse_absurd_grid(path, self._stored.shape, spacing)
        sides = _sides(sidecar, about)
        directions = np.array([TOWARDS_LPS[side] for side in sides]).T
        try:
            self._orientation = orientation_of(directions)
        except ValueError:
            raise _wrong(sidecar, f"axes {','.join(sides)} name one direction twice") from None
        shape = self._stored.shape
        self.header = ScanHeader(
            shape=self._orientation.sorted((shape[0], shape[1], shape[2])),
            spacing_mm=self._orientation.sorted((spacing[0], spacing[1], spacing[2])),
            kvp=_kvp(sidecar, about),
        )

    def values(self) -> Voxels:
        """Read the array."""
        with damage_told(self.path):
            return exact_voxels(self.path, self._orientation.turned(self._stored))


def _about(path: Path, sidecar: Path) -> dict[str, Any]:
    if not sidecar.is_file():
        raise DataError(
            f"{path} does not tell the size of its voxels, and {sidecar.name} is not beside it",
            hint=f"write {sidecar} like {EXAMPLE}",
        )
    try:
        about = json.loads(sidecar.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _wrong(sidecar, f"is not readable JSON ({error})") from None
    if not isinstance(about, dict) or not about.keys() <= set(KEYS) or "spacing_mm" not in about:
        given = ", ".join(map(str, about)) if isinstance(about, dict) else repr(about)
        raise _wrong(sidecar, f"holds {given or 'nothing'}; known keys: {', '.join(KEYS)}")
    return about


def _spacing_mm(sidecar: Path, about: dict[str, Any]) -> tuple[float, ...]:
    spacing = about["spacing_mm"]
    if not (isinstance(spacing, list) and len(spacing) == 3 and all(map(_is_number, spacing))):
        raise _wrong(sidecar, f"has spacing_mm {spacing!r}; it takes three lengths in mm")
    return tuple(float(side) for side in spacing)


def _sides(sidecar: Path, about: dict[str, Any]) -> list[str]:
    axes = about.get("axes", DEFAULT_AXES)
    sides = [side.strip() for side in axes.split(",")] if isinstance(axes, str) else []
    if len(sides) != 3 or not set(sides) <= TOWARDS_LPS.keys():
        known = ", ".join(TOWARDS_LPS)
        raise _wrong(sidecar, f"has axes {axes!r}; it takes three of {known}, separated by commas")
    return sides


def _kvp(sidecar: Path, about: dict[str, Any]) -> float | None:
    kvp = about.get("kvp")
    if kvp is not None and not (_is_number(kvp) and kvp > 0):
        raise _wrong(sidecar, f"has kvp {kvp!r}; it takes a tube voltage such as 120")
    return None if kvp is None else float(kvp)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _wrong(sidecar: Path, what: str) -> DataError:
    return DataError(f"{sidecar} {what}", hint=f"write it like {EXAMPLE}")

"""A split that a person fixed: which subjects, or which poses of one volume, are in which subset.

JSON or YAML with the three keys `train`, `validation` and `holdout`, each a list of subject
names, or of poses `[x, y, z]` in degrees where all images show one volume:

    {"train": ["phantom-0-0001", ...], "validation": [...], "holdout": [...]}

Poses of the volume that stand in no list are left out, as in a guard band; every subject has to
stand in one.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from dexsearch.data.dataset import Dataset
from dexsearch.data.splits import SUBSETS, Pose, Split, Subset, pose_key
from dexsearch.errors import DataError

Entry = TypeVar("Entry", str, Pose)

_N_NAMED = 5
_FORM = 'expected {"train": [...], "validation": [...], "holdout": [...]}'


def read_split_file(path: Path, *, subjects: Sequence[str], poses: Sequence[Pose] = ()) -> Split:
    """Read a split for images whose subjects and poses are known.

    Args:
        path: JSON or YAML file.
        subjects: names of all subjects of the dataset to be.
        poses: all poses of the one volume, or of two; with more subjects the file lists subjects.

    Raises:
        DataError: on a file that is not such a split, on an empty subset, on entries that are
            unknown or in two subsets, and on subjects that are missing.
    """
    content = _read(path)
    lists = _three_lists(path, content)
    sha256 = hashlib.sha256(content).hexdigest()
    rule = f"from file {path.name} sha256 {sha256[:16]}"
    entries = [entry for part in lists.values() for entry in part]
    if all(isinstance(entry, str) for entry in entries):
        by_subject = _by_entry(path, lists)
        strangers = sorted(set(by_subject) - set(subjects))
        _refuse_names(path, "names the unknown subjects", strangers, sorted(set(subjects)))
        missing = sorted(set(subjects) - set(by_subject))
        _refuse_names(path, "does not say where to put", missing, ())
        return Split(rule=rule, by_subject=by_subject)
    by_pose = _by_entry(path, {subset: _poses(path, part) for subset, part in lists.items()})
    if len(set(subjects)) > 2:
        raise DataError(
            f"{path}: lists poses, but there are {len(set(subjects))} subjects",
            hint="list names of subjects, so that one anatomy is in one subset",
        )
    known = {pose_key(pose) for pose in poses}
    strangers = [str(list(pose)) for pose in by_pose if pose not in known]
    _refuse_names(
        path, "names the unknown poses", strangers, [str(list(pose)) for pose in sorted(known)]
    )
    return Split(rule=rule, by_pose={pose: by_pose.get(pose) for pose in sorted(known)})


def split_file_of(dataset: Dataset) -> str:
    """Return the JSON text of a split file that splits as this dataset is split."""
    manifest = dataset.manifest
    listed: dict[str, list[Any]] = {subset: [*manifest.subjects(subset)] for subset in SUBSETS}
    if manifest.one_volume:
        listed = {
            subset: sorted({pose_key(info.pose_deg) for info in manifest.images[subset]})
            for subset in SUBSETS
        }
    lines = [
        f" {json.dumps(subset)}: [\n"
        + ",\n".join(f"  {json.dumps(entry)}" for entry in listed[subset])
        + "\n ]"
        for subset in SUBSETS
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"cannot read the split file {str(path)!r}: {error.strerror or error}",
            hint="give a JSON or YAML file with the lists train, validation and holdout",
        ) from None


def _three_lists(path: Path, content: bytes) -> dict[Subset, list[Any]]:
    try:
        values = yaml.safe_load(content)  # JSON is YAML
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        told = str(error).replace("\n", " ")
        raise DataError(f"{path}: neither JSON nor YAML: {told}", hint=_FORM) from None
    if not isinstance(values, dict) or set(values) != set(SUBSETS):
        found = sorted(map(str, values)) if isinstance(values, dict) else type(values).__name__
        raise DataError(f"{path}: got {found}; {_FORM}")
    for subset in SUBSETS:
        if not isinstance(values[subset], list) or not values[subset]:
            raise DataError(
                f"{path}: {subset} is {values[subset]!r}, expected a list that is not empty",
                hint="every subset needs at least one subject, or pose",
            )
    return {subset: values[subset] for subset in SUBSETS}


def _poses(path: Path, entries: list[Any]) -> list[Pose]:
    poses = []
    for entry in entries:
        numbers = isinstance(entry, list) and all(type(angle) in (int, float) for angle in entry)
        if not numbers or len(entry) != 3:
            raise DataError(
                f"{path}: got {entry!r}; expected names of subjects throughout, or poses "
                "[x, y, z] throughout",
                hint='put names that look like numbers in quotes: "7"',
            )
        poses.append(pose_key((float(entry[0]), float(entry[1]), float(entry[2]))))
    return poses


def _by_entry(path: Path, lists: Mapping[Subset, Sequence[Entry]]) -> dict[Entry, Subset]:
    places: dict[Entry, Subset] = {}
    twice: list[str] = []
    for subset, entries in lists.items():
        for entry in entries:
            if entry in places:
                twice.append(f"{entry} ({places[entry]}, {subset})")
            places[entry] = subset
    _refuse_names(path, "lists twice", twice, ())
    return places


def _refuse_names(path: Path, what: str, names: Sequence[str], known: Sequence[str]) -> None:
    if not names:
        return
    raise DataError(
        f"{path}: {what} {_some(names)}",
        hint=f"known are {_some(known)}" if known else "list each exactly once",
    )


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _N_NAMED
    return ", ".join(names[:_N_NAMED]) + (f" and {rest} more" if rest > 0 else "")

"""Decide whose image each foreign file is, so that no patient is in two subsets.

The first rule that applies: a pattern over the names; names that are poses (one volume);
PatientID; sub-folders; else every name is a subject of its own.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dexsearch.data.splits import Pose
from dexsearch.errors import ConfigurationError, DataError

_ANGLE = r"((?:m|-)?\d{1,3}(?:\.\d+)?)"
_POSE = re.compile(rf"{_ANGLE}_{_ANGLE}_{_ANGLE}")

NO_POSE: Pose = (0.0, 0.0, 0.0)
ONE_VOLUME = "imported"


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose image it is, from where it was seen, and its name where the pose is not its name."""

    subject: str
    pose_deg: Pose
    name: str


@dataclass(frozen=True, slots=True)
class Identities:
    """Whose images all files are.

    Attributes:
        by_key: the identity of each file by the name that it was matched by.
        rule: how subjects were told apart, for a person and the manifest.
        one_volume: whether all are views of one volume, which is split by poses.
        remedy: what to do where these are too few subjects.
        notes: what the user should know, one line each.
    """

    by_key: Mapping[str, Identity]
    rule: str
    one_volume: bool
    remedy: str
    notes: tuple[str, ...] = ()


def pose_of(name: str) -> Pose | None:
    """Return the angles that a name such as `m30_15_45` holds, in degrees; None if it is none.

    A minus sign is written `m` or `-`. Numbers of four digits, as in dates, are no angles.
    """
    match = _POSE.fullmatch(name)
    if match is None:
        return None
    x, y, z = (float(angle.replace("m", "-")) + 0.0 for angle in match.groups())
    return x, y, z


def identify(
    patients: Mapping[str, str | None], *, subject_pattern: str | None = None
) -> Identities:
    """Tell the subjects apart, from each file's name and the PatientID that it holds, if any.

    Raises:
        DataError: naming the file for which a rule that others follow does not work.
        ConfigurationError: on a pattern that is none, or has not exactly one group.
    """
    if subject_pattern is not None:
        return _by_pattern(patients, subject_pattern)
    known = {patient for patient in patients.values() if patient is not None}
    is_flat = not any("/" in key for key in patients)
    n_poses = sum(pose_of(key) is not None for key in patients)
    if is_flat and len(known) < 2 and 2 * n_poses >= len(patients):
        return _one_volume(tuple(patients))
    if known:
        return _by_patient(patients)
    if not is_flat:
        return Identities(
            {key: _identity(*key.split("/", 1)) for key in patients},
            rule="sub-folders",
            one_volume=False,
            remedy="make a sub-folder for each subject",
        )
    return Identities(
        {key: Identity(key, NO_POSE, key) for key in patients},
        rule="names",
        one_volume=False,
        remedy="give images of more subjects",
        notes=(
            f"each of {len(patients)} files counts as another subject; --subject-pattern groups "
            "views of one patient, which must not be in two subsets",
        ),
    )


def _one_volume(keys: Sequence[str]) -> Identities:
    identities: dict[str, Identity] = {}
    for key in keys:
        pose = pose_of(key)
        if pose is None:
            raise DataError(
                f"image {key!r}: expected a name of three angles such as m30_15_45 (m for minus), "
                "as other files have",
                hint="rename the file after its pose, or move it out of the folder; "
                "--subject-pattern tells subjects by name",
            )
        identities[key] = Identity(ONE_VOLUME, pose, "")
    by_pose: dict[Pose, str] = {}
    for key, identity in identities.items():
        twin = by_pose.setdefault(identity.pose_deg, key)
        if twin != key:
            raise DataError(f"images {key!r} and {twin!r} are of the same pose", hint="remove one")
    return Identities(
        dict(sorted(identities.items(), key=lambda item: item[1].pose_deg)),
        rule="one volume, names are poses",
        one_volume=True,
        remedy="",
        notes=(
            f"the names of {len(keys)} files are angles x_y_z, so they count as views of one "
            "volume; --subject-pattern tells subjects by name",
        ),
    )


def _by_patient(patients: Mapping[str, str | None]) -> Identities:
    identities = {}
    for key, patient in patients.items():
        if patient is None:
            raise DataError(
                f"image {key!r}: has no PatientID, but other files have one",
                hint="tell subjects by name with --subject-pattern",
            )
        identities[key] = _identity(patient, key)
    return Identities(
        identities,
        rule="PatientID",
        one_volume=False,
        remedy="if one PatientID stands for several people, tell them by name with "
        "--subject-pattern",
        notes=("subjects are named by PatientID, also in the dataset's manifest.json",),
    )


def _by_pattern(patients: Mapping[str, str | None], text: str) -> Identities:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ConfigurationError(
            f"--subject-pattern {text!r} is not a regular expression: {error}"
        ) from None
    if pattern.groups != 1:
        raise ConfigurationError(
            f"--subject-pattern {text!r} has {pattern.groups} groups; expected one, around what "
            "names the subject",
            hint=r"for example --subject-pattern '^(p\d+)_' for p01_front and p01_side",
        )
    identities, subjects_of = {}, defaultdict(set)
    for key, patient in patients.items():
        match = pattern.search(key)
        if match is None or not match[1]:
            raise DataError(
                f"image {key!r}: --subject-pattern {text!r} finds no subject in this name",
                hint="widen the pattern, or move the file out of the folder",
            )
        identities[key] = _identity(match[1], key)
        if patient is not None:
            subjects_of[patient].add(match[1])
    notes = [f"{len(patients)} images of {len({i.subject for i in identities.values()})} subjects"]
    notes += [
        f"warning: PatientID {patient} is in {len(found)} subjects; the pattern was followed"
        for patient, found in sorted(subjects_of.items())
        if len(found) > 1
    ]
    return Identities(
        identities,
        rule=f"names by {text!r}",
        one_volume=False,
        remedy="check what the pattern groups",
        notes=tuple(notes),
    )


def _identity(subject: str, name: str) -> Identity:
    """Return the identity of an image whose name may be its pose, alone or in a sub-folder."""
    pose = pose_of(name.rsplit("/", 1)[-1])
    return Identity(subject, pose or NO_POSE, "" if pose is not None and "/" not in name else name)

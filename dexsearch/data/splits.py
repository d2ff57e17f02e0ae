"""Train, validation and hold-out: by subject, or by blocks of poses where there is one volume."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from dexsearch.errors import DataError
from dexsearch.physics.projection import beam_axis

Subset = Literal["train", "validation", "holdout"]
Pose = tuple[float, float, float]

SUBSETS: tuple[Subset, ...] = ("train", "validation", "holdout")
FRACTIONS = (0.60, 0.15, 0.25)


@dataclass(frozen=True, slots=True)
class Split:
    """Which image belongs to which subset.

    Attributes:
        rule: one line that a person and the digest can read.
        by_subject: subset of each subject; empty when poses decide.
        by_pose: subset of each pose of the one volume, None inside a guard band; empty when
            subjects decide.
    """

    rule: str
    by_subject: Mapping[str, Subset] = field(default_factory=dict)
    by_pose: Mapping[Pose, Subset | None] = field(default_factory=dict)

    def subset(self, subject: str, pose_deg: Pose) -> Subset | None:
        """Return the subset of one image; None means: in a guard band, left out.

        Raises:
            DataError: if the split was made without this subject or pose.
        """
        if self.by_pose:
            key = _pose_key(pose_deg)
            if key not in self.by_pose:
                raise DataError(f"pose {pose_deg} of {subject!r} is not part of the split")
            return self.by_pose[key]
        if subject not in self.by_subject:
            raise DataError(f"subject {subject!r} is not part of the split")
        return self.by_subject[subject]


def split_subjects(
    subjects: Sequence[str],
    *,
    seed: int,
    fractions: tuple[float, float, float] = FRACTIONS,
) -> Split:
    """Split whole subjects at random, so that no anatomy is in two subsets.

    Every subset gets at least one subject. The order in which `subjects` are given and repeated
    names do not matter.

    Raises:
        DataError: with fewer than three subjects.
    """
    names = sorted(set(subjects))
    if len(names) < 3:
        raise DataError(
            f"got {len(names)} subject(s); a split by subject needs at least 3",
            hint="give more subjects; a single volume is split by poses",
        )
    n_validation = max(1, round(_share(fractions, 1) * len(names)))
    n_holdout = max(1, round(_share(fractions, 2) * len(names)))
    n_train = max(1, len(names) - n_validation - n_holdout)
    order = np.random.default_rng(seed).permutation(len(names))
    bounds = (n_train, n_train + n_validation)
    parts = np.split(order, bounds)
    by_subject = {
        names[index]: subset
        for subset, part in zip(SUBSETS, parts, strict=True)
        for index in part.tolist()
    }
    shares = "/".join(f"{100 * _share(fractions, part):.0f}" for part in range(3))
    return Split(rule=f"by subject, {shares} %, seed {seed}", by_subject=by_subject)


def split_poses(
    poses: Sequence[Pose],
    *,
    guard_deg: float = 15.0,
    fractions: tuple[float, float, float] = FRACTIONS,
) -> Split:
    """Split the views of one volume into blocks of the angle that varies most.

    Angles count modulo 180 degrees, because a view from behind is nearly the mirror image of the
    view from the front; so the last block also keeps its distance from the first. Views closer
    than `guard_deg` to the next block are left out; so are views whose beam, tilted in the other
    two angles, comes that close to a beam of another block (either way round): from the hold-out
    where it nears validation, from training where it nears either. This leaks less than a random
    split, not nothing: all views show the same anatomy.

    Raises:
        DataError: if the poses cover too few degrees for three blocks.
    """
    keys = sorted({_pose_key(pose) for pose in poses})
    if not keys:
        raise DataError("got no poses to split")
    axis = _varying_axis(keys)
    position_deg = _positions_on_half_circle([key[axis] for key in keys])
    span_deg = max(position_deg)
    wrap_deg = max(0.0, guard_deg - (180.0 - span_deg))
    usable_deg = span_deg - wrap_deg - 2 * guard_deg
    train_end = _share(fractions, 0) * usable_deg
    validation_start = train_end + guard_deg
    validation_end = validation_start + _share(fractions, 1) * usable_deg
    blocks: dict[Subset, tuple[float, float]] = {
        "train": (0.0, train_end),
        "validation": (validation_start, validation_end),
        "holdout": (validation_end + guard_deg, span_deg - wrap_deg),
    }
    by_pose = {
        key: _block_of(position, blocks) for key, position in zip(keys, position_deg, strict=True)
    }
    _leave_out_near_beams(by_pose, "holdout", ("validation",), guard_deg)
    _leave_out_near_beams(by_pose, "train", ("validation", "holdout"), guard_deg)
    missing = [subset for subset in SUBSETS if subset not in by_pose.values()]
    if missing:
        raise DataError(
            f"{len(keys)} poses over {span_deg:g} degrees leave the {missing[0]} block empty with "
            f"guard bands of {guard_deg:g} degrees",
            hint="use more poses, over a wider range of one angle",
        )
    rule = f"one volume, blocks of pose angle {axis}, guard band {guard_deg:g} degrees"
    return Split(rule=rule, by_pose=by_pose)


def _share(fractions: tuple[float, float, float], part: int) -> float:
    return fractions[part] / sum(fractions)


def _pose_key(pose_deg: Pose) -> Pose:
    x, y, z = (round(float(angle), 4) + 0.0 for angle in pose_deg)
    return x, y, z


def _varying_axis(poses: Sequence[Pose]) -> int:
    spans = np.ptp(np.asarray(poses), axis=0)
    return int(np.argmax(spans))


def _positions_on_half_circle(angles_deg: Sequence[float]) -> list[float]:
    """Return degrees after the largest gap, on a circle of 180 degrees."""
    folded = np.round(np.asarray(angles_deg) % 180.0, 4) % 180.0
    distinct = np.unique(folded)
    gaps = np.diff(distinct, append=distinct[0] + 180.0)
    start = distinct[(int(np.argmax(gaps)) + 1) % len(distinct)]
    return [float(value) for value in np.round((folded - start) % 180.0, 4)]


def _leave_out_near_beams(
    by_pose: dict[Pose, Subset | None],
    subset: Subset,
    others: tuple[Subset, ...],
    guard_deg: float,
) -> None:
    """Take the views of one block out whose beams come near those of other blocks, in place."""
    own = [pose for pose, found in by_pose.items() if found == subset]
    other = [pose for pose, found in by_pose.items() if found in others]
    if not own or not other:
        return
    cosines = np.stack([beam_axis(p) for p in own]) @ np.stack([beam_axis(p) for p in other]).T
    near = np.abs(cosines).max(axis=1) > np.cos(np.deg2rad(guard_deg)) + 1e-9
    by_pose.update({pose: None for pose, is_near in zip(own, near, strict=True) if is_near})


def _block_of(position_deg: float, blocks: Mapping[Subset, tuple[float, float]]) -> Subset | None:
    tolerance = 1e-6
    for subset, (low, high) in blocks.items():
        if low - tolerance <= position_deg <= high + tolerance:
            return subset
    return None

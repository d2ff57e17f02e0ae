"""Train, validation and hold-out: by subject, or by blocks of poses where there is one volume."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from dexsearch.errors import DataError
from dexsearch.physics.geometry import beam_axis

Subset = Literal["train", "validation", "holdout"]
Pose = tuple[float, float, float]

SUBSETS: tuple[Subset, ...] = ("train", "validation", "holdout")
FRACTIONS = (0.60, 0.15, 0.25)

_SWEEPS = {"turning": 2, "nodding": 0}  # volume axis towards which the beam leaves axis 1


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
            key = pose_key(pose_deg)
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
    """Split the views of one volume into blocks of beam directions.

    Directions are the angles of the central beams in one plane: across the body's axis, or along
    it; of the two, the one that keeps more views. They count modulo 180 degrees,
    because a view from behind is nearly the mirror image of the view from the front; so the last
    block also keeps its distance from the first. Views closer than `guard_deg` to the next block
    are left out; so are views whose beam, out of that plane, comes that close to a beam of
    another block (either way round): from the hold-out where it nears validation, from training
    where it nears either. This leaks less than a random split, not nothing: all views show the
    same anatomy.

    Raises:
        DataError: if the poses cover too few degrees for three blocks.
    """
    keys = sorted({pose_key(pose) for pose in poses})
    if not keys:
        raise DataError("got no poses to split")
    candidates = {
        sweep: _split_positions(keys, _positions_on_half_circle(keys, axis), guard_deg, fractions)
        for sweep, axis in _SWEEPS.items()
    }
    sweep = max(candidates, key=lambda name: _worth(candidates[name]))
    by_pose = candidates[sweep]
    missing = [subset for subset in SUBSETS if subset not in by_pose.values()]
    if missing:
        raise DataError(
            f"the beams of {len(keys)} poses span too few degrees: guard bands of "
            f"{guard_deg:g} degrees leave the {missing[0]} block empty",
            hint="use more poses, over a wider range of one angle",
        )
    rule = f"one volume, blocks of beam direction ({sweep}), guard band {guard_deg:g} degrees"
    return Split(rule=rule, by_pose=by_pose)


def _split_positions(
    poses: Sequence[Pose],
    position_deg: Sequence[float],
    guard_deg: float,
    fractions: tuple[float, float, float],
) -> dict[Pose, Subset | None]:
    """Cut one sweep of the beams into blocks and leave out what comes near another block."""
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
        pose: _block_of(position, blocks)
        for pose, position in zip(poses, position_deg, strict=True)
    }
    _leave_out_near_beams(by_pose, "holdout", ("validation",), guard_deg)
    _leave_out_near_beams(by_pose, "train", ("validation", "holdout"), guard_deg)
    return by_pose


def _worth(by_pose: Mapping[Pose, Subset | None]) -> tuple[int, int]:
    """Rank a split: first by how many subsets have views, then by how many views are kept."""
    kept = [subset for subset in by_pose.values() if subset is not None]
    return len(set(kept)), len(kept)


def _share(fractions: tuple[float, float, float], part: int) -> float:
    return fractions[part] / sum(fractions)


def pose_key(pose_deg: Pose) -> Pose:
    """Return the angles as a split compares them: to a ten-thousandth of a degree, no -0."""
    x, y, z = (round(float(angle), 4) + 0.0 for angle in pose_deg)
    return x, y, z


def _positions_on_half_circle(poses: Sequence[Pose], axis: int) -> list[float]:
    """Return the beams' degrees in the plane of volume axes 1 and `axis`, modulo 180.

    Degrees are counted from the end of the largest gap.
    """
    beams = np.stack([beam_axis(pose) for pose in poses])
    angles_deg = np.rad2deg(np.arctan2(beams[:, axis], beams[:, 1]))
    folded = np.round(angles_deg % 180.0, 4) % 180.0
    distinct = np.unique(folded)
    gaps = np.round(np.diff(distinct, append=distinct[0] + 180.0), 3)
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

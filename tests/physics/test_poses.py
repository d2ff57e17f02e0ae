"""Pose sets."""

from collections.abc import Callable

import numpy as np
import pytest

from dexsearch.physics.geometry import Pose
from dexsearch.physics.poses import cohort_poses, sweep_poses


def test_cohort_poses_reach_from_side_to_side_and_stay_small_in_tilt() -> None:
    poses = np.array(cohort_poses(20, np.random.default_rng(0)))
    assert np.all(np.abs(poses).max(axis=0) <= [10.0, 8.0, 40.0])
    assert np.histogram(poses[:, 2], bins=4, range=(-40, 40))[0].tolist() == [5, 5, 5, 5]


def test_a_sweep_covers_the_half_circle() -> None:
    turns = [pose[2] for pose in sweep_poses(36, np.random.default_rng(0))]
    assert turns == [5.0 * k for k in range(36)]


def test_poses_follow_from_the_seed() -> None:
    assert cohort_poses(5, np.random.default_rng(1)) == cohort_poses(5, np.random.default_rng(1))


@pytest.mark.parametrize("n_poses", [0, -1])
@pytest.mark.parametrize("draw", [cohort_poses, sweep_poses])
def test_no_poses_are_refused(
    draw: Callable[[int, np.random.Generator], tuple[Pose, ...]], n_poses: int
) -> None:
    with pytest.raises(ValueError, match=f"got {n_poses} poses"):
        draw(n_poses, np.random.default_rng(0))

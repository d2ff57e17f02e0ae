import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dexsearch.data.splits import SUBSETS, split_poses, split_subjects
from dexsearch.errors import DataError
from dexsearch.physics.poses import sweep_poses, xray_gan_poses
from dexsearch.physics.projection import Pose, beam_axis

XRAY_GAN_POSES = [
    (float(x), float(y), float(z))
    for x, y, z in itertools.product(range(-30, 31, 15), range(-30, 31, 15), range(0, 176, 5))
]


def folded_distance_deg(a: float, b: float) -> float:
    return min((a - b) % 180.0, (b - a) % 180.0)


@given(n=st.integers(3, 60), seed=st.integers(0, 5))
def test_every_subset_has_a_subject_and_every_subject_one_subset(n: int, seed: int) -> None:
    names = [f"subject-{index:03d}" for index in range(n)]
    split = split_subjects(names, seed=seed)
    assert set(split.by_subject) == set(names)
    assert set(split.by_subject.values()) == set(SUBSETS)


def test_32_subjects_leave_8_for_a_verdict() -> None:
    split = split_subjects([str(index) for index in range(32)], seed=0)
    counts = [list(split.by_subject.values()).count(subset) for subset in SUBSETS]
    assert counts == [19, 5, 8]


def test_all_poses_of_a_subject_are_in_its_subset() -> None:
    split = split_subjects(["a", "b", "c"], seed=1)
    assert split.subset("b", (0.0, 0.0, 0.0)) == split.subset("b", (10.0, 0.0, 170.0))


def test_the_order_of_the_subjects_does_not_matter() -> None:
    names = [str(index) for index in range(12)]
    assert split_subjects(names, seed=3) == split_subjects(names[::-1] * 2, seed=3)


def test_two_subjects_cannot_be_split() -> None:
    with pytest.raises(DataError, match="at least 3"):
        split_subjects(["a", "b"], seed=0)


def test_an_unknown_subject_is_refused() -> None:
    with pytest.raises(DataError, match="'d' is not part"):
        split_subjects(["a", "b", "c"], seed=0).subset("d", (0.0, 0.0, 0.0))


@pytest.mark.parametrize("guard_deg", [15.0, 20.0])
def test_blocks_of_poses_keep_the_guard_band_also_seen_from_behind(guard_deg: float) -> None:
    split = split_poses(XRAY_GAN_POSES, guard_deg=guard_deg)
    blocks = {
        subset: {pose[2] for pose, found in split.by_pose.items() if found == subset}
        for subset in SUBSETS
    }
    assert all(blocks.values())
    for one, other in itertools.combinations(SUBSETS, 2):
        nearest = min(
            folded_distance_deg(a, b) for a, b in itertools.product(blocks[one], blocks[other])
        )
        assert nearest >= guard_deg
    assert len(blocks["train"]) > len(blocks["holdout"]) > len(blocks["validation"])
    assert split.subset("any", (-30.0, 15.0, 0.0)) == split.subset("any", (0.0, 0.0, 0.0))


@pytest.mark.parametrize(
    ("poses", "counts"),
    [
        (xray_gan_poses(), (358, 100, 142)),
        (sweep_poses(60, np.random.default_rng([0, 4])), (28, 7, 11)),
        (sweep_poses(120, np.random.default_rng([1, 4])), None),
    ],
)
def test_beams_of_different_blocks_differ_by_the_guard_also_when_tilted(
    poses: tuple[Pose, ...], counts: tuple[int, int, int] | None
) -> None:
    split = split_poses(poses)
    beams = [
        np.stack([beam_axis(pose) for pose, found in split.by_pose.items() if found == subset])
        for subset in SUBSETS
    ]
    for one, other in itertools.combinations(beams, 2):
        nearest = np.rad2deg(np.arccos(np.abs(one @ other.T).max()))
        assert nearest >= 15.0 - 1e-3
    if counts is not None:
        assert tuple(len(block) for block in beams) == counts


def test_a_full_turn_keeps_opposite_views_together() -> None:
    split = split_poses([(0.0, 0.0, float(z)) for z in range(0, 360, 5)])
    for z in range(0, 180, 5):
        here = split.subset("any", (0.0, 0.0, float(z)))
        assert here == split.subset("any", (0.0, 0.0, z + 180.0))


def test_a_range_across_zero_is_one_block_after_the_other() -> None:
    split = split_poses([(float(x), 0.0, 0.0) for x in range(-60, 61, 5)])
    ordered = [split.subset("any", (float(x), 0.0, 0.0)) for x in range(-60, 61, 5)]
    kept = [subset for subset, _ in itertools.groupby(ordered) if subset]
    assert kept == list(SUBSETS)


def test_poses_over_few_degrees_are_refused() -> None:
    with pytest.raises(DataError, match="guard bands of 15 degrees"):
        split_poses([(0.0, 0.0, float(z)) for z in range(20)])

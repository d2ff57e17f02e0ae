import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dexsearch.data.splits import SUBSETS, split_poses, split_subjects
from dexsearch.errors import DataError
from dexsearch.physics.geometry import Pose, beam_axis
from dexsearch.physics.poses import sweep_poses, xray_gan_poses


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


@pytest.mark.parametrize(
    ("poses", "guard_deg", "counts"),
    [
        (xray_gan_poses(), 15.0, (405, 100, 168)),
        (xray_gan_poses(), 20.0, None),
        (sweep_poses(60, np.random.default_rng([0, 4])), 15.0, (28, 7, 11)),
        (sweep_poses(120, np.random.default_rng([1, 4])), 15.0, None),
        (tuple((x, 5.0, 30.0) for x in np.arange(-60.0, 61.0, 5.0)), 15.0, None),
    ],
)
def test_beams_of_different_blocks_differ_by_the_guard_also_seen_from_behind(
    poses: tuple[Pose, ...], guard_deg: float, counts: tuple[int, int, int] | None
) -> None:
    split = split_poses(poses, guard_deg=guard_deg)
    beams = [
        np.stack([beam_axis(pose) for pose, found in split.by_pose.items() if found == subset])
        for subset in SUBSETS
    ]
    for one, other in itertools.combinations(beams, 2):
        nearest = np.rad2deg(np.arccos(np.abs(one @ other.T).max()))
        assert nearest >= guard_deg - 1e-3
    assert len(beams[0]) > len(beams[2]) > len(beams[1])
    if counts is not None:
        assert tuple(len(block) for block in beams) == counts


def test_the_grid_of_xray_gan_keeps_enough_views_to_learn_from() -> None:
    subsets = list(split_poses(xray_gan_poses()).by_pose.values())
    assert subsets.count("train") > 0.4 * len(subsets)
    assert subsets.count("holdout") > 0.15 * len(subsets)


def test_turns_of_the_image_alone_are_no_blocks() -> None:
    # A turn about the beam changes the picture's orientation, not what the beam crosses.
    with pytest.raises(DataError, match="block empty"):
        split_poses([(0.0, float(y), 0.0) for y in range(-60, 61, 5)])


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

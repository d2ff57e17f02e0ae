"""Which score is better, by its kind."""

import pytest

from dexsearch.errors import ConfigurationError
from dexsearch.jobs.best import Choice, Leaderboard, rank
from dexsearch.jobs.merit import merit, rule
from tests.jobs.ranking_samples import measured, registered, registry


def ranked(metric: str, *events: dict[str, object]) -> list[int]:
    board: Leaderboard = rank(registry(*events), Choice(metric=metric), uri_of=str)
    return [row.generator.version for group in board.groups for row in group.rows]


@pytest.mark.parametrize(
    ("metric", "better", "worse"),
    [
        ("val_ssim", 0.9, 0.8),
        ("val_psnr", 31.0, 30.0),
        ("val_mae", 0.1, 0.2),
        ("quality_mae_bone", 0.1, 0.2),
        ("quality_tumour_error_mm", 1.0, 2.0),
        ("quality_bone_leakage", -0.1, 0.2),
        ("quality_bone_leakage", 0.1, -0.2),
        ("quality_bone_suppression", 0.8, 0.7),
        ("quality_sdnr_rib_bone_prediction", 2.0, 1.0),
    ],
)
def test_a_better_score_has_more_merit(metric: str, better: float, worse: float) -> None:
    assert merit(metric, {metric: better}) > merit(metric, {metric: worse})
    assert merit(metric, {metric: worse}) > merit(metric, {metric: None})


def test_ribs_left_in_the_tissue_image_are_judged_by_the_truth() -> None:
    name, truth = "quality_sdnr_rib_tissue_prediction", "quality_sdnr_rib_tissue_truth"
    near, far = {name: 0.3, truth: 0.2}, {name: 0.05, truth: 0.2}
    assert merit(name, near) > merit(name, far)
    assert rule(name) == "nearest to the truth's is better"


def test_lower_errors_rank_first() -> None:
    events = (measured(1, 0.9), measured(2, 0.8), measured(3, 0.7))
    assert ranked("val_mae", *events) == [1, 2, 3]
    assert ranked("quality_bone_leakage", *events) == [1, 2, 3]
    assert ranked("val_ssim", *reversed(events)) == [1, 2, 3]
    assert ranked("quality_sdnr_rib_tissue_prediction", *events) == [2, 1, 3]


def test_generators_without_the_score_come_last_and_groups_without_it_not_at_all() -> None:
    other = registered(4, 0.99, name="dexsearch-tissue", task="tissue")
    assert ranked("val_mae", registered(1, 0.95), measured(2, 0.8), other) == [2, 1]


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("val_mea", "did you mean --metric val_mae?"),
        ("bone_leakage", "did you mean --metric quality_bone_leakage?"),
        ("xyz", "--metric takes one of them"),
    ],
)
def test_an_unknown_score_is_refused_with_the_known_ones(given: str, hint: str) -> None:
    with pytest.raises(ConfigurationError, match="quality_bone_leakage") as refused:
        ranked(given, measured(1, 0.9))
    assert refused.value.hint == hint


def test_scores_of_the_images_alone_rank_nobody() -> None:
    with pytest.raises(ConfigurationError) as refused:
        ranked("quality_tumour_error_input_mm", measured(1, 0.9))
    assert "input" not in str(refused.value).split("recorded scores")[1]


def test_a_score_that_is_no_number_counts_as_none() -> None:
    broken = measured(1, 0.9, scores={"val_mae": float("nan"), "val_psnr": float("inf")})
    assert ranked("val_mae", broken, measured(2, 0.8)) == [2, 1]

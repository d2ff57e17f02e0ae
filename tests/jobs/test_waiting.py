"""Which version waits for `promote`: a higher validation score alone is no evidence."""

from typing import Any

from dexsearch.jobs.best import Choice, Leaderboard, rank
from tests.jobs.ranking_samples import alias, holdout, registered, registry


def board(*events: Any, choice: Choice | None = None) -> Leaderboard:  # noqa: ANN401
    return rank(registry(*events), choice or Choice(), uri_of=str)


GENERATORS = (registered(1, 0.80), registered(2, 0.85), registered(3, 0.90), alias(1))


def test_the_best_version_above_the_champion_waits() -> None:
    found = board(*GENERATORS)
    assert found.promotions == ["dexsearch promote dexsearch-bone/3"]
    told = str(found).replace("\n", " ")
    assert "dexsearch-bone/3 scores 0.1000 above the champion dexsearch-bone/1 on valid" in told
    assert "only the hold-out can tell" in told


def test_it_waits_also_where_it_is_not_among_the_rows_shown() -> None:
    found = board(*GENERATORS, registered(4, 0.7, study="lungs"), choice=Choice(study="lungs"))
    assert [row.generator.version for row in found.groups[0].rows] == [4]
    assert found.promotions == ["dexsearch promote dexsearch-bone/3"]


def test_after_a_refusal_the_next_one_is_not_suggested_until_one_passes_by_chance() -> None:
    found = board(*GENERATORS, *holdout(3, 1, "inconclusive"))
    assert found.promotions == []
    assert "on the hold-out: inconclusive" in str(found).replace("\n", " ")


def test_where_all_were_refused_nothing_is_suggested_and_the_answer_is_told() -> None:
    evidence = (*holdout(3, 1, "worse"), *holdout(2, 1, "inconclusive", look="cd34", time=400))
    found = board(*GENERATORS, *evidence)
    assert found.promotions == []
    assert "on the hold-out: worse" in str(found).replace("\n", " ")


def test_one_that_was_better_is_still_to_be_promoted() -> None:
    found = board(*GENERATORS, *holdout(3, 1, "better"))
    assert found.promotions == ["dexsearch promote dexsearch-bone/3"]
    assert "on the hold-out: better" in str(found).replace("\n", " ")


def test_evidence_against_an_earlier_champion_does_not_count() -> None:
    found = board(*GENERATORS, *holdout(3, 1, "worse"), alias(2))
    assert found.promotions == ["dexsearch promote dexsearch-bone/3"]


def test_evidence_on_one_target_of_two_does_not_settle_it() -> None:
    joint = {"name": "dexsearch-joint", "task": "joint"}
    look, evidence = holdout(2, 1, "worse")
    look |= {"a": "dexsearch-joint/2", "b": "dexsearch-joint/1", "target": "bone"}
    events = (registered(1, 0.8, **joint), registered(2, 0.9, **joint))
    found = board(*events, {**alias(1), "name": "dexsearch-joint"}, look, evidence)
    assert found.promotions == ["dexsearch promote dexsearch-joint/2"]


def test_nothing_waits_without_a_champion_or_where_it_was_scored_on_other_data() -> None:
    assert board(*GENERATORS[:3]).promotions == []
    elsewhere = board(registered(1, 0.5, dataset="e" * 64), *GENERATORS[1:])
    assert elsewhere.promotions == []
    assert {row["above_champion"] for row in elsewhere.as_json()[:2]} == {None}


def test_the_best_one_being_champion_waits_for_nothing() -> None:
    assert board(*GENERATORS, alias(3)).promotions == []

"""Evidence and replicates that belong to a version, and the tags that carry them to MLflow."""

import json
from typing import Any

import pytest

from dexsearch.errors import DataError
from dexsearch.registry.record import Registration, Registry
from dexsearch.registry.standing import holdout_of, replicates_of
from dexsearch.registry.tags import HOLDOUT, REGISTRATION, tagged_version, version_tags
from tests.jobs.ranking_samples import (
    alias,
    audit,
    holdout,
    measured,
    registered,
    registry,
    replicated,
)

FULL = registry(
    measured(1, 0.8), measured(2, 0.85), alias(1), audit(), *holdout(2, 1, "better"), replicated(2)
)


def version(of: Registry, number: int) -> Registration:
    return next(v for v in of.versions if v.version == number)


def test_the_newest_evidence_counts_whichever_side_the_version_was_on() -> None:
    events = (*holdout(2, 1, "worse"), *holdout(3, 1, "better", look="cd34", time=500))
    found = registry(registered(1, 0.8), registered(2, 0.9), registered(3, 0.9), *events)
    newest = {n: holdout_of(found, version(found, n)) for n in (1, 2, 3)}
    assert {n: one and one.evidence.verdict for n, one in newest.items()} == {
        1: "better", 2: "worse", 3: "better",
    }  # fmt: skip


def test_a_look_without_an_answer_is_no_evidence() -> None:
    look, _ = holdout(2, 1, "better")
    found = registry(registered(1, 0.8), registered(2, 0.9), look)
    assert holdout_of(found, version(found, 2)) is None


def test_an_answer_without_numbers_is_told_without_them() -> None:
    look, evidence = holdout(2, 1, "inconclusive: 4 subjects")
    found = registry(registered(2, 0.9), look, {**evidence, "result": {"low": True}})
    one = holdout_of(found, version(found, 2))
    assert one is not None
    assert one.difference is one.interval is None
    assert one.as_json()["verdict"] == "inconclusive: 4 subjects"


def test_replicates_of_a_study_begun_anew_are_not_those_of_the_old_one() -> None:
    old, new = registered(1, 0.8, time=100.0), registered(2, 0.9, trial=1, time=300.0)
    found = registry(
        old, new, audit(begun=50), audit(begun=200), replicated(1, begun=50, mean=0.7)
    )
    assert replicates_of(found, version(found, 2)) is None
    mean = replicates_of(found, version(found, 1))
    assert mean is not None
    assert mean.mean == 0.7


@pytest.mark.parametrize("number", [1, 2])
def test_tags_carry_all_that_best_tells(number: int) -> None:
    mine = version(FULL, number)
    told = tagged_version("dexsearch-bone", number, version_tags(FULL, mine))
    assert told is not None
    assert told.registration == mine
    assert told.audit == FULL.audit_of(mine)
    assert told.replicated == replicates_of(FULL, mine)
    (one,) = told.holdouts
    known = holdout_of(FULL, mine)
    assert known is not None
    assert one.as_json() == known.as_json()
    assert one.look == known.look
    assert "by_target" not in one.evidence.result  # tables stay in the workspace


def test_evidence_against_the_champion_travels_beside_newer_evidence() -> None:
    newer = holdout(3, 2, "better", look="cd34", time=900)
    found = registry(
        *(registered(n, 0.8) for n in (1, 2, 3)), alias(1), *holdout(2, 1, "worse"), *newer
    )
    told = tagged_version("dexsearch-bone", 2, version_tags(found, version(found, 2)))
    assert told is not None
    assert {one.evidence.verdict for one in told.holdouts} == {"better", "worse"}


def test_empty_tags_say_that_there_is_nothing() -> None:
    found = registry(registered(1, 0.8))
    tags = version_tags(found, version(found, 1))
    assert sorted(value for value in tags.values() if not value) == ["", "", ""]
    told = tagged_version("dexsearch-bone", 1, tags)
    assert told is not None
    assert (told.audit, told.holdouts, told.replicated) == (None, (), None)


def test_a_version_that_somebody_else_registered_is_not_ours() -> None:
    assert tagged_version("dexsearch-bone", 1, {"owner": "me"}) is None


def test_the_tag_of_another_model_is_refused() -> None:
    tags = version_tags(FULL, version(FULL, 1))
    with pytest.raises(DataError, match="tells of dexsearch-bone/1"):
        tagged_version("dexsearch-joint", 1, tags)


BAD: dict[str, Any] = {
    "val_ssim": "high", "version": "1", "params": [1], "baselines": {"constant": 0.4},
    "intervals": {"val_ssim": "wide"}, "sha256": None, "scores": {"val_mae": {}},
}  # fmt: skip


@pytest.mark.parametrize("key", BAD)
def test_a_tag_of_another_type_is_told_by_its_key(key: str) -> None:
    tags = version_tags(FULL, version(FULL, 1))
    values = {**json.loads(tags[REGISTRATION]), key: BAD[key]}
    with pytest.raises(DataError, match=rf"{REGISTRATION} of dexsearch-bone/1 .*{key}"):
        tagged_version("dexsearch-bone", 1, {**tags, REGISTRATION: json.dumps(values)})


@pytest.mark.parametrize("text", ["<html>", "5", "[]", "{}", '{"name": 1', "[" * 100_000])
def test_a_tag_that_is_no_registration_is_one_error(text: str) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        tagged_version("dexsearch-bone", 1, {REGISTRATION: text})


def test_a_tag_of_evidence_that_is_none_is_one_error() -> None:
    tags = version_tags(FULL, version(FULL, 1))
    with pytest.raises(DataError, match=HOLDOUT):
        tagged_version("dexsearch-bone", 1, {**tags, HOLDOUT: '[{"look": 5}]'})


def test_keys_of_a_later_version_are_passed_over() -> None:
    tags = version_tags(FULL, version(FULL, 1))
    later = json.dumps({**json.loads(tags[REGISTRATION]), "colour": "blue"})
    told = tagged_version("dexsearch-bone", 1, {**tags, REGISTRATION: later})
    assert told is not None
    assert told.registration == version(FULL, 1)

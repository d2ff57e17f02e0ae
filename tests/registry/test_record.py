import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dexsearch.errors import DataError, NotRegistered
from dexsearch.inference.package import Package
from dexsearch.ledger.study import StudyRecord
from dexsearch.registry.record import read_registry
from dexsearch.registry.store import keep_audit, register

MakePackage = Callable[..., Package]
MakeStudy = Callable[..., StudyRecord]


def test_a_workspace_without_log_has_an_empty_registry(tmp_path: Path) -> None:
    assert read_registry(tmp_path).versions == ()


def test_a_name_means_its_champion(tmp_path: Path, make_package: MakePackage) -> None:
    register(tmp_path, [make_package(0, 0.8), make_package(1, 0.7)])
    registry = read_registry(tmp_path)
    champion = registry.find("dexsearch-bone")
    assert champion.version == 1
    assert registry.find("dexsearch-bone@champion") == champion
    assert registry.find("dexsearch-bone/2").trial == 1
    assert registry.aliases_of(champion) == ("champion",)


@pytest.mark.parametrize(
    "wanted", ["dexsearch-bone/7", "dexsearch-bone/x", "dexsearch-bone@winner", "dexsearch-bone/"]
)
def test_an_unknown_version_or_alias_lists_the_known_ones(
    tmp_path: Path, make_package: MakePackage, wanted: str
) -> None:
    register(tmp_path, [make_package(0, 0.8)])
    with pytest.raises(NotRegistered, match="versions 1 and the aliases champion") as caught:
        read_registry(tmp_path).find(wanted)
    assert caught.value.exit_code == 4


def test_an_unknown_name_lists_the_known_ones_and_guesses(
    tmp_path: Path, make_package: MakePackage
) -> None:
    register(tmp_path, [make_package(0, 0.8)])
    with pytest.raises(NotRegistered, match="known names: dexsearch-bone") as caught:
        read_registry(tmp_path).find("dexsearch-bon@champion")
    assert caught.value.hint == "did you mean 'dexsearch-bone@champion'?"


def test_control_characters_in_a_wanted_name_are_escaped(tmp_path: Path) -> None:
    with pytest.raises(NotRegistered) as caught:
        read_registry(tmp_path).find("\x1b[2Jmodel")
    assert "\x1b" not in str(caught.value) + str(caught.value.hint)


def test_scores_of_other_data_are_in_another_group_the_newest_first(
    tmp_path: Path, make_package: MakePackage
) -> None:
    register(tmp_path, [make_package(0, 0.9)])
    register(
        tmp_path, [make_package(1, 0.5, dataset="e" * 64), make_package(2, 0.6, task="joint")]
    )
    groups = read_registry(tmp_path).groups()
    assert [[v.trial for v in group] for group in groups] == [[2], [1], [0]]
    assert [[v.trial for v in g] for g in read_registry(tmp_path).groups("bone")] == [[1], [0]]


def test_the_best_of_a_group_comes_first(tmp_path: Path, make_package: MakePackage) -> None:
    register(tmp_path, [make_package(0, 0.5), make_package(1, 0.9), make_package(2, 0.7)])
    (group,) = read_registry(tmp_path).groups()
    assert [version.trial for version in group] == [1, 2, 0]


def test_an_edited_event_is_refused(tmp_path: Path) -> None:
    event = {"event": "registered", "name": "dexsearch-bone", "time": 1}
    (tmp_path / "registry.jsonl").write_text(json.dumps(event) + "\n")
    with pytest.raises(DataError, match="cannot be read"):
        read_registry(tmp_path)


def test_the_newest_audit_of_a_study_counts(
    tmp_path: Path, make_package: MakePackage, make_study: MakeStudy
) -> None:
    study = make_study("complete", "pruned", "running")
    register(tmp_path, [make_package(0, 0.5), make_package(1, 0.4, study="other")])
    keep_audit(tmp_path, study, {"n_pruned": 1}, "one pruned")
    keep_audit(tmp_path, study, {"n_pruned": 2}, "two pruned")
    registry = read_registry(tmp_path)
    mine, other = registry.versions
    found = registry.audit_of(mine)
    assert found is not None
    assert (found.audit, found.text, found.n_ended) == ({"n_pruned": 2}, "two pruned", 2)
    assert registry.audit_of(other) is None


def test_an_audit_that_is_known_is_not_written_again(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    study = make_study("complete")
    for _ in range(2):
        keep_audit(tmp_path, study, {"epochs": [1, 2], "low": None, "rate": 0.25}, "text")
    assert len((tmp_path / "registry.jsonl").read_text().splitlines()) == 1
    keep_audit(tmp_path, replace(study, begun=study.begun + 1), {"low": None}, "text")
    assert len(read_registry(tmp_path).audits) == 2


def test_a_version_has_the_audit_of_its_own_study_and_not_of_one_begun_anew(
    tmp_path: Path, make_package: MakePackage, make_study: MakeStudy
) -> None:
    study = make_study("complete")
    keep_audit(tmp_path, replace(study, begun=10.0), {"n_pruned": 1}, "the old one")
    register(tmp_path, [make_package(0, 0.5)])
    registry = read_registry(tmp_path)
    (version,) = registry.versions
    keep_audit(tmp_path, replace(study, begun=version.time + 5), {"n_pruned": 2}, "the new one")
    keep_audit(tmp_path, replace(study, dataset_digest="e" * 64), {}, "of other data")
    found = read_registry(tmp_path).audit_of(version)
    assert found is not None
    assert found.text == "the old one"

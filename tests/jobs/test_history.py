from pathlib import Path
from typing import Any

import pytest

from dexsearch.errors import NotRegistered
from dexsearch.jobs.history import read_history
from dexsearch.registry.store import open_log


def registered(name: str) -> dict[str, Any]:
    return {
        "event": "registered", "name": name, "version": 1, "task": "bone", "study": "s",
        "trial": 0, "dataset": "d" * 64, "metric": 1, "val_ssim": 0.5, "val_ssim_bone": 0.5,
        "val_ssim_tissue": None, "baselines": {}, "params": {}, "epochs": 1, "n_parameters": 1,
        "package": "p", "weights_sha256": "w", "sha256": "h",
    }  # fmt: skip


def look(look: str, a: str, b: str, *, dataset: str = "d" * 64) -> dict[str, Any]:
    return {
        "event": "look", "look": look, "a": a, "b": b, "target": None, "dataset": dataset,
        "metric": 1, "purpose": "promote",
    }  # fmt: skip


def alias(name: str, version: int | None, **more: object) -> dict[str, Any]:
    return {"event": "alias", "name": name, "alias": "champion", "version": version, **more}


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    events = [
        registered("dexsearch-bone"),
        registered("dexsearch-joint"),
        alias("dexsearch-bone", 1, reason="the name had no champion"),
        look("aa", "dexsearch-bone/2", "dexsearch-bone/1"),
        {"event": "evidence", "look": "aa", "verdict": "better", "result": {"difference": 0.02}},
        alias("dexsearch-bone", 2, previous=1, look="aa", reason="better than version 1"),
        look("bb", "dexsearch-joint/1", "evil\x1b[2J"),
        look("cc", "dexsearch-joint/1", "other", dataset="e" * 64),
        alias("dexsearch-bone", 1, previous=2, forced=True, reason="rolled back"),
    ]
    with open_log(tmp_path) as log:
        for event in events:
            log.append(event)
    return tmp_path


def test_everything_is_told_oldest_first(workspace: Path) -> None:
    lines = str(read_history(workspace)).splitlines()
    told = [line.split("  ", 1)[1] for line in lines]
    assert told == [
        "dexsearch-bone@champion version 1: the name had no champion",
        "look 1 at dddddddddddd to promote: dexsearch-bone/2 against dexsearch-bone/1: better "
        "(+0.0200)",
        "dexsearch-bone@champion version 2, was 1: better than version 1",
        "look 2 at dddddddddddd to promote: dexsearch-joint/1 against evil\\x1b[2J: never ended",
        "look 1 at eeeeeeeeeeee to promote: dexsearch-joint/1 against other: never ended",
        "dexsearch-bone@champion version 1, was 2: forced: rolled back",
    ]


def test_one_name_has_its_own_history_with_the_count_of_all_looks(workspace: Path) -> None:
    entries = read_history(workspace, "dexsearch-joint").as_json()
    assert [(entry["kind"], entry["n_looks"], entry["verdict"]) for entry in entries] == [
        ("look", 2, None),
        ("look", 1, None),
    ]


def test_json_has_moves_with_their_reasons_and_looks_with_their_results(workspace: Path) -> None:
    first, found, moved, *_ = read_history(workspace).as_json()
    assert (first["kind"], first["previous"], first["forced"]) == ("alias", None, False)
    assert (found["verdict"], found["result"]) == ("better", {"difference": 0.02})
    assert (moved["version"], moved["previous"], moved["look"]) == (2, 1, "aa")


def test_an_unknown_name_is_refused_and_an_empty_workspace_is_not(
    workspace: Path, tmp_path: Path
) -> None:
    with pytest.raises(NotRegistered, match="known names: dexsearch-bone, dexsearch-joint"):
        read_history(workspace, "dexsearch-ribs")
    empty = tmp_path / "empty"
    assert "no champion was moved" in str(read_history(empty))

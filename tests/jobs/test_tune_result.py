"""How `tune` ends: by itself, or because its time was over. The study is that of `trained`."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pytest

from dexsearch.config.yaml_file import parse_space
from dexsearch.errors import SearchFailed
from dexsearch.jobs.plan import SearchPlan
from dexsearch.jobs.tune import run_search
from dexsearch.jobs.tune_result import TuneResult
from dexsearch.ledger.study import StudyRecord
from dexsearch.registry.record import read_registry
from dexsearch.search.study import StudyOutcome

SPACE = (
    "task: joint\ndata: {path: datasets/small}\ntrials: 9\nepochs: 2\nregister: 1\n"
    "pruner: {min_epochs: 1}\n"
)


class Trained(Protocol):
    """What these tests need of the fixture."""

    workspace: Path
    study: StudyRecord


def search(
    trained: Trained, monkeypatch: pytest.MonkeyPatch, record: StudyRecord, *, out_of_time: bool
) -> TuneResult:
    """Run `tune` over a search that has come to `record`; the data takes 200 s."""
    asked: dict[str, Any] = {}

    def run_study(space: object, **arguments: object) -> StudyOutcome:
        asked.update(arguments)
        return StudyOutcome(record, out_of_time=out_of_time)

    monkeypatch.setattr("dexsearch.search.study.run_study", run_study)
    monkeypatch.setattr("dexsearch.registry.flushing.bring_up", lambda *_, **__: None)
    plan = SearchPlan(
        study="ribs", space=parse_space(SPACE, name="s.yaml"), workspace=trained.workspace,
        dataset=trained.workspace / "datasets" / "small", size_px=(32, 40), made_on_start=False,
        time_s=7200.0,
    )  # fmt: skip
    try:
        return run_search(
            plan, tell=lambda _: None, progress=lambda _: pytest.fail("no data"),
            clock=iter((50.0, 250.0)).__next__,
        )  # fmt: skip
    finally:
        assert asked["time_s"] == 7000.0


def test_a_search_whose_time_was_over_registers_what_is_complete_and_says_how_to_go_on(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = search(trained, monkeypatch, trained.study, out_of_time=True)
    best = trained.study.ranking()[0]
    assert result.registered == (f"dexsearch-{best.config['task']}/1",)
    assert (
        "stopped after 2 h as asked: 6 trials unfinished; the same command continues"
        in str(result).splitlines()
    )
    assert result.as_json()["stopped"] == result.stopped


def test_out_of_time_before_anything_is_complete_is_no_failure(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = tuple(
        replace(trial, state="running", ended=None) for trial in trained.study.trials[:2]
    )
    record = replace(trained.study, trials=running)
    result = search(trained, monkeypatch, record, out_of_time=True)
    assert (result.registered, result.best_trial) == ((), None)
    told = "9 trials unfinished, nothing is complete yet; the same command continues"
    assert told in str(result.stopped)
    assert result.next[0].startswith("dexsearch status")
    with pytest.raises(SearchFailed, match="0 complete"):
        search(trained, monkeypatch, record, out_of_time=False)


def test_out_of_time_with_a_majority_of_failed_trials_has_failed(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *others = trained.study.trials
    failed = tuple(replace(trial, state="failed", reason="no memory") for trial in others)
    record = replace(trained.study, trials=(first, *failed))
    with pytest.raises(SearchFailed, match="trial 1: no memory") as caught:
        search(trained, monkeypatch, record, out_of_time=True)
    assert caught.value.exit_code == 5


def test_the_audit_is_told_and_kept_in_the_registry(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = search(trained, monkeypatch, trained.study, out_of_time=False)
    assert result.stopped is None
    shown = result.as_json()
    assert shown["audit"]["n_complete"] == 2
    assert shown["audit_text"] in str(result)
    registry = read_registry(trained.workspace)
    found = registry.audit_of(registry.versions[0])
    assert found is not None
    assert (found.audit, found.text) == (shown["audit"], shown["audit_text"])
    search(trained, monkeypatch, trained.study, out_of_time=False)
    assert len(read_registry(trained.workspace).audits) == 1

"""The conformance suite: what a search does, whichever backend runs it."""

import json
from pathlib import Path

from searching import SearchRunner, check_study, space_with

from dexsearch.ledger.study import read_study
from dexsearch.search.space import is_immune


def test_a_search_ends_with_every_trial_complete_or_pruned(
    search: SearchRunner, tmp_path: Path
) -> None:
    ended = search(tmp_path / "s", "rising", trials=12)
    assert ended.exit_code == 0
    record = check_study(tmp_path / "s", trials=12, epochs=9)
    assert record.in_state("complete")
    assert record.in_state("pruned")
    assert not record.in_state("failed")
    for trial in record.trials:
        assert trial.immune == is_immune(space_with(trials=12), trial.number)
        assert not (trial.immune and trial.state == "pruned")
        if trial.state == "complete":
            assert trial.checkpoint == f"trials/{trial.number}/00009"
    assert [trial for trial in record.trials if trial.immune], "no trial is immune"
    assert ended.stderr.count("Traceback") == 0


def test_a_trial_that_raises_fails_with_its_kind_and_the_others_go_on(
    search: SearchRunner, tmp_path: Path
) -> None:
    ended = search(tmp_path / "s", "failing", pruner={"kind": "none"})
    assert ended.exit_code == 0
    record = check_study(tmp_path / "s", trials=8, epochs=9)
    by_number = {trial.number: (trial.state, trial.kind, trial.reason) for trial in record.trials}
    assert by_number[4] == ("complete", None, None)
    assert by_number[1] == ("failed", "exception", "RuntimeError: no such kernel")
    assert by_number[2] == ("failed", "numeric", "val_ssim is nan at epoch 2")
    assert by_number[7] == ("failed", "memory", "MemoryError: CUDA out of memory")
    assert [trial.last_epoch for trial in record.trials[1:4]] == [1, 1, 1]
    traceback = (tmp_path / "s" / "logs" / "trial-1.txt").read_text()
    assert "in two lines" in traceback
    assert record.trials[0].epochs[1]["val_psnr"] is None, "JSON has no infinity"
    assert json.loads((tmp_path / "s" / "ledger.jsonl").read_text().splitlines()[0])


def test_training_that_ends_early_is_a_failure(search: SearchRunner, tmp_path: Path) -> None:
    search(tmp_path / "s", "short", trials=2, pruner={"kind": "none"})
    record = check_study(tmp_path / "s", trials=2, epochs=9)
    assert {trial.reason for trial in record.trials} == {"training ended before epoch 9"}


def test_missing_data_stop_the_search_and_the_same_search_goes_on_when_they_are_back(
    search: SearchRunner, tmp_path: Path
) -> None:
    ended = search(tmp_path / "s", "without_data", trials=3)
    assert (ended.exit_code, ended.error) == (7, "datasets/x: bone.npy is missing")
    assert {trial.state for trial in read_study(tmp_path / "s").trials} == {"running"}
    assert search(tmp_path / "s", "rising", trials=3).exit_code == 0
    check_study(tmp_path / "s", trials=3, epochs=9)


def test_more_trials_continue_a_finished_search(search: SearchRunner, tmp_path: Path) -> None:
    search(tmp_path / "s", "rising", trials=3)
    first = check_study(tmp_path / "s", trials=3, epochs=9)
    search(tmp_path / "s", "rising", trials=5)
    record = check_study(tmp_path / "s", trials=5, epochs=9)
    assert record.trials[:3] == first.trials
    assert record.space["trials"] == 5

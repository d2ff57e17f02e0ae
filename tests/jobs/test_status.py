"""What `status` tells of ledgers whose counts and times are known."""

import json
import os
from pathlib import Path
from typing import get_args

import pytest

from dexsearch.errors import ConfigurationError
from dexsearch.jobs.status import _SETBACKS, study_status, summarise
from dexsearch.jobs.time_left import most_at_once, time_left
from dexsearch.ledger.log import EventLog
from dexsearch.ledger.study import LEDGER_NAME, StudyRecord, study_from_events
from dexsearch.search.lease import study_lease
from dexsearch.search.process_identity import ProcessIdentity
from dexsearch.search.retries import Setback

Event = dict[str, object]
SPACE = {
    "objective": "val_ssim", "trials": 6, "epochs": 10,
    "pruner": {"kind": "median", "min_epochs": 4, "immune_every": 0},
}  # fmt: skip


def trial_events(
    number: int, epochs: int, state: str | None, *, started: float = 0.0, ended: float = 100.0
) -> list[Event]:
    """Each epoch takes 6 s and scores 0.1 more per trial and 0.01 more per epoch."""
    events: list[Event] = [
        {"event": "trial_started", "trial": number, "params": {}, "config": {}, "immune": False,
         "enqueued": False, "time": started}
    ]  # fmt: skip
    for epoch in range(1, epochs + 1):
        record = {"epoch": epoch, "val_ssim": 0.1 * number + 0.01 * epoch, "seconds": 6.0}
        events.append({"event": "epoch", "trial": number, "record": record, "time": started})
    if state is not None:
        events.append({"event": "trial_ended", "trial": number, "state": state, "time": ended})
    return events


def study_events(*trials: list[Event], space: dict[str, object] | None = None) -> list[Event]:
    first: Event = {
        "event": "study", "study": "ribs", "space": space or SPACE, "task": "bone",
        "dataset": "d", "dataset_digest": "d" * 64, "metric": 1, "time": 0.0,
    }  # fmt: skip
    return [first, *(event for events in trials for event in events)]


def study(*trials: list[Event], space: dict[str, object] | None = None) -> StudyRecord:
    return study_from_events(study_events(*trials, space=space), Path("ribs"))


HALF_DONE = (
    trial_events(0, 10, "complete"),
    trial_events(1, 4, "pruned", ended=50.0),
    trial_events(2, 6, None, started=50.0),
    trial_events(3, 0, None, started=100.0),
)


def half_done() -> StudyRecord:
    return study(*HALF_DONE)


def test_what_is_left_follows_from_how_far_trials_came() -> None:
    """Two new ones and trial 3 like the mean of 10 and 4; trial 2 like the one beyond epoch 6."""
    left = time_left(half_done())
    assert left.epochs == 2 * 7 + 7 + (10 - 6)
    assert left.at_once == 2, "each begins when another one ends"
    assert left.hours == pytest.approx(25 * 6.0 / 2 / 3600)


def test_trials_that_ended_at_a_limit_before_any_epoch_count_for_those_to_come() -> None:
    """Half of them never train, so the two that are left train 5 epochs on average."""
    trials = [trial_events(n, n % 2 * 10, "complete" if n % 2 else "pruned") for n in range(4)]
    assert time_left(study(*trials)).epochs == 2 * 5


def test_if_no_trial_has_trained_the_others_are_expected_to_survive() -> None:
    assert time_left(study(trial_events(0, 0, "pruned"))).epochs == 5 * 10


def test_before_the_first_end_every_trial_is_expected_to_survive() -> None:
    left = time_left(study(trial_events(0, 2, None)))
    assert (left.epochs, left.at_once) == (8 + 5 * 10, 1)


def test_the_last_trial_cannot_use_more_than_its_own_place() -> None:
    done = [trial_events(n, 10, "complete") for n in range(5)]
    left = time_left(study(*done, trial_events(5, 5, None, started=100.0)))
    assert (left.epochs, left.at_once) == (5, 5)
    assert left.hours == pytest.approx(5 * 6.0 / 3600)


def test_a_search_that_has_ended_has_nothing_left() -> None:
    left = time_left(study(*(trial_events(n, 10, "complete") for n in range(6))))
    assert (left.epochs, left.hours) == (0, 0.0)
    assert "left:" not in str(summarise(study(*(trial_events(n, 1, "failed") for n in range(6)))))


def test_without_a_timed_epoch_no_time_is_invented() -> None:
    status = summarise(study(trial_events(0, 0, None)))
    assert status.left.hours is None
    assert "left: about 60 epochs; none was timed yet" in str(status)


def test_trials_that_follow_each_other_are_not_at_once() -> None:
    one = trial_events(0, 1, "complete", started=0, ended=5)
    assert most_at_once(study(one, trial_events(1, 1, None, started=5)).trials) == 1
    assert most_at_once(study(one, trial_events(1, 1, None, started=4)).trials) == 2
    assert most_at_once(()) == 0


def test_text_has_running_trials_the_best_the_time_left_and_the_audit() -> None:
    lines = str(summarise(half_done())).splitlines()
    assert lines[:6] == [
        "study ribs (bone): 4 of 6 trials, 1 complete, 1 pruned, 0 failed, 2 running",
        "best: trial 0 with val_ssim 0.1000",
        "epochs trained: 20 in " + lines[2].partition(" in ")[2],
        "running: trial 2: epoch 6 of 10, 0.2600",
        "running: trial 3: epoch 0 of 10",
        "left: about 25 epochs, 1.2 minutes while it runs (2 trials at once, pruned as often as "
        "so far)",
    ]
    assert lines[6].startswith("pruning (median): 1 pruned, 6 of 20 epochs saved (30%)")


def test_what_had_to_begin_again_is_counted_by_its_kind() -> None:
    again = {"event": "trial_continued", "trial": 0, "kind": "hung", "reason": "silent", "time": 1}
    by_hand = {"event": "trial_continued", "trial": 0, "time": 2}
    status = summarise(study([*trial_events(0, 3, None), again, again, by_hand]))
    assert "begun again from checkpoints: 2 x hung" in str(status).splitlines()
    assert status.as_json()["setbacks"] == {"hung": 2}


def test_json_has_the_released_keys_and_the_audit() -> None:
    shown = summarise(half_done()).as_json()
    assert json.loads(json.dumps(shown, allow_nan=False)) == shown
    assert shown["trials"] == {"complete": 1, "pruned": 1, "failed": 0, "running": 2}
    assert (shown["best_trial"], shown["wanted"], shown["epochs_done"]) == (0, 6, 20)
    assert shown["running"][0] == {
        "trial": 2, "epoch": 6, "epochs": 10, "value": pytest.approx(0.26),
    }  # fmt: skip
    assert (shown["epochs_left"], shown["audit"]["epochs_saved"]) == (25, 6)


def test_a_score_that_is_not_finite_is_no_score() -> None:
    broken = trial_events(0, 1, None)
    broken[1]["record"] = {"epoch": 1, "val_ssim": float("nan"), "seconds": 1.0}
    assert summarise(study(broken)).running[0].value is None


def test_a_ledger_of_an_older_version_is_summarised() -> None:
    """Its space names neither epochs nor pruner."""
    bare = study(trial_events(0, 3, "complete"), space={"objective": "val_ssim", "trials": 1})
    assert "pruning: none" in str(summarise(bare))


def test_an_unknown_study_is_told_which_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no study 'ribs' in .*; there is none yet"):
        study_status(tmp_path, "ribs")


def test_a_study_that_nobody_writes_is_told_as_interrupted(tmp_path: Path) -> None:
    with EventLog(tmp_path / "studies" / "ribs" / LEDGER_NAME) as log:
        for event in study_events(*HALF_DONE):
            log.append(event)
        assert study_status(tmp_path, "ribs").live
        assert "2 running" in str(study_status(tmp_path, "ribs"))
    stopped = study_status(tmp_path, "ribs")
    assert stopped.as_json()["live"] is False
    assert "0 failed, 2 interrupted" in str(stopped)
    assert "interrupted: trial 2: epoch 6 of 10" in str(stopped)
    assert "no process works on it; the same command continues it" in str(stopped)


def test_a_study_tells_who_holds_it_and_a_suspended_one_how_to_take_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "studies" / "ribs"
    with (
        study_lease(folder, takeover=False, tell=lambda text: None),
        EventLog(folder / LEDGER_NAME) as log,
    ):
        for event in study_events(*HALF_DONE):
            log.append(event)
        status = study_status(tmp_path, "ribs")
        assert f"(process {os.getpid()}, since" in str(status)
        assert status.as_json()["holder"]["pid"] == os.getpid()
        monkeypatch.setattr(ProcessIdentity, "life", lambda process: "suspended")
        told = str(study_status(tmp_path, "ribs"))
        assert "is suspended; the same command with --takeover continues it" in told
        monkeypatch.setattr(ProcessIdentity, "life", lambda process: "dead")
        told = str(study_status(tmp_path, "ribs"))
        assert "no process works on it; the same command continues it" in told
    assert study_status(tmp_path, "ribs").as_json()["holder"] is None


def test_every_setback_has_words_of_its_own() -> None:
    assert set(_SETBACKS) == set(get_args(Setback))

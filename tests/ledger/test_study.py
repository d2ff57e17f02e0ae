import time
from pathlib import Path

import pytest

from dexsearch.errors import ConfigurationError, DataError
from dexsearch.ledger.log import Event, EventLog
from dexsearch.ledger.studies import list_studies, read_studies, study_folder
from dexsearch.ledger.study import (
    LEDGER_NAME,
    read_study,
)

STUDY: Event = {
    "event": "study",
    "study": "ribs",
    "space": {"objective": "val_ssim_bone", "trials": 3},
    "task": "bone",
    "dataset": "datasets/phantom",
    "dataset_digest": "d1",
    "metric": 1,
    "size_px": [64, 64],
}


def started(number: int, **more: object) -> Event:
    event = {"event": "trial_started", "trial": number, "params": {"a": number}, "config": {}}
    return {**event, "immune": False, "enqueued": False, **more}


def epoch(trial: int, number: int, value: float) -> Event:
    record = {"epoch": number, "val_ssim_bone": value}
    return {"event": "epoch", "trial": trial, "record": record}


def ended(trial: int, state: str, **more: object) -> Event:
    return {"event": "trial_ended", "trial": trial, "state": state, **more}


def write(folder: Path, events: list[Event]) -> None:
    with EventLog(folder / LEDGER_NAME) as log:
        for event in events:
            log.append(event, sync=False)


def test_a_record_is_the_fold_of_its_events(tmp_path: Path) -> None:
    write(
        tmp_path,
        [
            STUDY,
            started(0, immune=True),
            started(1),
            epoch(0, 1, 0.5),
            epoch(1, 1, 0.4),
            {"event": "would_prune", "trial": 0, "epoch": 1},
            ended(1, "pruned", reason="below the median", kind=None, checkpoint=None),
            epoch(0, 2, 0.7),
            ended(0, "complete", reason=None, kind=None, checkpoint="trials/0/00002"),
            started(2, enqueued=True),
        ],
    )
    study = read_study(tmp_path)
    assert (study.name, study.objective, study.size_px) == ("ribs", "val_ssim_bone", (64, 64))
    assert [trial.state for trial in study.trials] == ["complete", "pruned", "running"]
    first, second, third = study.trials
    assert (first.would_prune_at, first.last_epoch, first.value_at(2, "val_ssim_bone")) == (
        1,
        2,
        0.7,
    )
    assert study.checkpoint_location(first) == str(tmp_path / "trials/0/00002")
    assert second.reason == "below the median"
    assert third.enqueued
    assert third.ended is None
    assert third.last_epoch == 0


def test_a_repeated_event_changes_nothing(tmp_path: Path) -> None:
    events = [STUDY, started(0), epoch(0, 1, 0.5), ended(0, "complete")]
    again = [started(0, params={"a": 9}), epoch(0, 1, 0.9), ended(0, "failed")]
    write(tmp_path, events + again)
    (trial,) = read_study(tmp_path).trials
    assert (trial.params, trial.epochs[1]["val_ssim_bone"]) == ({"a": 0}, 0.5)
    assert trial.state == "complete"


def test_the_last_study_event_counts_so_that_a_search_can_be_extended(tmp_path: Path) -> None:
    write(tmp_path, [STUDY, {**STUDY, "space": {"objective": "val_ssim", "trials": 9}}])
    assert read_study(tmp_path).space["trials"] == 9


def test_the_ranking_holds_complete_trials_by_their_final_value(tmp_path: Path) -> None:
    events = [STUDY]
    for number, (state, values) in enumerate(
        [("complete", [0.9, 0.5]), ("complete", [0.1, 0.6]), ("pruned", [0.99]), ("failed", [])]
    ):
        events.append(started(number))
        events += [epoch(number, e, value) for e, value in enumerate(values, start=1)]
        events.append(ended(number, state))
    write(tmp_path, events)
    assert [trial.number for trial in read_study(tmp_path).ranking()] == [1, 0]


def test_a_folder_without_a_ledger_is_refused_with_the_command_that_starts_a_study(
    tmp_path: Path,
) -> None:
    with pytest.raises(ConfigurationError, match="no study in") as refused:
        read_study(tmp_path)
    assert "dexsearch tune" in (refused.value.hint or "")


def test_studies_are_listed_newest_first(tmp_path: Path) -> None:
    for name in ("old", "new"):
        write(tmp_path / "studies" / name, [STUDY])
        time.sleep(0.02)
    assert list_studies(tmp_path) == ("new", "old")
    assert list_studies(tmp_path / "elsewhere") == ()


def test_replicates_stand_for_what_they_replicate_where_no_study_is_named(tmp_path: Path) -> None:
    for name in ("ribs", "other", "ribs.replicates"):
        write(tmp_path / "studies" / name, [STUDY])
        time.sleep(0.02)
    assert study_folder(tmp_path, None).name == "ribs"
    assert study_folder(tmp_path, "ribs.replicates").name == "ribs.replicates"
    write(tmp_path / "studies" / "gone.replicates", [STUDY])
    assert study_folder(tmp_path, None).name == "ribs", "what has no source is meant by name alone"


def test_fifty_thousand_epochs_are_read_whole(tmp_path: Path) -> None:
    write(tmp_path, [STUDY, *(started(number) for number in range(900))])
    lines = "".join(
        f'{{"event":"epoch","trial":{trial},"record":{{"epoch":{e},"val_ssim_bone":0.5,'
        f'"val_ssim":0.5,"val_psnr":20.0,"seconds":1.5}},"time":1.7e9}}\n'
        for trial in range(900)
        for e in range(1, 61)
    )
    with (tmp_path / LEDGER_NAME).open("a") as file:
        file.write(lines)
    study = read_study(tmp_path)
    assert sum(len(trial.epochs) for trial in study.trials) == 54_000


@pytest.mark.parametrize("kept", [(0, 2, 3), (0, 1, 3, 4), (1, 2)])
def test_a_deleted_line_is_told_with_its_ledger(tmp_path: Path, kept: tuple[int, ...]) -> None:
    events = [
        STUDY,
        started(0),
        epoch(0, 1, 0.5),
        ended(0, "complete"),
        {"event": "epoch", "trial": 0, "record": {"val_ssim_bone": 0.5}},
    ]
    write(tmp_path, [events[index] for index in kept])
    with pytest.raises(DataError, match=r"ledger.jsonl:\d: an event cannot be read"):
        read_study(tmp_path)


def test_a_line_that_is_no_event_is_told(tmp_path: Path) -> None:
    write(tmp_path, [STUDY])
    ledger = tmp_path / LEDGER_NAME
    ledger.write_text(ledger.read_text() + "5\n")
    with pytest.raises(DataError, match=r"ledger.jsonl:2"):
        read_study(tmp_path)


def test_a_complete_trial_without_epochs_is_not_ranked(tmp_path: Path) -> None:
    write(tmp_path, [STUDY, started(0), ended(0, "complete")])
    assert read_study(tmp_path).ranking() == ()


def test_a_study_keeps_the_time_of_its_first_event(tmp_path: Path) -> None:
    write(tmp_path, [STUDY])
    begun = read_study(tmp_path).begun
    time.sleep(0.01)
    write(tmp_path, [STUDY])
    assert read_study(tmp_path).begun == begun > 0


def test_studies_that_cannot_be_read_are_passed_over_and_told(tmp_path: Path) -> None:
    for name in ("good", "damaged", "new"):
        write(tmp_path / "studies" / name, [STUDY] if name == "good" else [])
    write(tmp_path / "studies" / "damaged", [STUDY, epoch(0, 1, 0.5)])
    told: list[str] = []
    (study,) = read_studies(tmp_path, told.append)
    assert study.folder.name == "good"
    (line,) = told
    assert line.startswith("study 'damaged' is passed over: ")

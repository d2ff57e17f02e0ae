"""What the driver is told of Tune's errors, and which actors Tune may use again; no Ray starts."""

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dexsearch.search.actor import ASSIGNMENT, REPORT
from dexsearch.search.bridge import Bridge, StudyScheduler
from dexsearch.search.driver import StudyDriver
from dexsearch.search.losses import told_loss
from dexsearch.search.packing import n_concurrent
from dexsearch.search.ray_cluster import scratch_folder
from dexsearch.search.trial import Assignment, Failure, FailureKind, Record, Report

HEAD = "Failure # {} (occurred at 2026-01-01_00-00-00)\n"
DIED = "The actor died unexpectedly before finishing this task.\n\tclass_name: TrialActor\n"
IN_SETUP = (
    "The actor died because of an error raised in its creation task, ray::TrialActor\n"
    "Traceback\nImportError: no module named dexsearch\n"
)
RAISED = "ray::TrialActor.train()\nTraceback\nOSError: [Errno 28] No space left\n"


def no_trials(assignment: Assignment) -> Iterator[Record]:
    raise AssertionError(f"trial {assignment.number} was run")
    yield {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (HEAD.format(1) + DIED, "its process was lost"),
        (HEAD.format(1) + IN_SETUP, "its process raised ImportError: no module named dexsearch"),
        (HEAD.format(1) + RAISED, "its process raised OSError: [Errno 28] No space left"),
        (HEAD.format(1) + RAISED + HEAD.format(2) + DIED, "its process was lost"),
        (HEAD.format(1) + "\n", "its process was lost"),
        ("", "its process was lost"),
    ],
)
def test_the_newest_error_is_told_from_its_text(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "error.txt").write_text(text)
    (tmp_path / "error.pkl").write_bytes(b"not a pickle")
    trial = SimpleNamespace(
        error_file=str(tmp_path / "error.txt"), pickled_error_file=str(tmp_path / "error.pkl")
    )
    assert told_loss(cast("Any", trial)) == ("start" if "raised" in told else "lost", told)


@pytest.mark.parametrize("error_file", [None, "/nowhere/error.txt"])
def test_a_missing_error_file_is_a_lost_process(error_file: str | None) -> None:
    trial = SimpleNamespace(error_file=error_file)
    assert told_loss(cast("Any", trial)) == ("lost", "its process was lost")


@pytest.mark.parametrize(
    ("kind", "kept"),
    [("exception", False), ("memory", False), ("numeric", True), ("configuration", True)],
)
def test_an_actor_that_raised_is_not_used_again(kind: FailureKind, kept: bool) -> None:
    driver = SimpleNamespace(on_report=lambda report: True)
    controller = SimpleNamespace(_started_actors={"actor"}, _trial_to_actor={"trial": "actor"})
    scheduler = StudyScheduler(Bridge(cast("StudyDriver", driver), no_trials))
    result = {REPORT: Report(0, failure=Failure(kind, "why"), last=True)}
    scheduler.on_trial_complete(controller, cast("Any", "trial"), result)
    assert bool(controller._started_actors) == kept


@pytest.mark.parametrize(
    ("slots", "trials", "at_once"),
    [(16, 12, 4), (2, 12, 2), (1, 12, 1), (16, 3, 2), (16, 1, 1)],
)
def test_on_one_machine_at_most_a_third_of_the_trials_run_at_once(
    slots: int, trials: int, at_once: int
) -> None:
    assert n_concurrent(slots, trials) == at_once


def test_with_a_long_temporary_folder_sockets_go_below_tmp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 60)
    long.mkdir()
    for wanted, parent in ((str(long), "/tmp"), ("/tmp", "/tmp"), ("/var/tmp", "/var/tmp")):
        monkeypatch.setattr("dexsearch.search.ray_cluster.tempfile.gettempdir", lambda w=wanted: w)
        folder = Path(scratch_folder())
        folder.rmdir()
        assert str(folder.parent) == parent
        stamp = time.strftime("session_%Y-%m-%d_%H-%M-%S_123456_1234567")
        assert len(str(folder / stamp / "sockets" / "plasma_store.1")) <= 107


def test_a_waiting_trial_is_named_to_tune_once_each_time_it_is_added() -> None:
    driver = SimpleNamespace(watchdog=SimpleNamespace(silent=list))
    scheduler = StudyScheduler(Bridge(cast("StudyDriver", driver), no_trials))
    controller = SimpleNamespace(get_live_trials=set)
    waiting, running = (
        cast("Any", SimpleNamespace(
            status=status, config={ASSIGNMENT: Assignment(0, {}, 9, "")},
            placement_group_factory=SimpleNamespace(required_resources={"CPU": 1.0}),
        ))
        for status in ("PENDING", "RUNNING")
    )  # fmt: skip
    assert scheduler.choose_trial_to_run(controller) is None
    for _ in range(2):
        scheduler.on_trial_add(controller, running)
        scheduler.on_trial_add(controller, waiting)
        assert scheduler.choose_trial_to_run(controller) is waiting
        assert scheduler.choose_trial_to_run(controller) is None

"""A search that is interrupted anywhere is the same search when it is run again."""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from invented_curves import FUNCTIONS, rising
from searching import check_study, search_here, space_with

from dexsearch.errors import ConfigurationError, StudyBusy
from dexsearch.ledger.log import Event, EventLog, read_events
from dexsearch.ledger.study import read_study
from dexsearch.search.displays import PlainProgress
from dexsearch.search.in_process import InProcessBackend
from dexsearch.search.progress import SilentProgress
from dexsearch.search.site import Site
from dexsearch.search.study import run_study
from dexsearch.search.trial import Assignment, Record
from dexsearch.training.checkpoint_store import checkpoint_store
from dexsearch.training.checkpoint_writer import CheckpointWriter

PRUNER = {"min_epochs": 1, "reduction": 2, "immune_every": 4}
SMALL: dict[str, object] = {"trials": 6, "epochs": 4, "pruner": PRUNER}


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the search handles it."""


def params_of(folder: Path) -> list[dict[str, object]]:
    return [trial.params for trial in read_study(folder).trials]


def kill_at(monkeypatch: pytest.MonkeyPatch, countdown: int, *, written: bool) -> None:
    """Die at the event of the ledger with this number, before or after it is written."""
    append = EventLog.append
    left = [countdown]

    def dying(self: EventLog, event: Event, *, sync: bool = True) -> Event:
        left[0] -= 1
        if left[0] == 0 and not written:
            raise Killed
        done = append(self, event, sync=sync)
        if left[0] == 0:
            raise Killed
        return done

    monkeypatch.setattr(EventLog, "append", dying)


def die_and_continue(
    folder: Path, monkeypatch: pytest.MonkeyPatch, at: int, *, written: bool, slots: int,
    patience: float = 0.0, **changes: object,
) -> None:  # fmt: skip
    asked = SMALL | changes
    with monkeypatch.context() as patched:
        kill_at(patched, at, written=written)
        with pytest.raises(Killed):
            search_here(folder, rising, slots=slots, patience=patience, **asked)  # type: ignore[arg-type]
    search_here(folder, rising, slots=slots, patience=patience, **asked)  # type: ignore[arg-type]
    check_study(folder, trials=6, epochs=4)


def ends_as(folder: Path) -> list[tuple[object, ...]]:
    """What two searches must agree on; a checkpoint's folder is inside each."""
    return [
        (trial.params, trial.config, trial.state, trial.epochs, trial.would_prune_at)
        for trial in read_study(folder).trials
    ]


@pytest.mark.parametrize(
    ("pruner", "written", "patience"),
    [
        pytest.param("successive_halving", True, 0.0, marks=pytest.mark.slow),
        pytest.param("successive_halving", False, 1e9, marks=pytest.mark.slow),
        pytest.param("median", True, 1e9, marks=pytest.mark.slow),
    ],
)
def test_killed_at_any_event_a_search_ends_as_if_never_killed(
    pruner: str, written: bool, patience: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"pruner": {**PRUNER, "kind": pruner}}
    search_here(tmp_path / "whole" / "s", rising, slots=1, **SMALL | changes)  # type: ignore[arg-type]
    whole = ends_as(tmp_path / "whole" / "s")
    assert "pruned" in {trial[2] for trial in whole}
    if pruner == "successive_halving":
        assert any(trial[4] for trial in whole), "no immune trial is doomed"
    for at in range(1, len(read_events(tmp_path / "whole" / "s" / "ledger.jsonl")) + 1):
        folder = tmp_path / str(at) / "s"
        die_and_continue(
            folder, monkeypatch, at, written=written, slots=1, patience=patience, **changes
        )
        assert ends_as(folder) == whole, f"killed at event {at}"


@pytest.mark.parametrize("kind", ["successive_halving", "hyperband", "median", "none"])
def test_a_search_is_the_same_however_many_epochs_a_report_carries(
    kind: str, tmp_path: Path
) -> None:
    """Nothing that was trained after a verdict gets into the ledger."""
    changes = SMALL | {"trials": 12, "pruner": {**PRUNER, "kind": kind}}
    for name, patience in (("one", 0.0), ("all", 1e9)):
        search_here(tmp_path / name / "s", rising, slots=1, patience=patience, **changes)  # type: ignore[arg-type]
    assert ends_as(tmp_path / "one" / "s") == ends_as(tmp_path / "all" / "s")
    check_study(tmp_path / "all" / "s", trials=12, epochs=4)
    if kind == "successive_halving":  # its later rungs lie inside a report
        assert read_study(tmp_path / "all" / "s").in_state("pruned")
        ahead = [
            trial.number
            for trial in read_study(tmp_path / "all" / "s").in_state("pruned")
            if (tmp_path / f"all/s/trials/{trial.number}/{trial.last_epoch + 1:05d}").exists()
        ]
        assert ahead, "no verdict found more epochs trained"


@pytest.mark.slow
@pytest.mark.parametrize("written", [False, True])
def test_two_trials_at_a_time_a_search_may_be_killed_at_every_single_event(
    written: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search_here(tmp_path / "s", rising, slots=2, **SMALL)  # type: ignore[arg-type]
    n_events = len(read_events(tmp_path / "s" / "ledger.jsonl"))
    for at in range(1, n_events + 1):
        die_and_continue(tmp_path / str(at), monkeypatch, at, written=written, slots=2)


def test_unfinished_trials_are_handed_out_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        kill_at(patched, 6, written=True)
        with pytest.raises(Killed):
            search_here(tmp_path / "s", rising)
    unfinished = [trial.number for trial in read_study(tmp_path / "s").in_state("running")]
    assert unfinished == [0, 1]
    handed_out: list[int] = []

    def watched(assignment: Assignment) -> Iterator[Record]:
        handed_out.append(assignment.number)
        yield from rising(assignment)

    search_here(tmp_path / "s", watched)
    assert handed_out[:2] == [0, 1]
    assert sorted(handed_out) == list(range(8))
    trained = (tmp_path / "s" / "trials" / "0" / "trained.txt").read_text().split()
    assert trained == sorted(set(trained)), "no epoch with a checkpoint is trained twice"


def test_nothing_is_left_to_do_for_the_same_command_or_fewer_trials(tmp_path: Path) -> None:
    search_here(tmp_path / "s", rising, trials=4)
    before = (tmp_path / "s" / "ledger.jsonl").read_bytes()

    def never(assignment: Assignment) -> Iterator[Record]:
        raise AssertionError("a trial was handed out")

    assert len(search_here(tmp_path / "s", never, trials=4).record.trials) == 4
    assert (tmp_path / "s" / "ledger.jsonl").read_bytes() == before
    assert len(search_here(tmp_path / "s", never, trials=2).record.trials) == 4


def test_a_changed_search_is_refused_and_leaves_the_study_alone(tmp_path: Path) -> None:
    search_here(tmp_path / "s", rising, trials=2)
    before = (tmp_path / "s" / "ledger.jsonl").read_bytes()
    with pytest.raises(ConfigurationError, match=r"epochs 9 -> 10"):
        search_here(tmp_path / "s", rising, trials=2, epochs=10)
    with pytest.raises(ConfigurationError, match=r"data digest -> another"):
        search_here(tmp_path / "s", rising, trials=2, digest="another")
    assert (tmp_path / "s" / "ledger.jsonl").read_bytes() == before


def test_a_second_search_on_the_same_study_is_refused(tmp_path: Path) -> None:
    with (
        EventLog(tmp_path / "s" / "ledger.jsonl"),
        pytest.raises(StudyBusy, match=f"process {os.getpid()}"),
    ):
        search_here(tmp_path / "s", rising)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_after_one_signal_the_search_stops_at_the_next_reports_and_can_be_continued(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    def interrupting(assignment: Assignment) -> Iterator[Record]:
        for record in rising(assignment):
            if assignment.number == 1 and record["epoch"] == 2:
                os.kill(os.getpid(), number)
            yield record

    outcome = search_here(tmp_path / "s", interrupting, pruner={"kind": "none"})
    assert (outcome.interrupted, outcome.at_once) == (code, False)
    assert [trial.last_epoch for trial in outcome.record.trials] == [3, 2]
    assert {trial.state for trial in outcome.record.trials} == {"running"}
    assert search_here(tmp_path / "s", rising, pruner={"kind": "none"}).interrupted is None
    check_study(tmp_path / "s", trials=8, epochs=9)


def test_after_two_signals_it_stops_at_once(tmp_path: Path) -> None:
    def impatient(assignment: Assignment) -> Iterator[Record]:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        yield from rising(assignment)

    outcome = search_here(tmp_path / "s", impatient)
    assert (outcome.interrupted, outcome.at_once) == (130, True)
    search_here(tmp_path / "s", rising)
    check_study(tmp_path / "s", trials=8, epochs=9)


class Clock:
    """A clock that only moves when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_once_the_time_is_over_trials_stop_at_their_next_report_and_can_be_continued(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()

    def lasting(assignment: Assignment) -> Iterator[Record]:
        for record in rising(assignment):
            clock.now += 1.0
            yield record

    unpruned = {"pruner": {"kind": "none"}}
    outcome = search_here(
        tmp_path / "s", lasting, time_s=5.0, clock=clock,
        progress=PlainProgress(sys.stderr), **unpruned,  # type: ignore[arg-type]
    )  # fmt: skip
    assert (outcome.out_of_time, outcome.interrupted) == (True, None)
    assert [trial.last_epoch for trial in outcome.record.trials] == [3, 3]
    assert {trial.state for trial in outcome.record.trials} == {"running"}
    assert "the time is over; the same command continues" in capsys.readouterr().err
    outcome = search_here(tmp_path / "s", lasting, time_s=1e9, clock=clock, **unpruned)  # type: ignore[arg-type]
    assert not outcome.out_of_time
    check_study(tmp_path / "s", trials=8, epochs=9)


def test_without_any_time_nothing_is_handed_out_and_a_finished_search_is_not_out_of_time(
    tmp_path: Path,
) -> None:
    clock = Clock()
    assert search_here(tmp_path / "s", rising, time_s=0.0, clock=clock).out_of_time
    assert read_study(tmp_path / "s").trials == ()
    search_here(tmp_path / "s", rising, trials=2)
    assert not search_here(tmp_path / "s", rising, trials=2, time_s=0.0, clock=clock).out_of_time


def test_time_that_ends_with_the_last_report_was_enough(tmp_path: Path) -> None:
    clock = Clock()

    def lasting(assignment: Assignment) -> Iterator[Record]:
        for record in rising(assignment):
            clock.now += 1.0
            yield record

    outcome = search_here(tmp_path / "s", lasting, trials=1, time_s=9.0, clock=clock)
    assert not outcome.out_of_time
    check_study(tmp_path / "s", trials=1, epochs=9)


def test_enqueued_trials_come_first_as_given_and_are_not_immune(tmp_path: Path) -> None:
    enqueue = [{"generator.depth": 4, "optimizer.learning_rate": 0.005}, {"generator.depth": 2}]
    search_here(tmp_path / "s", rising, slots=1, enqueue=enqueue)
    record = check_study(tmp_path / "s", trials=8, epochs=9)
    assert record.trials[0].params["optimizer.learning_rate"] == 0.005
    assert [trial.params["generator.depth"] for trial in record.trials[:2]] == [4, 2]
    assert [trial.number for trial in record.trials if trial.enqueued] == [0, 1]
    assert not any(trial.immune for trial in record.trials[:2])


def test_immune_trials_are_doomed_in_the_record_and_trained_to_the_end(tmp_path: Path) -> None:
    search_here(tmp_path / "s", rising, trials=12, pruner={"min_epochs": 1, "immune_every": 2})
    record = check_study(tmp_path / "s", trials=12, epochs=9)
    doomed = [trial for trial in record.trials if trial.would_prune_at is not None]
    assert doomed
    assert {trial.state for trial in doomed} == {"complete"}
    assert all(trial.immune for trial in doomed)


def test_a_configuration_that_cannot_be_trained_costs_one_trial_and_no_epoch(
    tmp_path: Path,
) -> None:
    search = {
        "loss.adversarial": {"choice": ["lsgan", "none"]},
        "loss.l1_weight": {"choice": [0.0, 100.0]},
    }
    search_here(tmp_path / "s", rising_anything, search=search, trials=12)
    record = check_study(tmp_path / "s", trials=12, epochs=9)
    failed = record.in_state("failed")
    assert failed
    for trial in failed:
        assert (trial.kind, trial.epochs) == ("configuration", {})
        assert "leaves nothing to learn" in (trial.reason or "")


def rising_anything(assignment: Assignment) -> Iterator[Record]:
    for epoch in range(1, assignment.epochs + 1):
        yield {"epoch": epoch, "val_ssim": epoch / 100 + assignment.number / 10_000}


def test_an_objective_that_the_head_lacks_fails_with_the_reason(tmp_path: Path) -> None:
    search_here(tmp_path / "s", rising, objective="val_ssim_bone", trials=1)
    (trial,) = read_study(tmp_path / "s").trials
    assert (trial.state, trial.kind) == ("failed", "configuration")
    assert "no val_ssim_bone" in (trial.reason or "")


def test_storage_elsewhere_holds_the_checkpoints(tmp_path: Path) -> None:
    outcome = run_study(
        space_with(trials=1),
        study="ribs",
        folder=tmp_path / "studies" / "ribs",
        dataset=Path("x"),
        dataset_digest="d",
        size_px=(64, 64),
        site=Site(storage=str(tmp_path / "shared")),
        progress=SilentProgress(),
        backend=InProcessBackend(FUNCTIONS["rising"]),
    )
    (trial,) = outcome.record.trials
    weights = tmp_path / "shared" / "ribs" / "trials" / "0" / "00009"
    assert outcome.record.checkpoint_location(trial) == str(weights)
    assert weights.is_dir()


def saving(assignment: Assignment) -> Iterator[Record]:
    writer = CheckpointWriter(checkpoint_store(assignment.checkpoints))
    for record in rising_anything(assignment):
        writer.save(record["epoch"], {"weights": b"w"})
        yield record


def test_storage_behind_a_uri_holds_the_checkpoints_and_the_ledger_names_it(
    tmp_path: Path,
) -> None:
    outcome = run_study(
        space_with(trials=1),
        study="ribs",
        folder=tmp_path / "studies" / "ribs",
        dataset=Path("x"),
        dataset_digest="d",
        size_px=(64, 64),
        site=Site(storage=f"file://{tmp_path}/shared"),
        progress=SilentProgress(),
        backend=InProcessBackend(saving),
    )
    (trial,) = outcome.record.trials
    place = f"file://{tmp_path}/shared/ribs/trials/0"
    assert trial.checkpoint == outcome.record.checkpoint_location(trial) == f"{place}/00009"
    assert checkpoint_store(place).files(9) == {"weights": b"w"}
    assert not (tmp_path / "studies" / "ribs" / "trials").exists()


def test_workers_are_given_absolute_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given: list[str] = []

    def watched(assignment: Assignment) -> Iterator[Record]:
        given.append(assignment.checkpoints)
        yield from rising(assignment)

    search_here(Path("s"), watched, trials=1)
    assert given == [str(tmp_path / "s" / "trials" / "0")]


def test_the_display_hears_what_the_ledger_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search_here(tmp_path / "s", rising, trials=2, progress=PlainProgress(sys.stderr))
    lines = capsys.readouterr().err.splitlines()
    n_epochs = sum(len(trial.epochs) for trial in read_study(tmp_path / "s").trials)
    assert sum(" epoch " in line for line in lines) == n_epochs
    assert lines[-1].endswith("2/2 ended")


def test_what_training_warns_of_is_shown_with_its_trial(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def passing_over(assignment: Assignment) -> Iterator[Record]:
        logging.getLogger("dexsearch.training").warning("checkpoint passed over: %s", "00004")
        yield from rising(assignment)

    search_here(tmp_path / "s", passing_over, trials=1, progress=PlainProgress(sys.stderr))
    assert "trial 0: checkpoint passed over: 00004" in capsys.readouterr().err


def test_the_display_ends_with_what_a_trial_raised(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search_here(tmp_path / "s", FUNCTIONS["failing"], trials=2, progress=PlainProgress(sys.stderr))
    lines = capsys.readouterr().err.splitlines()
    last = [line for line in lines if line.startswith("trial 1: ")]
    assert last[-3:-1] == ["trial 1: RuntimeError: no such kernel", "trial 1: in two lines"]
    assert last[-1].endswith("trial-1.txt")
    assert len(last) == 5, "once when it begins again, and at the end"

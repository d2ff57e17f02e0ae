"""How often a trial is tried again, and what a search does about trials that fell."""

import errno
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from invented_curves import FUNCTIONS, rising
from searching import check_study, search_here, space_with

from dexsearch.errors import DexSearchError, EnvironmentFault, SearchFailed, StudyBusy
from dexsearch.ledger.log import Event, read_events
from dexsearch.ledger.study import read_study
from dexsearch.search.driver import StudyDriver
from dexsearch.search.progress import SilentProgress
from dexsearch.search.retries import MAX_LOSSES, MAX_NODE_LOSSES, Setback, Setbacks
from dexsearch.search.study import run_study
from dexsearch.search.trial import (
    Assignment,
    Failure,
    Record,
    Report,
    TrialFunction,
    TrialStepper,
    failure_of,
)
from dexsearch.training.checkpoint_store import SupersededError

NO_PRUNER = {"kind": "none"}


class ProcessLost(BaseException):
    """What a function raises in place of killing its process."""

    def __init__(self, setback: Setback = "lost") -> None:
        self.setback = setback


@dataclass
class LosingBackend:
    """Runs one trial after the other, and loses the process of each that says so."""

    function: TrialFunction
    pauses: list[float] = field(default_factory=list)

    def run(self, driver: StudyDriver) -> None:
        stepper = TrialStepper(self.function, patience=0)
        while True:
            driver.tick()
            if driver.must_wait:
                self.pauses.append(driver_pause(driver))
                continue
            assignment = driver.next_trial()
            if assignment is None:
                return
            stepper.begin(assignment)
            try:
                while not driver.on_report(report := stepper.step()) and not report.last:
                    pass
            except ProcessLost as lost:
                driver.lost(assignment, "its process was lost", lost.setback)
            stepper.close()


def driver_pause(driver: StudyDriver) -> float:
    """Let the waiting trials be due, and return for how long the next one had to wait."""
    waiting = driver._recovery._waiting
    not_before = min(entry[0] for entry in waiting)
    driver._recovery._waiting = [(0.0, trial) for _, trial in waiting]
    return round(not_before - time.monotonic())


def search(
    folder: Path,
    backend: LosingBackend,
    *,
    time_s: float | None = None,
    clock: Callable[[], float] = time.monotonic,
    **changes: object,
) -> None:
    run_study(
        space_with(pruner=NO_PRUNER, **changes), study=folder.name, folder=folder,
        dataset=Path("datasets/x"), dataset_digest="digest", size_px=(64, 64),
        progress=SilentProgress(), backend=backend, time_s=time_s, clock=clock,
    )  # fmt: skip


def losing(at: Callable[[Assignment, int], Setback | None]) -> TrialFunction:
    def function(assignment: Assignment) -> Iterator[Record]:
        for record in rising(assignment):
            if (setback := at(assignment, record["epoch"])) is not None:
                raise ProcessLost(setback)
            yield record

    return function


def continuations_told(folder: Path) -> list[Event]:
    events = read_events(folder / "ledger.jsonl")
    return [event for event in events if event["event"] == "trial_continued"]


def continuations(folder: Path) -> list[str]:
    events = read_events(folder / "ledger.jsonl")
    return [event["kind"] for event in events if event["event"] == "trial_continued"]


def test_a_process_lost_again_and_again_is_tried_later_and_later_and_then_given_up(
    tmp_path: Path,
) -> None:
    backend = LosingBackend(losing(lambda trial, epoch: "lost" if epoch == 3 else None))
    search(tmp_path / "s", backend, trials=1)
    (trial,) = check_study(tmp_path / "s", trials=1, epochs=9).trials
    assert (trial.state, trial.kind, trial.last_epoch) == ("failed", "infrastructure", 2)
    assert trial.reason == "its process was lost, again and again"
    assert continuations(tmp_path / "s") == ["lost"] * MAX_LOSSES
    assert backend.pauses == [2, 8], "at once the first time"


def test_who_gets_on_between_its_losses_is_never_given_up(tmp_path: Path) -> None:
    lost: set[int] = set()

    def once_an_epoch(trial: Assignment, epoch: int) -> Setback | None:
        if epoch in lost:
            return None
        lost.add(epoch)
        return "hung"

    backend = LosingBackend(losing(once_an_epoch))
    search(tmp_path / "s", backend, trials=1)
    assert check_study(tmp_path / "s", trials=1, epochs=9).in_state("complete")
    assert continuations(tmp_path / "s") == ["hung"] * 9
    assert backend.pauses == []
    assert read_study(tmp_path / "s").setbacks == {"hung": 9}


def test_a_lost_node_weighs_less_than_a_lost_process() -> None:
    setbacks = Setbacks()
    pauses = [setbacks.pause_s("node") for _ in range(MAX_NODE_LOSSES + 1)]
    assert pauses[:5] == [0, 2, 8, 30, 30]
    assert pauses[-1] is None
    assert setbacks.pause_s("lost") == 0, "its own process was not lost yet"
    assert MAX_NODE_LOSSES > MAX_LOSSES


def test_an_exception_is_forgiven_once(tmp_path: Path) -> None:
    search_here(tmp_path / "s", FUNCTIONS["raising_once"], trials=4, pruner=NO_PRUNER)
    record = check_study(tmp_path / "s", trials=4, epochs=9)
    assert len(record.in_state("complete")) == 4
    assert continuations(tmp_path / "s") == ["exception"] * 4
    trained = (tmp_path / "s" / "trials" / "0" / "trained.txt").read_text().split()
    assert trained == [str(epoch) for epoch in range(1, 10)], "it continues from its checkpoint"


@pytest.mark.parametrize(
    ("raised", "fault"),
    [
        (ModuleNotFoundError("No module named 'x', at 0x7f01"), SearchFailed),
        (None, EnvironmentFault),
    ],
)
def test_a_cause_in_common_stops_the_search_and_once_it_is_mended_nothing_is_lost(
    raised: Exception | None, fault: type[DexSearchError], tmp_path: Path
) -> None:
    def broken(assignment: Assignment) -> Iterator[Record]:
        if raised is not None:
            raise raised
        raise ProcessLost
        yield {}

    with pytest.raises(fault, match="trials 0, 1, 2 failed in the same way before their first"):
        search(tmp_path / "s", LosingBackend(broken), trials=8)
    assert {trial.state for trial in read_study(tmp_path / "s").trials} == {"running"}
    search(tmp_path / "s", LosingBackend(rising), trials=8)
    assert len(check_study(tmp_path / "s", trials=8, epochs=9).in_state("complete")) == 8


def test_a_failure_before_a_first_epoch_is_the_trials_own_if_others_get_under_way(
    tmp_path: Path,
) -> None:
    def even_ones_raise(assignment: Assignment) -> Iterator[Record]:
        if assignment.number % 2 == 0:
            raise RuntimeError(f"no kernel for trial {assignment.number}")
        yield from rising(assignment)

    search(tmp_path / "s", LosingBackend(even_ones_raise), trials=8)
    record = check_study(tmp_path / "s", trials=8, epochs=9)
    assert [trial.number for trial in record.in_state("failed")] == [0, 2, 4, 6]
    assert {trial.kind for trial in record.in_state("failed")} == {"exception"}


def test_too_few_failures_to_tell_are_the_trials_own_in_the_end(tmp_path: Path) -> None:
    search_here(tmp_path / "s", FUNCTIONS["never_begun"], trials=2)
    assert len(check_study(tmp_path / "s", trials=2, epochs=9).in_state("failed")) == 2


SAME_CAUSE = {
    "Ray's names": "raylet {} on node {} cannot be reached",
    "temporary names": "cannot load '/tmp/ray/{}/libcudnn.so.9': no such file",
    "hosts": "node-{0}.cluster: driver of {1} is too old",
    "addresses": "bad function at 0x{}",
}


@pytest.mark.parametrize("told", SAME_CAUSE.values(), ids=SAME_CAUSE)
def test_names_that_differ_from_node_to_node_do_not_hide_a_cause_in_common(
    told: str, tmp_path: Path
) -> None:
    def broken(assignment: Assignment) -> Iterator[Record]:
        name = "abcdefgh"[assignment.number] * 6 + str(assignment.number)
        raise RuntimeError(told.format(name, name[::-1]))
        yield {}

    with pytest.raises(SearchFailed, match="failed in the same way before their first"):
        search_here(tmp_path / "s", broken, slots=1, trials=8)


def test_a_process_that_cannot_begin_is_known_by_the_class_of_its_exception(
    tmp_path: Path,
) -> None:
    class Nodes:
        def run(self, driver: StudyDriver) -> None:
            while not driver.must_wait or driver_pause(driver) >= 0:
                assignment = driver.next_trial()
                assert assignment is not None
                host = ("alpha", "beta", "gamma")[assignment.number % 3]
                driver.lost(assignment, f"its process raised ImportError: none on {host}", "start")

    with pytest.raises(EnvironmentFault, match="trials 0, 1, 2 failed in the same way"):
        search(tmp_path / "s", Nodes(), trials=8)  # type: ignore[arg-type]


def test_whoever_gets_on_shows_that_what_every_trial_needs_is_there(tmp_path: Path) -> None:
    """Also where that one was under way long before the others failed."""
    going_on = TrialStepper(rising, patience=0)

    class OneOnAGoodNode:
        def run(self, driver: StudyDriver) -> None:
            first = driver.next_trial()
            assert first is not None
            going_on.begin(first)
            driver.on_report(going_on.step())
            for _ in range(5):
                other = driver.next_trial()
                assert other is not None
                for attempt in (0, 1):
                    failure = Failure("exception", "RuntimeError: a bad node")
                    driver.on_report(
                        Report(other.number, failure=failure, last=True, attempt=attempt)
                    )
                    if attempt == 0:
                        driver.next_trial()
                driver.on_report(going_on.step())
            while not driver.on_report(going_on.step()):
                pass

    search(tmp_path / "s", OneOnAGoodNode(), trials=6)  # type: ignore[arg-type]
    record = check_study(tmp_path / "s", trials=6, epochs=9)
    assert len(record.in_state("failed")) == 5


def test_a_trial_that_never_had_room_is_begun_by_the_next_search(tmp_path: Path) -> None:
    class Full:
        def run(self, driver: StudyDriver) -> None:
            assignment = driver.next_trial()
            assert assignment is not None
            driver.request_stop()
            driver.withdrawn(assignment)
            assert not driver.running
            driver.withdrawn(assignment)
            assert driver.next_trial() is None

    search(tmp_path / "s", Full(), trials=1)  # type: ignore[arg-type]
    assert continuations_told(tmp_path / "s") == []
    search(tmp_path / "s", LosingBackend(rising), trials=1)
    assert check_study(tmp_path / "s", trials=1, epochs=9).in_state("complete")


def test_the_clock_is_looked_at_while_trials_wait_for_room(tmp_path: Path) -> None:
    now = [0.0]

    class Full:
        def run(self, driver: StudyDriver) -> None:
            assert driver.next_trial() is not None
            now[0] = 100.0
            driver.tick()
            assert driver.stop_requested

    search(tmp_path / "s", Full(), time_s=60.0, clock=lambda: now[0], trials=1)  # type: ignore[arg-type]


def test_failures_of_different_kinds_have_no_cause_in_common(tmp_path: Path) -> None:
    def each_its_own(assignment: Assignment) -> Iterator[Record]:
        raise RuntimeError("abcdefgh"[assignment.number])
        yield {}

    search_here(tmp_path / "s", each_its_own, trials=8)
    assert len(check_study(tmp_path / "s", trials=8, epochs=9).in_state("failed")) == 8


def test_a_report_of_an_earlier_attempt_changes_nothing(tmp_path: Path) -> None:
    late: list[bool] = []

    class Zombie:
        def run(self, driver: StudyDriver) -> None:
            first = driver.next_trial()
            assert first is not None
            driver.lost(first, "its node was lost", "node")
            again = driver.next_trial()
            assert again is not None
            assert (again.number, again.attempt) == (first.number, first.attempt + 1)
            record = {"epoch": 1, "val_ssim": 0.1, "seconds": 0.0}
            late.append(driver.on_report(Report(first.number, (record,), attempt=first.attempt)))
            failure = Failure("numeric", "a zombie's")
            late.append(driver.on_report(Report(first.number, failure=failure, last=True)))
            driver.lost(first, "once more")
            stepper = TrialStepper(rising, patience=0)
            stepper.begin(again)
            while not driver.on_report(stepper.step()):
                pass

    search(tmp_path / "s", Zombie(), trials=1)  # type: ignore[arg-type]
    (trial,) = check_study(tmp_path / "s", trials=1, epochs=9).trials
    assert late == [True, True], "a zombie is told to stop"
    assert trial.state == "complete"
    assert continuations(tmp_path / "s") == ["node"]


def test_a_trial_superseded_while_the_study_is_ours_goes_on_with_a_higher_rank(
    tmp_path: Path,
) -> None:
    ranks: list[tuple[int, int]] = []

    def taken_over(assignment: Assignment) -> Iterator[Record]:
        ranks.append((assignment.token, assignment.attempt))
        for record in rising(assignment):
            if record["epoch"] == 4 and len(ranks) == 1:
                raise SupersededError("another writer", token=7)
            yield record

    search_here(tmp_path / "s", taken_over, trials=1)
    (trial,) = check_study(tmp_path / "s", trials=1, epochs=9).trials
    assert trial.state == "complete"
    assert continuations(tmp_path / "s") == ["lost"]
    assert ranks == [(1, 0), (8, 1)]


def test_who_was_taken_over_hands_out_nothing_and_leaves_the_superseded_trial_as_it_is(
    tmp_path: Path,
) -> None:
    lease = tmp_path / "s" / "lease"
    handed_out: list[int] = []

    def taken_over(assignment: Assignment) -> Iterator[Record]:
        handed_out.append(assignment.attempt)
        yield next(rising(assignment))
        (lease / "2.json").write_text((lease / "1.json").read_text().replace("1,", "2,", 1))
        raise SupersededError("another writer", token=2)

    with pytest.raises(StudyBusy, match="taken over"):
        search_here(tmp_path / "s", taken_over, trials=1)
    assert handed_out == [0]
    assert read_study(tmp_path / "s").trials[0].state == "running"
    assert continuations(tmp_path / "s") == []


@pytest.mark.parametrize("was_put_back", [True, False])
def test_no_trial_is_handed_out_that_was_put_back_before_a_takeover(
    was_put_back: bool, tmp_path: Path
) -> None:
    lease = tmp_path / "s" / "lease"

    class Suspended:
        def run(self, driver: StudyDriver) -> None:
            if was_put_back:
                first = driver.next_trial()
                assert first is not None
                driver.lost(first, "its node was lost", "node")
            (lease / "2.json").write_text("{}")
            driver.next_trial()
            raise AssertionError("a trial was handed out")

    with pytest.raises(StudyBusy, match="taken over"):
        search(tmp_path / "s", Suspended(), trials=2)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "disk"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk"),
        (OSError(errno.EROFS, "Read-only file system"), "disk"),
        (OSError("AWS Error: QuotaExceeded: storage full"), "disk"),
        (ConnectionError("s3://bucket/s: Could not resolve host"), "storage"),
        (OSError(errno.EIO, "Input/output error"), "storage"),
        (OSError(errno.ESTALE, "Stale file handle"), "storage"),
        (OSError(errno.ETIMEDOUT, "Connection timed out"), "storage"),
        (OSError(errno.ENOENT, "No such file"), "exception"),
        (RuntimeError("no space left in this argument"), "exception"),
    ],
)
def test_a_disk_that_is_short_or_silent_is_told_by_its_error(error: Exception, kind: str) -> None:
    assert failure_of(error).kind == kind

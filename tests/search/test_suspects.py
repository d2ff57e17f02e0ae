"""What a search does about a trial that ends it, and about a node where all trials fail."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from invented_curves import rising
from searching import check_study, search_here, space_with

from dexsearch.errors import EnvironmentFault, SearchFailed
from dexsearch.ledger.log import EventLog, read_events
from dexsearch.ledger.study import TrialRecord, read_study
from dexsearch.search.driver import StudyDriver
from dexsearch.search.progress import SilentProgress
from dexsearch.search.retries import (
    MAX_EXCEPTIONS,
    MAX_IN_VAIN,
    MAX_IN_VAIN_WITH_EPOCHS,
    MAX_LOSSES,
    MAX_STARTS,
    SUSPECT_AFTER,
    Setback,
)
from dexsearch.search.study import run_study
from dexsearch.search.trial import Assignment, Failure, Record, Report, TrialStepper

NO_PRUNER = {"kind": "none"}
CULPRIT = 1


class Killed(BaseException):
    """In place of the kernel, which ends trial and search with all that is in their container."""


def search_until_killed(folder: Path, begun: list[int], *, slots: int = 1) -> bool:
    """Run the search; return whether it was killed."""

    def function(assignment: Assignment) -> Iterator[Record]:
        begun.append(assignment.number)
        if assignment.number == CULPRIT:
            raise Killed
        yield from rising(assignment)

    try:
        search_here(folder, function, slots=slots, trials=4, pruner=NO_PRUNER)
    except Killed:
        return True
    return False


@pytest.mark.parametrize("slots", [1, 3])
def test_a_trial_that_ends_the_whole_search_is_tried_last_and_given_up_in_the_end(
    slots: int, tmp_path: Path
) -> None:
    begun: list[int] = []
    for _ in range(SUSPECT_AFTER + 1):
        assert search_until_killed(tmp_path / "s", begun, slots=slots)
    begun.clear()
    assert search_until_killed(tmp_path / "s", begun, slots=slots)
    record = read_study(tmp_path / "s")
    complete = {trial.number for trial in record.in_state("complete")}
    if slots == 1:
        assert begun == [0, 2, 3, CULPRIT][-len(begun) :]
        assert complete == {0, 2, 3}
    assert record.trials[CULPRIT].n_in_vain == SUSPECT_AFTER + 1
    n_more = 0
    while search_until_killed(tmp_path / "s", begun, slots=slots):
        n_more += 1
        assert n_more <= MAX_IN_VAIN
    record = check_study(tmp_path / "s", trials=4, epochs=9)
    (failed,) = record.in_state("failed")
    assert (failed.number, failed.kind) == (CULPRIT, "infrastructure")
    assert failed.reason == (
        "the whole search was killed 10 times after it was handed out again, without a new epoch"
    )


def test_suspects_are_tried_one_at_a_time_until_each_has_a_new_epoch(tmp_path: Path) -> None:
    """Who merely ran beside the culprit each time does not fall with it."""

    class Killing:
        def run(self, driver: StudyDriver) -> None:
            for _ in range(3):
                driver.next_trial()
            raise Killed

    tried: list[int] = []

    class Alone:
        def run(self, driver: StudyDriver) -> None:
            while not driver.must_wait:
                assignment = driver.next_trial()
                assert assignment is not None
                tried.append(assignment.number)
                assert driver.must_wait, "another one beside a suspect"
                stepper = TrialStepper(rising, patience=0)
                stepper.begin(assignment)
                driver.on_report(stepper.step())
                if len(tried) < 3:
                    assert not driver.must_wait, "it is none any more"
            raise KeyboardInterrupt

    for _ in range(SUSPECT_AFTER + 1):
        with pytest.raises(Killed):
            run(tmp_path / "s", Killing(), trials=3)
    run(tmp_path / "s", Alone(), trials=3)
    assert sorted(tried) == [0, 1, 2]
    assert {trial.n_in_vain for trial in read_study(tmp_path / "s").trials} == {0}


def test_who_never_had_room_to_begin_is_no_suspect(tmp_path: Path) -> None:
    class Full:
        def run(self, driver: StudyDriver) -> None:
            assignment = driver.next_trial()
            assert assignment is not None
            driver.request_stop()
            driver.withdrawn(assignment)

    for _ in range(MAX_IN_VAIN + 2):
        run(tmp_path / "s", Full(), trials=1)
    assert read_study(tmp_path / "s").trials[0].n_in_vain == 0
    search_here(tmp_path / "s", rising, trials=1, pruner=NO_PRUNER)
    assert check_study(tmp_path / "s", trials=1, epochs=9).in_state("complete")


class HandsOut:
    """Hands out whatever there is, has one trial report an epoch if it may, and then ends."""

    def __init__(self, end: Callable[[StudyDriver], None], *, epochs: int = 0) -> None:
        self.end = end
        self.epochs = epochs

    def run(self, driver: StudyDriver) -> None:
        while not driver.must_wait:
            assignment = driver.next_trial()
            assert assignment is not None
            stepper = TrialStepper(rising, patience=0)
            stepper.begin(assignment)
            for _ in range(self.epochs):
                driver.on_report(stepper.step())
        self.end(driver)


def denied(driver: StudyDriver) -> None:
    raise EnvironmentFault("the keys of the storage have expired")


def interrupted(driver: StudyDriver) -> None:
    raise KeyboardInterrupt


def out_of_time(driver: StudyDriver) -> None:
    driver.request_stop()


def killed_while_it_stops(driver: StudyDriver) -> None:
    """As where an epoch takes longer than what is left after SIGTERM."""
    driver.request_stop()
    driver.tick()
    raise Killed


def killed(driver: StudyDriver) -> None:
    raise Killed


def head_lost(driver: StudyDriver) -> None:
    """As head_watch.py ends a process; trial 1 ran, the others waited for room."""
    driver.watchdog.begin(1)
    driver.farewell()
    raise Killed


def hand_out(
    folder: Path, end: Callable[[StudyDriver], None], *, epochs: int = 0
) -> tuple[TrialRecord, ...]:
    with contextlib.suppress(Killed, EnvironmentFault):
        run(folder, HandsOut(end, epochs=epochs), trials=3)
    return read_study(folder).trials


def note_kills(folder: Path, times: int) -> None:
    """Write what so many searches leave that hand out all trials and are killed."""
    with EventLog(folder / "ledger.jsonl") as log:
        for _ in range(times):
            for number in range(3):
                log.append({"event": "trial_continued", "trial": number}, sync=False)


@pytest.mark.parametrize("end", [denied, interrupted, out_of_time, killed_while_it_stops])
def test_an_end_that_the_search_tells_makes_no_trial_suspect(
    end: Callable[[StudyDriver], None], tmp_path: Path
) -> None:
    hand_out(tmp_path / "s", killed)
    note_kills(tmp_path / "s", 1)
    for _ in range(2):
        assert {trial.n_in_vain for trial in hand_out(tmp_path / "s", end)} == {1}
    assert {trial.n_in_vain for trial in hand_out(tmp_path / "s", killed)} == {2}


def test_a_head_that_is_lost_makes_only_trials_suspect_that_ran(tmp_path: Path) -> None:
    hand_out(tmp_path / "s", killed)
    assert [trial.n_in_vain for trial in hand_out(tmp_path / "s", head_lost)] == [0, 1, 0]


def test_a_trial_with_epochs_outlives_many_more_kills_than_one_without(tmp_path: Path) -> None:
    hand_out(tmp_path / "s", killed, epochs=2)
    note_kills(tmp_path / "s", MAX_IN_VAIN_WITH_EPOCHS - 1)
    trials = hand_out(tmp_path / "s", killed)
    assert [trial.state for trial in trials] == ["running"] * 3
    handed_out = MAX_IN_VAIN_WITH_EPOCHS
    assert [trial.n_in_vain for trial in trials] == [handed_out, handed_out - 1, handed_out - 1]
    trials = hand_out(tmp_path / "s", killed)
    assert [trial.kind for trial in trials] == ["infrastructure", None, None], "each has its limit"


class Nodes:
    """Good nodes that train, and others where every trial raises at once, or has no process."""

    def __init__(
        self, failing: Callable[[int], str], *, can_refuse: bool = True,
        lost_by: Setback | None = None,
    ) -> None:  # fmt: skip
        """`failing` names the node of the n-th failure; with `lost_by` no trial can tell it."""
        self.failing = failing
        self.can_refuse = can_refuse
        self.lost_by = lost_by
        self.refused: list[tuple[str, str]] = []

    def refuse(self, node: str, why: str) -> bool:
        self.refused.append((node, why))
        return self.can_refuse

    def run(self, driver: StudyDriver) -> None:
        driver.running.refuse_node = self.refuse
        good = TrialStepper(rising, patience=0)
        first = driver.next_trial()
        assert first is not None
        good.begin(first)
        driver.on_report(good.step())
        n = 0
        while not self.refused:
            let_all_be_due(driver)
            assignment = driver.next_trial()
            assert assignment is not None
            self.fail(driver, assignment, self.failing(n))
            n += 1
        while not driver.on_report(good.step()):
            pass
        while (again := driver.next_trial()) is not None:
            good.begin(again)
            while not driver.on_report(good.step()):
                pass

    def fail(self, driver: StudyDriver, assignment: Assignment, node: str) -> None:
        if self.lost_by is not None:
            told = "its process raised ImportError: libcublas.so.12"
            driver.lost(assignment, told, self.lost_by, node)
            return
        failure = Failure("exception", "RuntimeError: CUDA error: uncorrectable ECC error")
        driver.on_report(
            Report(
                assignment.number, failure=failure, last=True, attempt=assignment.attempt,
                node=node,
            )
        )  # fmt: skip


def let_all_be_due(driver: StudyDriver) -> None:
    recovery = driver._recovery
    recovery._waiting = [(0.0, trial) for _, trial in recovery._waiting]


def run(folder: Path, backend: object, **changes: object) -> None:
    run_study(
        space_with(pruner=NO_PRUNER, **changes), study=folder.name, folder=folder,
        dataset=Path("datasets/x"), dataset_digest="digest", size_px=(64, 64),
        progress=SilentProgress(), backend=backend,  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("lost_by", "told", "tries"),
    [
        (None, "RuntimeError: CUDA error", MAX_EXCEPTIONS),
        ("start", "its process raised ImportError", MAX_STARTS),
        ("lost", "its process raised ImportError", MAX_LOSSES),
    ],
)
def test_one_bad_node_is_refused_and_costs_no_trial(
    lost_by: Setback | None, told: str, tries: int, tmp_path: Path
) -> None:
    nodes = Nodes(lambda n: "bad", lost_by=lost_by)
    run(tmp_path / "s", nodes, trials=8)
    ((node, why),) = nodes.refused
    assert node == "bad"
    assert why.startswith(f"trials 1, 2, 3 failed there: {told}")
    assert len(check_study(tmp_path / "s", trials=8, epochs=9).in_state("complete")) == 8
    kinds = [e.get("kind") for e in read_events(tmp_path / "s" / "ledger.jsonl")
             if e["event"] == "trial_continued"]  # fmt: skip
    assert kinds == [lost_by or "exception"] * 3 * tries


@pytest.mark.parametrize("can_refuse", [True, False])
def test_a_node_where_nothing_can_begin_is_refused_although_others_train(
    can_refuse: bool, tmp_path: Path
) -> None:
    """Each epoch elsewhere shows what is there, and nothing of the bad node."""

    class OthersTrain(Nodes):
        def fail(self, driver: StudyDriver, assignment: Assignment, node: str) -> None:
            super().fail(driver, assignment, node)
            self.good_epoch(driver)

        def good_epoch(self, driver: StudyDriver) -> None:
            self.epoch += 1
            record = {"epoch": self.epoch, "val_ssim": 0.1, "seconds": 0.0}
            driver.on_report(Report(0, (record,), node="good"))

        epoch = 1

    nodes = OthersTrain(lambda n: "bad", can_refuse=can_refuse, lost_by="start")
    run(tmp_path / "s", nodes, trials=8, epochs=20)
    ((node, why),) = nodes.refused
    assert (node, why[:29]) == ("bad", "trials 1, 2, 3 failed there: ")
    failed = check_study(tmp_path / "s", trials=8, epochs=20).in_state("failed")
    assert len(failed) == (0 if can_refuse else 3)


@pytest.mark.parametrize("can_refuse", [True, False])
def test_the_same_failure_on_two_nodes_or_on_the_only_one_is_a_cause_in_common(
    can_refuse: bool, tmp_path: Path
) -> None:
    nodes = Nodes(lambda n: "ab"[n // 2 % 2] if can_refuse else "a", can_refuse=can_refuse)
    with pytest.raises(SearchFailed, match="trials 1, 2, 3 failed in the same way"):
        run(tmp_path / "s", nodes, trials=8)
    assert bool(nodes.refused) != can_refuse

"""A search waits while a disk is short of space, and goes on by itself."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from invented_curves import rising
from searching import check_study, search_here

from dexsearch.errors import EnvironmentFault
from dexsearch.ledger.log import Event, EventLog, read_events
from dexsearch.search.disk_wait import DiskWait, PatientLog
from dexsearch.search.trial import Assignment, Record


class Disk:
    """A disk in a time that the tests make pass."""

    def __init__(self, longest_s: float = 3600.0) -> None:
        self.now = 0.0
        self.shortage: str | None = None
        self.told: list[str] = []
        self.is_stopped = False
        self.wait = DiskWait(
            self.told.append, longest_s=longest_s, shortage=lambda: self.shortage,
            is_stopped=lambda: self.is_stopped, clock=lambda: self.now,
        )  # fmt: skip

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def passes(self, seconds: float) -> None:
        self.now += seconds
        self.wait.look()


def test_nothing_is_handed_out_while_a_look_shows_a_shortage() -> None:
    disk = Disk()
    disk.passes(10)
    assert not disk.wait.holds
    disk.shortage = "3 MiB free in /data, 500 MiB wanted"
    disk.passes(10)
    disk.passes(100)
    assert disk.wait.holds
    disk.shortage = None
    disk.passes(10)
    assert not disk.wait.holds
    assert disk.told == [
        "waiting for disk space: 3 MiB free in /data, 500 MiB wanted; free some, the search then "
        "goes on",
        "there is disk space again after 110 s",
    ]


def test_after_a_failed_save_one_trial_tries_before_the_others() -> None:
    disk = Disk()
    disk.wait.failed("OSError: full")
    disk.wait.failed("OSError: full")
    assert disk.wait.holds
    disk.passes(5)
    assert not disk.wait.holds
    disk.wait.handed_out(3)
    assert disk.wait.holds, "one alone tries"
    disk.wait.heard(8, is_saved=True)
    assert disk.wait.holds, "that of another may have been before"
    disk.wait.failed("OSError: full")
    disk.wait.put_back(3)
    disk.passes(5)
    assert disk.wait.holds, "later the second time"
    disk.passes(5)
    disk.wait.handed_out(4)
    for _ in range(100):
        disk.passes(60)
        disk.wait.heard(4, is_saved=False)
    assert disk.wait.holds, "what it trains says nothing about what it saves"
    disk.wait.heard(4, is_saved=True)
    assert not disk.wait.holds
    disk.wait.failed("OSError: full")
    disk.passes(5)
    assert not disk.wait.holds, "the next shortage is tried as soon as the first one was"
    assert len(disk.told) == 3


def test_new_epochs_before_each_failing_save_are_no_sign_of_space() -> None:
    disk = Disk(longest_s=600)

    def train_in_vain() -> None:
        for number in range(1000):
            disk.wait.failed("OSError: full")
            while disk.wait.holds:
                disk.passes(1)
            disk.wait.handed_out(number)
            for _ in range(9):
                disk.passes(1)
                disk.wait.heard(number, is_saved=False)

    with pytest.raises(EnvironmentFault, match="short of disk space for 600 s"):
        train_in_vain()
    assert len(disk.told) == 1, "never taken for over"


@pytest.mark.parametrize("answers", [True, False])
def test_only_a_saved_checkpoint_ends_a_wait(answers: bool) -> None:
    """Storage that can be read, so that a trial begins and trains, may refuse what is written."""
    disk = Disk()
    for number in range(3):
        disk.wait.failed("OSError: refused", answers=answers)
        assert disk.wait.holds
        disk.passes(60)
        disk.wait.handed_out(number)
        disk.wait.heard(number, is_saved=False)
        assert disk.wait.holds, "one alone tries"
    disk.wait.heard(2, is_saved=True)
    assert not disk.wait.holds
    waits, over = disk.told
    assert waits.startswith("waiting for " + ("disk space" if answers else "storage that does"))
    assert over.endswith("again after 180 s")


def test_a_trial_pruned_before_it_had_anything_to_save_lets_the_others_follow() -> None:
    disk = Disk(longest_s=600)
    disk.wait.failed("OSError: full")
    disk.passes(5)
    disk.wait.handed_out(1)
    disk.wait.ended(1)
    assert disk.wait.is_waiting, "it ended before it had trained at all"
    disk.wait.handed_out(2)
    disk.wait.heard(2, is_saved=False)
    disk.wait.ended(2)
    assert not disk.wait.is_waiting
    disk.passes(1000)
    for number in range(3, 8):
        assert not disk.wait.holds, "as many at once as there is room for"
        disk.wait.handed_out(number)
    assert disk.told[1] == "trial 2 ended and had nothing to save; the others follow"


def test_nobody_gives_up_while_a_trial_tries_whose_epochs_are_long() -> None:
    disk = Disk(longest_s=600)
    disk.wait.failed("OSError: full")
    disk.passes(5)
    disk.wait.handed_out(1)
    disk.passes(3000)
    disk.wait.failed("OSError: full")
    disk.wait.put_back(1)
    with pytest.raises(EnvironmentFault, match="short of disk space for 600 s"):
        disk.passes(20)


def test_a_wait_that_takes_too_long_ends_the_search() -> None:
    disk = Disk(longest_s=60)
    disk.shortage = "nothing left"
    disk.passes(10)
    with pytest.raises(EnvironmentFault, match="short of disk space for 60 s: nothing left"):
        disk.passes(61)


class FullDisk:
    """Refuses to be written to, so many times."""

    def __init__(self, n: int, number: int = errno.ENOSPC) -> None:
        self.n = n
        self.number = number

    def append(self, event: Event, *, sync: bool = True) -> Event:
        self.n -= 1
        if self.n >= 0:
            error = OSError(self.number, os.strerror(self.number))
            raise EnvironmentFault(f"cannot write: {error.strerror}") from error
        return event


def test_the_ledger_waits_for_space_and_says_so_once() -> None:
    disk = Disk()
    log = PatientLog(FullDisk(5), disk.wait, pause=disk.sleep)  # type: ignore[arg-type]
    assert log.append({"event": "x"}) == {"event": "x"}
    assert disk.now == 10
    assert len(disk.told) == 2


def test_the_ledger_does_not_wait_for_ever() -> None:
    disk = Disk(longest_s=60)
    log = PatientLog(FullDisk(1000), disk.wait, pause=disk.sleep)  # type: ignore[arg-type]
    with pytest.raises(EnvironmentFault, match="short of disk space for 60 s"):
        log.append({"event": "x"})
    assert disk.now < 70


@pytest.mark.parametrize(("number", "is_stopped"), [(errno.EIO, False), (errno.ENOSPC, True)])
def test_the_ledger_waits_for_nothing_else_and_not_for_a_search_that_is_to_stop(
    number: int, is_stopped: bool
) -> None:
    disk = Disk()
    disk.is_stopped = is_stopped
    log = PatientLog(FullDisk(1, number), disk.wait, pause=disk.sleep)  # type: ignore[arg-type]
    with pytest.raises(EnvironmentFault, match="cannot write"):
        log.append({"event": "x"})


def test_a_trial_that_cannot_save_is_put_back_and_completed_once_there_is_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dexsearch.search.disk_wait._FIRST_PAUSE_S", 0.05)
    refused: list[int] = []

    def on_a_full_disk(assignment: Assignment) -> Iterator[Record]:
        for record in rising(assignment):
            if record["epoch"] == 4 and len(refused) < 5:
                refused.append(assignment.number)
                raise OSError(errno.ENOSPC, "No space left on device", "00004")
            yield record

    search_here(tmp_path / "s", on_a_full_disk, slots=2, trials=6, pruner={"kind": "none"})
    record = check_study(tmp_path / "s", trials=6, epochs=9)
    assert len(record.in_state("complete")) == 6
    events = read_events(tmp_path / "s" / "ledger.jsonl")
    kinds = [event["kind"] for event in events if event["event"] == "trial_continued"]
    assert kinds == ["disk"] * 5
    assert set(refused) == {0, 1}, "no third trial was begun while the disk was full"


def test_short_epochs_on_a_full_disk_are_no_sign_of_space(tmp_path: Path) -> None:
    """Each try reports an epoch more than the one before it, and can save none of them."""
    tries: list[int] = []

    def on_a_full_disk(assignment: Assignment) -> Iterator[Record]:
        tries.append(assignment.number)
        for epoch in range(1, len(tries) + 1):
            yield {"epoch": epoch, "val_ssim": 0.5, "seconds": 0.0}
        raise OSError(errno.ENOSPC, "No space left on device", "00004")

    with pytest.raises(EnvironmentFault, match="No space left"):
        search_here(
            tmp_path / "s", on_a_full_disk, slots=1, trials=2, epochs=40,
            pruner={"kind": "none"}, resources={"disk_wait_s": 0.5},
        )  # fmt: skip
    assert len(tries) < 9


def test_storage_that_does_not_answer_for_a_while_costs_no_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dexsearch.search.disk_wait._FIRST_PAUSE_S", 0.02)
    n_raised: list[int] = []

    def without_answer(assignment: Assignment) -> Iterator[Record]:
        """An outage meets the last save of two trials, and the next four begins."""
        if 2 <= len(n_raised) < 6:
            n_raised.append(assignment.number)
            raise OSError(errno.ESTALE, "Stale file handle")
        for record in rising(assignment):
            if record["epoch"] == 9 and len(n_raised) < 2:
                n_raised.append(assignment.number)
                raise ConnectionError("s3://bucket/s: Could not resolve host")
            yield record

    search_here(tmp_path / "s", without_answer, slots=2, trials=6, pruner={"kind": "none"})
    record = check_study(tmp_path / "s", trials=6, epochs=9)
    assert len(record.in_state("complete")) == 6
    assert record.setbacks == {"storage": 6}


def test_a_disk_that_stays_full_ends_the_search_to_be_continued(tmp_path: Path) -> None:
    def on_a_full_disk(assignment: Assignment) -> Iterator[Record]:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")
        yield {}

    with pytest.raises(EnvironmentFault, match="Disk quota exceeded"):
        search_here(tmp_path / "s", on_a_full_disk, trials=2, resources={"disk_wait_s": 0.1})
    search_here(tmp_path / "s", rising, trials=2)
    check_study(tmp_path / "s", trials=2, epochs=9)


def test_an_event_that_did_not_fit_is_in_the_ledger_once(tmp_path: Path) -> None:
    with EventLog(tmp_path / "ledger.jsonl") as log:
        PatientLog(log, Disk().wait).append({"event": "x"})
    assert [event["event"] for event in read_events(tmp_path / "ledger.jsonl")] == ["x"]

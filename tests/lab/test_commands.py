"""The command itself: started twice, interrupted, with a clock that is wrong."""

import re
import signal
import time

import pytest
from clusters import LabCluster
from laws import assert_whole, wholeness
from searches import Driver, NewSearch, Search
from table import Row

pytestmark = pytest.mark.lab
BUSY, INTERRUPTED, TERMINATED = 6, 130, 143
AN_HOUR_S = 3600
LONG = 300
"""Epochs of a trial that outlasts the way of a signal."""
UNWATCHED = {"cpus": 1, "gpus": 0, "hang_s": 0}
"""A trial may be suspended for as long as the test likes."""


def continues(search: Search, row: Row, trials: int = 3) -> None:
    """Run the same command again to the end and check the law."""
    search.start().ended_well()
    whole = assert_whole(search.study, trials, states=("complete",))
    row.lost_twice = whole.told
    row.saw(f"the same command: {whole.states}")


def stopped(search: Search, driver: Driver, code: int, row: Row, since: float) -> None:
    """Check that the driver ends as a signal asks, and leaves a whole ledger behind."""
    assert driver.wait(240) == code, driver.stderr[-2000:]
    row.recovery = f"ended after {time.time() - since:.1f} s"
    assert "Traceback" not in driver.stderr, driver.stderr[-2000:]
    assert "the same command continues" in driver.stderr
    left = wholeness(search.study)
    assert left.record.in_state("running"), "nothing was left to be continued"
    assert not left.record.in_state("failed")
    assert not left.twice
    row.saw(f"exit {code}, no traceback, {len(left.record.in_state('running'))} trials left")


def test_ctrl_c_once(steady: LabCluster, new_search: NewSearch, row: Row) -> None:
    search = new_search(steady, trials=3, epochs=LONG)
    driver = search.start()
    search.wait_for_epochs(10, driver)
    driver.signal(signal.SIGINT)
    stopped(search, driver, INTERRUPTED, row, time.time())
    continues(search, row)


def test_ctrl_c_twice(steady: LabCluster, new_search: NewSearch, row: Row) -> None:
    search = new_search(steady, trials=3, epochs=LONG)
    driver = search.start()
    search.wait_for_epochs(10, driver)
    driver.signal(signal.SIGINT)
    time.sleep(0.5)
    driver.signal(signal.SIGINT)
    stopped(search, driver, INTERRUPTED, row, time.time())
    continues(search, row)


def test_sigterm(steady: LabCluster, new_search: NewSearch, row: Row) -> None:
    search = new_search(steady, trials=3, epochs=LONG)
    driver = search.start()
    search.wait_for_epochs(10, driver)
    driver.signal(signal.SIGTERM)
    stopped(search, driver, TERMINATED, row, time.time())
    continues(search, row)


def test_duplicate_start(steady: LabCluster, new_search: NewSearch, row: Row) -> None:
    search = new_search(steady, trials=3, resources=UNWATCHED)
    driver = search.start()
    search.wait_for_epochs(10, driver)
    search.before = steady.hosts.inside(3)
    with steady.paused():
        second = search.start()
        assert second.wait(240) == BUSY, second.stderr[-2000:]
    told = next(line for line in second.stderr.splitlines() if line.startswith("error"))
    assert re.search(rf"\b{driver.process.pid}\b", told), told
    row.saw(f"exit {BUSY}, naming process and host that hold it; the first one went on")
    driver.ended_well()
    row.lost_twice = assert_whole(search.study, 3, states=("complete",)).told


def test_clock_off(steady: LabCluster, new_search: NewSearch, row: Row) -> None:
    search = new_search(steady, trials=3, resources=UNWATCHED)
    inside = list(search.before)
    search.before = [*inside, "faketime", "-f", "+1h"]
    driver = search.start()
    search.wait_for_epochs(10, driver)
    assert search.events[-1]["time"] > time.time() + AN_HOUR_S / 2, "its clock is not off"
    with steady.paused():
        second = search.start()
        assert second.wait(240) == BUSY, second.stderr[-2000:]
    driver.kill()
    search.before = [*inside, "faketime", "-f", "-1h"]
    begun = time.monotonic()
    continues(search, row)
    row.saw(
        "first driver an hour ahead, killed; its successor an hour behind took the study up at "
        f"once ({time.monotonic() - begun:.0f} s to the end); the nodes kept the true time"
    )

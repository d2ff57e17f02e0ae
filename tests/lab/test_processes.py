"""Trials, nodes, the network and the driver die; the search is the same."""

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from clusters import LabCluster, mode_of_files
from laws import assert_whole, continued_since, part_done, recovery
from namespaces import command_line
from searches import HALVING, NewSearch, Search
from table import Row

from dexsearch.registry.record import read_registry

pytestmark = pytest.mark.lab
ENVIRONMENT_FAULT = 4
N_KILLS = 20
LONG = 800
"""Epochs of a trial that outlasts the twenty seconds until its node has a process in reserve."""

ZOMBIE_S = 25.0
"""Long enough for two checkpoints of whoever still trains."""


class ZombieWrites:
    """Files that a node puts into a trial's folder after another one has taken the trial over."""

    def __init__(self, folder: Path, mode: int) -> None:
        """`mode` is that of the node's files."""
        self._folder = folder
        self._mode = mode
        self._since: float | None = None
        self.found: set[str] = set()

    def is_taken_over(self) -> bool:
        """Tell whether a process of another node has claimed the folder."""
        writer = self._folder / "writer"
        if writer.exists() and not self._is_of_the_node(writer):
            self._since = writer.stat().st_mtime
        return self._since is not None

    def look(self) -> bool:
        """Remember what is there and should not; return False, to be used while waiting."""
        for path in self._folder.rglob("*"):
            with contextlib.suppress(OSError):  # it was deleted just now
                newer = path.stat().st_mtime > (self._since or 0) + 1.0  # a save under way
                if newer and path.is_file() and self._is_of_the_node(path):
                    self.found.add(str(path.relative_to(self._folder)))
        return False

    def _is_of_the_node(self, path: Path) -> bool:
        return path.stat().st_mode & 0o777 == self._mode


def finish(search: Search, row: Row, since: float, trials: int) -> None:
    """Wait for a good end, check the law and write down how long it took to recover."""
    driver = search.drivers[-1]
    driver.ended_well()
    whole = assert_whole(search.study, trials, states=("complete", "pruned"))
    row.lost_twice = whole.told
    row.saw(whole.states)
    found = recovery(search.study, since)
    if found is not None:
        row.recovery, row.training_s = str(found), found.training_s


def running(search: Search, cluster: LabCluster, n_epochs: int) -> int:
    """Start a search; return a host that trains once so many epochs are there."""
    driver = search.start()
    search.wait_for_epochs(n_epochs, driver)
    search.wait_for(lambda: len(cluster.trainers) >= 2, driver)
    return cluster.trainers[0]


def test_trial_killed(steady: LabCluster, new_search: NewSearch, row: Row) -> None:
    search = new_search(steady, trials=2, epochs=LONG)
    host = running(search, steady, 20)
    search.wait_for(lambda: steady.has_spare(host), search.drivers[-1])
    os.kill(steady.trial_processes(host)[0], signal.SIGKILL)
    since = time.time()
    finish(search, row, since, 2)
    (event,) = continued_since(search.study, since)
    row.saw(f"trial {event['trial']}: {event['reason']}; the other one went on")


def test_node_killed(fresh: LabCluster, new_search: NewSearch, row: Row) -> None:
    search = new_search(fresh, trials=2, epochs=LONG)
    victim = running(search, fresh, 20)
    search.wait_for(lambda: any(map(fresh.has_spare, fresh.idle)), search.drivers[-1])
    fresh.kill(victim)
    since = time.time()
    finish(search, row, since, 2)
    row.saw("its trial went on on a node that was idle")


def test_partition(fresh: LabCluster, new_search: NewSearch, row: Row) -> None:
    search = new_search(fresh, trials=2, epochs=1500)
    victim = running(search, fresh, 20)
    driver = search.drivers[-1]
    search.wait_for(lambda: any(map(fresh.has_spare, fresh.idle)), driver)
    fresh.hosts.cut(victim)
    since = time.time()
    search.wait_for(lambda: len(continued_since(search.study, since)) > 0, driver)
    zombies = fresh.trial_processes(victim)
    (trial, *_) = {event["trial"] for event in continued_since(search.study, since)}
    writes = ZombieWrites(search.study / "trials" / str(trial), mode_of_files(victim))
    search.wait_for(writes.is_taken_over, driver)
    healing = time.monotonic() + ZOMBIE_S
    search.wait_for(lambda: writes.look() or time.monotonic() > healing, driver)
    n_alive = sum(bool(command_line(pid)) for pid in zombies)
    fresh.hosts.heal(victim)
    while driver.process.poll() is None:
        writes.look()
        time.sleep(0.1)
    finish(search, row, since, 2)
    assert not writes.found, f"written by the process that was cut off: {writes.found}"
    row.saw(
        f"cut off for {ZOMBIE_S:g} s more, {n_alive} of its processes alive, then healed: "
        "nothing written by them"
    )


def kill_at_start(search: Search, pause_s: float) -> None:
    """Kill the driver so long after it was started."""
    driver = search.start()
    time.sleep(pause_s)
    assert driver.process.poll() is None, driver.stderr
    driver.kill_alone()


def kill_at_work(search: Search, part: float, pause_s: float) -> None:
    """Kill the driver after it has written, and a part of all epochs is done, and a bit more."""
    n_before = len(search.events)
    driver = search.start()
    search.wait_for(
        lambda: len(search.events) > n_before and part_done(search.study) >= part, driver, 240
    )
    time.sleep(pause_s)
    assert driver.process.poll() is None, driver.stderr
    driver.kill_alone()


def kill_at_the_end(search: Search, sign: str, pause_s: float) -> None:
    """Kill the driver so long after it has said `sign`; sooner if it is through by then."""
    for halvings in range(10):
        driver = search.start()
        search.wait_for(partial(driver.has_said, sign), driver, 240)
        with contextlib.suppress(subprocess.TimeoutExpired):
            driver.process.wait(pause_s / 2**halvings)
        if driver.process.poll() is None:
            driver.kill_alone()
            return
        assert driver.code == 0, driver.stderr
    raise AssertionError(f"it ends within a moment of saying {sign!r}")


def kills(moments: random.Random) -> list[Callable[[Search], None]]:
    """Return twenty: of its start, over all of its epochs, and after the last trial."""
    # Two of ten trials are left at 0.8, and neither is through within half a second.
    work = sorted(moments.uniform(0.01, 0.8) for _ in range(12))
    steps: list[Callable[[Search], None]] = [
        partial(kill_at_work, part=part, pause_s=moments.uniform(0, 0.5)) for part in work
    ]
    for _ in range(4):
        start = partial(kill_at_start, pause_s=moments.uniform(0, 8))
        steps.insert(moments.randrange(6), start)
    for sign in ("registering the best", "bringing MLflow up") * 2:
        steps.append(partial(kill_at_the_end, sign=sign, pause_s=moments.uniform(0, 2)))
    return steps


def test_driver_killed(steady: LabCluster, new_search: NewSearch, row: Row) -> None:
    search = new_search(steady, trials=10, epochs=100, pruner=HALVING, register=1)
    done = []
    for kill in kills(random.Random(6)):
        kill(search)
        done.append(search.n_epochs)
    assert len(done) == N_KILLS
    last = search.start()
    finish(search, row, last.begun, 10)
    row.recovery = ""
    registered = read_registry(search.workspace).versions
    assert len(registered) == 1, registered
    quarters = [sum(n * 4 // (done[-1] + 1) == quarter for n in done) for quarter in range(4)]
    row.saw(
        f"{N_KILLS} kills, by quarters of the {done[-1]} epochs: {quarters}, the last 4 of them "
        "after the last trial; 1 version registered"
    )


def test_head_killed(fresh: LabCluster, new_search: NewSearch, row: Row) -> None:
    search = new_search(fresh, trials=4)
    running(search, fresh, 20)
    driver = search.drivers[-1]
    fresh.kill(1)
    since = time.time()
    code = driver.wait(150)
    row.recovery = f"driver ended after {time.time() - since:.1f} s"
    told = [line for line in driver.stderr.splitlines() if line]
    assert code == ENVIRONMENT_FAULT, f"exit code {code}: {told[-5:]}"
    assert "Traceback" not in driver.stderr
    row.saw(f"exit {code}: {'; '.join(told[-2:])}")
    fresh.stop()
    fresh.start_all()
    search.start().ended_well()
    whole = assert_whole(search.study, 4, states=("complete",))
    row.lost_twice = whole.told
    row.saw(f"the same command on a new cluster: {whole.states}")


def test_nodes_join_and_leave(fresh: LabCluster, new_search: NewSearch, row: Row) -> None:
    search = new_search(fresh, trials=8, epochs=150)
    victim = running(search, fresh, 20)
    driver = search.drivers[-1]
    fresh.start(5)
    begun = time.time()
    fresh.wait(5)
    joined = time.time()
    search.wait_for(lambda: 5 in fresh.trainers, driver)
    row.saw(
        f"a fifth node joined after {joined - begun:.0f} s and had a trial "
        f"{time.time() - joined:.0f} s later"
    )
    fresh.kill(victim)
    finish(search, row, time.time(), 8)

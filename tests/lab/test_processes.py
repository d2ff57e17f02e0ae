"""Trials, nodes, the network and the driver die; the search is the same."""

import os
import random
import signal
import time

import pytest
from clusters import LabCluster
from laws import assert_whole, continued_since, recovery
from searches import HALVING, NewSearch, Search
from table import Row

pytestmark = pytest.mark.lab
N_KILLS = 20


def finish(search: Search, row: Row, since: float, trials: int) -> None:
    """Wait for a good end, check the law and write down how long it took to recover."""
    driver = search.drivers[-1]
    driver.ended_well()
    whole = assert_whole(search.study, trials, states=("complete", "pruned"))
    row.lost_twice = whole.told
    row.saw(whole.states)
    row.recovery = str(recovery(search.study, since) or row.recovery)


def running(search: Search, cluster: LabCluster, n_epochs: int) -> None:
    """Start a search and return once every node trains."""
    driver = search.start()
    search.wait_for_epochs(n_epochs, driver)
    search.wait_for(lambda: all(cluster.trial_processes(host) for host in (2, 3)), driver)


def test_trial_killed(steady: LabCluster, new_search: NewSearch, row: Row) -> None:
    search = new_search(steady)
    running(search, steady, 20)
    os.kill(steady.trial_processes(2)[0], signal.SIGKILL)
    since = time.time()
    finish(search, row, since, 6)
    (event,) = continued_since(search.study, since)
    row.saw(f"trial {event['trial']}: {event['reason']}; the others went on")


def test_node_killed(fresh: LabCluster, new_search: NewSearch, row: Row) -> None:
    search = new_search(fresh)
    running(search, fresh, 20)
    fresh.kill(2)
    since = time.time()
    finish(search, row, since, 6)
    row.saw("its trial went on on another node")


def test_partition(fresh: LabCluster, new_search: NewSearch, row: Row) -> None:
    search = new_search(fresh)
    running(search, fresh, 20)
    driver = search.drivers[-1]
    fresh.hosts.cut(2)
    since = time.time()
    search.wait_for(lambda: len(continued_since(search.study, since)) > 0, driver)
    fresh.hosts.heal(2)
    finish(search, row, since, 6)
    row.saw("healed: nothing written by the process that had been cut off")


def test_driver_killed(steady: LabCluster, new_search: NewSearch, row: Row) -> None:
    search = new_search(steady, trials=12, pruner=HALVING)
    moments = random.Random(6)
    for _ in range(N_KILLS):
        driver = search.start()
        time.sleep(moments.uniform(0, 14))
        assert driver.process.poll() is None, driver.stderr
        driver.process.kill()
        driver.process.wait()
    n_before = search.n_epochs
    last = search.start()
    finish(search, row, last.begun, 12)
    row.recovery = ""
    row.saw(f"{n_before} epochs after {N_KILLS} kills, {search.n_epochs} at the end")

"""MLflow and its database go away and come back; the search does not care."""

from pathlib import Path

import pytest
from clusters import LabCluster
from databases import restartable_postgresql
from laws import assert_whole
from searches import NewSearch, Search
from table import Row
from tracking import TrackingServer, tracking_server

pytestmark = pytest.mark.lab
SHOWN = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}


LONG = 1200
"""Epochs of a trial that is still running when MLflow is back."""


def assert_shown(server: TrackingServer, search: Search, row: Row, *, trials: int = 3) -> None:
    """Check the law of the ledger, and that MLflow says the same."""
    whole = assert_whole(search.study, trials, states=("complete",))
    row.lost_twice = whole.told
    ended = {f"{search.study.name}/{t.number}": SHOWN[t.state] for t in whole.record.trials}
    assert server.trials() == ended
    row.saw(f"{whole.states}; MLflow shows each once")


def assert_caught_up(search: Search, row: Row) -> None:
    """Check that the search itself brought MLflow up, once it was back."""
    assert "was not brought up" not in search.drivers[-1].stderr, search.drivers[-1].stderr[-2000:]
    row.saw("the search itself brought MLflow up once it was back")


def test_mlflow_down_at_start(
    steady: LabCluster, new_search: NewSearch, row: Row, tmp_path: Path
) -> None:
    search = new_search(steady, trials=3, epochs=LONG)
    with tracking_server(steady.hosts.bridge_address, tmp_path / "served") as server:
        driver = search.start("--tracking-uri", server.url)
        search.wait_for_epochs(10, driver)
        assert "does not answer" in driver.stderr
        server.start()
        driver.ended_well()
        assert_caught_up(search, row)
        assert_shown(server, search, row)
    row.saw("said at once that MLflow does not answer; nothing waited")


def test_mlflow_down_in_the_middle(
    steady: LabCluster, new_search: NewSearch, row: Row, tmp_path: Path
) -> None:
    search = new_search(steady, trials=3, epochs=LONG)
    with tracking_server(steady.hosts.bridge_address, tmp_path / "served") as server:
        server.start()
        driver = search.start("--tracking-uri", server.url)
        search.wait_for(lambda: len(server.trials()) > 0, driver)
        server.kill()
        search.wait_for_epochs(search.n_epochs + 30, driver)
        row.saw("epochs went on being recorded while it was down")
        server.start()
        driver.ended_well()
        assert_caught_up(search, row)
        assert_shown(server, search, row)


def test_mlflow_down_at_the_end(
    steady: LabCluster, new_search: NewSearch, row: Row, tmp_path: Path
) -> None:
    search = new_search(steady, trials=3)
    with tracking_server(steady.hosts.bridge_address, tmp_path / "served") as server:
        server.start()
        driver = search.start("--tracking-uri", server.url)
        search.wait_for_epochs(10, driver)
        server.kill()
        driver.ended_well()
        assert "next: dexsearch sync" in driver.stderr, driver.stderr[-2000:]
        row.saw("exit 0, with the command that brings MLflow up later")
        server.start()
        synced = search.other("sync", "--tracking-uri", server.url)
        assert synced.returncode == 0, synced.stderr
        assert_shown(server, search, row)


def test_postgresql_restarted(
    steady: LabCluster, new_search: NewSearch, row: Row, tmp_path: Path
) -> None:
    search = new_search(steady, trials=3, epochs=LONG)
    with restartable_postgresql() as database:
        flags = ("--postgresql", database.uri)
        host = steady.hosts.bridge_address
        with tracking_server(host, tmp_path / "served", *flags) as server:
            server.start()
            driver = search.start("--tracking-uri", server.url)
            search.wait_for(lambda: len(server.trials()) > 0, driver)
            database.stop()
            search.wait_for_epochs(search.n_epochs + 20, driver)
            row.saw("epochs went on being recorded while the database was down")
            database.start()
            driver.ended_well()
            assert_caught_up(search, row)
            assert_shown(server, search, row)

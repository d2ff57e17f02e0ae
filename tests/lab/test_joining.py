"""Who may join, and with what: tokens, addresses, versions."""

import shutil
import time
from pathlib import Path

import pytest
from clusters import LabCluster
from laws import assert_whole
from searches import NewSearch
from table import Row

pytestmark = pytest.mark.lab
ENVIRONMENT_FAULT = 4
PACKAGE = Path(__file__).parents[2] / "dexsearch"


def test_wrong_token(locked: LabCluster, new_search: NewSearch, row: Row) -> None:
    search = new_search(locked, trials=2)
    search.environment = {**search.environment, "RAY_AUTH_TOKEN": "00" * 32}
    driver = search.start()
    assert driver.wait(240) == ENVIRONMENT_FAULT, driver.stderr[-2000:]
    assert "token" in driver.told_error
    assert locked.environment["RAY_AUTH_TOKEN"] not in driver.stderr
    row.recovery = f"refused after {time.time() - driver.begun:.1f} s"
    row.saw(driver.told_error)


def test_no_token(locked: LabCluster, new_search: NewSearch, row: Row) -> None:
    search = new_search(locked, trials=2)
    search.environment = {k: v for k, v in search.environment.items() if "RAY_AUTH" not in k}
    driver = search.start()
    assert driver.wait(240) == ENVIRONMENT_FAULT, driver.stderr[-2000:]
    assert "token" in driver.told_error
    row.recovery = f"refused after {time.time() - driver.begun:.1f} s"
    row.saw(driver.told_error)


def test_dead_address(steady: LabCluster, new_search: NewSearch, row: Row) -> None:
    search = new_search(steady, trials=2)
    search.address = f"{steady.hosts.address(99)}:6379"
    driver = search.start()
    assert driver.wait(240) == ENVIRONMENT_FAULT, driver.stderr[-2000:]
    row.recovery = f"refused after {time.time() - driver.begun:.1f} s"
    row.saw(driver.told_error)


def test_versions_differ(
    steady: LabCluster, new_search: NewSearch, row: Row, tmp_path: Path
) -> None:
    shutil.copytree(PACKAGE, tmp_path / "other" / "dexsearch")
    module = tmp_path / "other" / "dexsearch" / "search" / "trial.py"
    module.write_text(module.read_text() + '\nCHANGED = "on this node only"\n')
    search = new_search(steady, trials=3)
    steady.start(4, PYTHONPATH=str(tmp_path / "other"))
    steady.wait(4)
    try:
        driver = search.start()
        code = driver.wait(240)
        assert code == ENVIRONMENT_FAULT, f"exit code {code}: {driver.stderr[-2000:]}"
        assert steady.hosts.address(4) in driver.stderr, driver.stderr[-2000:]
        assert "--ship-code" in driver.stderr, driver.stderr[-2000:]
        row.saw(f"refused before any trial, {driver.told_error}")
    finally:
        steady.leave(4)
    assert not any(event["event"] == "trial_started" for event in search.events)


def test_node_joins_without_the_storage(
    steady: LabCluster, new_search: NewSearch, row: Row
) -> None:
    search = new_search(steady, trials=8, epochs=150)
    driver = search.start("--storage", str(steady.shared / "late"))
    search.wait_for_epochs(20, driver)
    steady.start(4, setup=f"mount -t tmpfs none {steady.shared} &&")
    try:
        steady.wait(4)
        joined = time.time()

        def is_told() -> bool:
            assert not steady.trial_processes(4), driver.stderr[-2000:]
            return "gets no trials" in driver.stderr

        search.wait_for(is_told, driver)
        row.recovery = f"refused {time.time() - joined:.1f} s after it had joined"
        while driver.process.poll() is None:
            assert not steady.trial_processes(4), driver.stderr[-2000:]
            time.sleep(0.1)
    finally:
        steady.leave(4)
    driver.ended_well()
    (told,) = [line for line in driver.stderr.splitlines() if "gets no trials" in line]
    assert steady.hosts.address(4) in told
    whole = assert_whole(search.study, 8, states=("complete",))
    places = [whole.record.checkpoint_location(trial) for trial in whole.record.trials]
    assert all(place is not None and Path(place, "manifest.json").is_file() for place in places)
    assert not list((steady.shared / "late").rglob(".preflight-*"))
    row.lost_twice = whole.told
    row.saw(f"{told}; the others went on: {whole.states}, each with its checkpoint")

"""Who may join, and with what: tokens, addresses, versions."""

import shutil
import time
from pathlib import Path

import pytest
from clusters import LabCluster
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

"""Signals to a search on a cluster that it joined: the cluster stays, the search continues."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from running import ended, n_epochs, wait_until
from searching import SUPPORT, check_study, ray_command, ray_environment

from dexsearch.ledger.study import read_study

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "7d" * 32, "RAY_USAGE_STATS_ENABLED": "0"}
# Epochs enough that no trial ends while signals are on their way.
CHANGES: dict[str, object] = {"trials": 2, "epochs": 24, "pruner": {"kind": "none"}}


@pytest.fixture
def environment(tmp_path: Path) -> Mapping[str, str]:
    return {**ray_environment(tmp_path / "home", epoch_s=0.3), **TOKEN}


@pytest.fixture
def address(environment: Mapping[str, str]) -> Iterator[str]:
    """A head and one node."""
    nodes = subprocess.Popen(
        [sys.executable, str(SUPPORT / "run_cluster.py"), "1"], env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert nodes.stdout is not None
    try:
        yield nodes.stdout.readline().strip()
        assert nodes.poll() is None, "the cluster has ended"
        nodes.communicate("", timeout=60)
    finally:
        nodes.kill()
        nodes.wait()


def test_slurms_warning_and_two_ctrl_c_leave_the_cluster_and_a_search_to_continue(
    tmp_path: Path, address: str, environment: Mapping[str, str]
) -> None:
    folder = tmp_path / "s"

    def begun() -> "subprocess.Popen[str]":
        before = n_epochs(folder) if folder.exists() else 0
        process = subprocess.Popen(
            ray_command(folder, "rising", address=address, **CHANGES), env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        wait_until(process, lambda: n_epochs(folder) >= before + 2)
        return process

    warned = begun()
    warned.send_signal(signal.SIGUSR1)
    _, told = ended(warned, timeout_s=60)
    assert warned.returncode == 143, told
    assert "each running trial ends after its epoch" in told
    assert json.loads((folder / "lease.json").read_text())["released"]

    impatient = begun()
    impatient.send_signal(signal.SIGINT)
    assert impatient.stderr is not None
    while "once more stops at once" not in impatient.stderr.readline():
        assert impatient.poll() is None
    impatient.send_signal(signal.SIGINT)
    ended(impatient, timeout_s=60)
    assert impatient.returncode == 130
    assert json.loads((folder / "lease.json").read_text())["released"]
    assert len(read_study(folder).in_state("complete")) < 2, "there is something to continue"

    last = begun()
    _, told = ended(last, timeout_s=60)
    assert last.returncode == 0, told
    assert len(check_study(folder, trials=2, epochs=24).in_state("complete")) == 2

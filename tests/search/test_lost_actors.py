"""What a real cluster knows of lost processes, and which processes import nothing beforehand."""

import json
import subprocess
import sys

import pytest
from nodes import SUPPORT, TOKEN, nodes_here

pytestmark = [pytest.mark.slow, pytest.mark.cluster]


def test_a_process_that_never_reported_has_a_node_and_who_is_no_trial_starts_without_torch() -> (
    None
):
    with nodes_here(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=TOKEN) as nodes:
        nodes.start_head(cpus=0)
        nodes.wait_for(nodes.join("worker"))
        done = subprocess.run(
            [sys.executable, str(SUPPORT / "drive_lost.py"), nodes.address],
            env=nodes.environment(), capture_output=True, text=True, timeout=280, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    (worker,) = told["workers"]
    assert told["lost"] == [worker, worker]
    assert told["usual"], "a process of the job imports what trials need"
    assert (told["reaper"], told["data"]) == (False, [False])

"""What a real cluster knows of lost processes, and which processes import nothing beforehand."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from cluster_search import ClusterSearch
from nodes import SUPPORT, TOKEN, nodes_here
from searching import SPACE, check_study, ray_environment

from dexsearch.data.store import Dataset

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


def test_a_node_where_no_trial_can_begin_gets_no_more_and_costs_none(
    exposed_cohort: Dataset, tmp_path: Path
) -> None:
    search = ClusterSearch(
        space={**SPACE, "trials": 4, "epochs": 60, "pruner": {"kind": "none"}},
        folder=str(tmp_path / "s"), scenario="broken_on_bad",
        nodes={"good": {"num_cpus": 1}, "bad": {"num_cpus": 1}}, begin=("good", "bad"),
        dataset=str(exposed_cohort.path), digest=exposed_cohort.manifest.digest,
    )  # fmt: skip
    request = tmp_path / "request.json"
    request.write_text(json.dumps(asdict(search)))
    done = subprocess.run(
        [sys.executable, str(SUPPORT / "drive_broken.py"), str(request)], cwd=tmp_path,
        env={**ray_environment(tmp_path / "home", 0.1), "RAY_AUTH_MODE": "disabled"},
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["exit_code"] == 0, answer
    (told,) = [line for line in answer["messages"] if "no trial goes to that node" in line]
    assert "failed there: its process raised" in told
    record = check_study(tmp_path / "s", trials=4, epochs=60)
    assert len(record.in_state("complete")) == 4
    nodes = {epoch["node"] for trial in record.trials for epoch in trial.epochs.values()}
    assert nodes == {"good"}

"""The batch script in a real Slurm of three nodes: a search ends; queued again, it goes on.

Minutes on two cores, because each node starts Ray and each trial a process with torch.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.support.files import DEPLOY
from tests.deploy.support.slurm_lab import SlurmLab, wait_until, why_not

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(why_not() is not None, reason=f"a real Slurm: {why_not()}"),
]
SCRIPT = str(DEPLOY / "slurm" / "dexsearch.sbatch")
PATIENCE_S = 900
SPACE = """\
task: bone
data:
  phantom: {subjects: 6, poses: 2, size_px: 32, seed: 0}
trials: 4
register: 0
pruner: {kind: none}
sampler: {kind: qmc, seed: 0}
resources: {cpus: 1, gpus: 0}
search:
  generator.width: {choice: [4, 8]}
fixed:
  generator.depth: 2
  batch_size: 4
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[SlurmLab]:
    (tmp_path / "home").mkdir()
    (tmp_path / "tiny.yaml").write_text(SPACE)
    with SlurmLab(tmp_path / "lab", silence_s=45) as slurm:
        yield slurm


def _submit(lab: SlurmLab, folder: Path, *arguments: str) -> int:
    return lab.submit(
        "--nodes=3", "--cpus-per-task=1", "--gpus-per-node=2", f"--chdir={folder}",
        "--output=log", SCRIPT, "--space", "tiny.yaml", "--workspace", "workspace", *arguments,
        environment={"HOME": str(folder / "home"), "DEXSEARCH_VENV": sys.prefix},
    )  # fmt: skip


def _wait_for_end(lab: SlurmLab, job: int, folder: Path) -> str:
    """Wait until the job has ended well; return what it said."""
    ended = ("COMPLETED", "FAILED", "CANCELLED", "NODE_FAIL")
    try:
        wait_until(lambda: lab.facts(job)["JobState"] in ended, PATIENCE_S, "the job ends")
    finally:
        told = (folder / "log").read_text() if (folder / "log").exists() else "nothing was said"
        sys.stderr.write(told)
    assert lab.facts(job)["JobState"] == "COMPLETED"
    return told


def _epochs(folder: Path) -> list[tuple[int, int]]:
    """Return (trial, epoch) of every recorded epoch, also while the ledger is being written."""
    path = folder / "workspace" / "studies" / "tiny" / "ledger.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    events = [json.loads(line) for line in lines if line.endswith("\n")]
    return [(e["trial"], e["record"]["epoch"]) for e in events if e["event"] == "epoch"]


def _all_of(n_trials: int, n_epochs: int) -> list[tuple[int, int]]:
    return [(trial, epoch + 1) for trial in range(n_trials) for epoch in range(n_epochs)]


def test_a_search_over_three_nodes_ends_with_every_trial(lab: SlurmLab, tmp_path: Path) -> None:
    job = _submit(lab, tmp_path, "--epochs", "2")
    told = _wait_for_end(lab, job, tmp_path)
    assert "3 of 3 nodes are there" in told
    assert sorted(_epochs(tmp_path)) == _all_of(4, 2)
    assert not list(tmp_path.glob("home/.dexsearch/*/token"))


def _wait_for_epochs(folder: Path, more_than: int) -> None:
    wait_until(lambda: len(_epochs(folder)) > more_than, PATIENCE_S, "epochs are recorded")


def _wait_until_queued_again(lab: SlurmLab, job: int) -> None:
    wait_until(lambda: lab.facts(job)["JobState"] == "PENDING", 300, "the job waits again")
    # Else two minutes from now; at once would be while its nodes still refuse the job.
    lab.run("scontrol", "update", f"JobId={job}", "StartTime=now+15")


def test_one_job_outlives_requeue_time_limit_head_and_node_as_one_search(
    lab: SlurmLab, tmp_path: Path
) -> None:
    """Four faults, one after another, because each start of a job takes half a minute."""
    n_epochs, faults = 240, {
        "somebody queues the job again": lambda: lab.run("scontrol", "requeue", str(job)),
        "Slurm warns of the time limit": lambda: lab.run(
            "scancel", "--batch", "--signal=USR1", str(job)
        ),
        "the head of Ray is killed": lambda: lab.kill("node1", "gcs_server"),
    }  # fmt: skip
    job = _submit(lab, tmp_path, "--epochs", str(n_epochs))
    for restart, (fault, inject) in enumerate(faults.items()):
        before = len(_epochs(tmp_path))
        _wait_for_epochs(tmp_path, before + 20)
        assert inject() != 0, fault
        _wait_until_queued_again(lab, job)
        assert len(_epochs(tmp_path)) < 4 * n_epochs, fault
        assert f"restart {restart}," in (tmp_path / "log").read_text()
    _wait_for_epochs(tmp_path, len(_epochs(tmp_path)) + 20)
    lab.lose("node3")
    wait_until(lambda: "down" in lab.state_of("node3"), PATIENCE_S, "Slurm notices")
    told = _wait_for_end(lab, job, tmp_path)
    assert "the search was asked to stop" in told
    assert "the head of Ray is gone" in told
    assert "restart 3," in told
    assert "restart 4," not in told
    assert sorted(_epochs(tmp_path)) == _all_of(4, n_epochs)

"""Why a process was lost, and what becomes of one that does not end; no Ray starts."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import ray
from ray.exceptions import NodeDiedError

from dexsearch.search.losses import told_loss
from dexsearch.search.reaper import NODE_ANSWERS_WITHIN_S, Reaper

HEAD = "Failure # {} (occurred at 2026-01-01_00-00-00)\n"
DIED = "The actor died unexpectedly before finishing this task.\n\tclass_name: TrialActor\n"
OUT_OF_MEMORY = """\
1 worker(s) were killed due to the node running low on memory. Memory on the node (IP: 192.0.2.2, \
ID: 042039247264655fdcfd8cc22933e0e6cd5525c7bc66fa13f668b0da) was 22.6GB used / 23.54GB limit \
(0.96)
OOM kill reason: Memory usage 24266784000B exceeded threshold of 24012676915B (95.0% of \
25276502016B limit)
Object store memory usage: [- objects spillable: 0
- bytes spillable: 0
- objects created by worker: 0

Eviction Stats:
(global lru) capacity: 100000000
(global lru) bytes evicted: 0]
Ray killed 1 worker(s) based on the killing policy
Considered workers: [
Selected to kill: (Task: job ID=01000000, lease ID=00000000e7f226e02756d2f973fdcd27a6baef1051, \
task name=ResourceTrainable.__init__, required resources={CPU: 1}, pid=24254, actual memory \
used=0.06GB, worker ID=f686742a1c5f6f90c34532433da31b0f8b97967f4a3a739aacb4f4cb)
]
Total non-selected idle workers: 1
To see more information about memory usage on this node, use `ray logs raylet.out -ip 192.0.2.2`
Top 10 memory users: PID\tMEM(GB)\tCOMMAND
21625\t0.47\tpython -m dexsearch tune --space space.yaml
Refer to the documentation on how to address the out of memory issue: \
https://docs.ray.io/en/latest/ray-observability/user-guides/debug-apps/debug-memory.html. \
Consider provisioning more memory on this node or reducing task parallelism by requesting more \
CPUs per task. Set max_restarts and max_task_retries to enable retry when the task crashes due \
to OOM. To disable worker killing, set the environment variable \
`RAY_memory_monitor_refresh_ms` to zero.
"""
OF_OLD = (
    "Task was killed due to the node running low on memory.\nMemory on the node was 14.3GB used\n"
)


@pytest.mark.parametrize("text", [OUT_OF_MEMORY, OF_OLD])
def test_a_process_that_ray_ended_for_want_of_memory_was_lost_and_did_begin(
    text: str, tmp_path: Path
) -> None:
    """Its node lives, and the next try may find memory: as often as for other losses."""
    (tmp_path / "error.txt").write_text(HEAD.format(1) + DIED + HEAD.format(2) + text)
    trial = SimpleNamespace(error_file=str(tmp_path / "error.txt"))
    told = "Ray ended its process: the memory of its node was used up"
    assert told_loss(cast("Any", trial)) == ("lost", told)


@pytest.mark.parametrize(
    ("answer", "is_lost"),
    [("yes", None), ("no", False), ("its node died", True), ("none yet", True)],
)
def test_only_a_node_that_does_not_answer_is_taken_for_lost(
    answer: str, is_lost: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that cannot be ended, as in state D, may be on a node that answers."""
    told, killed, now = [], [], [0.0]

    def get(ref: str) -> bool:
        if ref == "its node died":
            raise NodeDiedError("gone")
        return ref == "yes"

    reaping = SimpleNamespace(
        wait=lambda refs, timeout: (refs, []) if answer != "none yet" else ([], refs),
        get=get, kill=lambda actor, no_restart: killed.append(actor), exceptions=ray.exceptions,
    )  # fmt: skip
    monkeypatch.setattr("dexsearch.search.reaper.ray", reaping)
    monkeypatch.setattr("dexsearch.search.reaper._ask", lambda actor: answer)
    reaper = Reaper(lambda: now[0])
    reaper.end("actor", lambda: told.append("silent"))
    reaper.look()
    now[0] = NODE_ANSWERS_WITHIN_S
    reaper.look()
    assert (bool(told), bool(killed)) == (is_lost is True, is_lost is not None)

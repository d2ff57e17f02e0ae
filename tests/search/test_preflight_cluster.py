"""The preflight on real nodes, each with a fault of its own; laws are in test_preflight.py."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from nodes import SUPPORT, Nodes, nodes_here, pids_of
from running import wait_until

import dexsearch

pytestmark = [
    pytest.mark.slow,
    pytest.mark.cluster,
    pytest.mark.skipif(os.geteuid() != 0, reason="nodes with names and mounts of their own: root"),
]

PACKAGE = Path(dexsearch.__file__).parent
NO_DEXSEARCH = """
import sys
sys.path[:] = [entry for entry in sys.path if entry != {root!r}]
"""


def other_dexsearch(folder: Path) -> str:
    shutil.copytree(PACKAGE, folder / "dexsearch", ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "dexsearch" / "wording.py").open("a") as file:
        file.write("\nNEWER = True\n")
    return str(folder)


def other_torch(folder: Path) -> str:
    (folder / "torch-2.10.0.dist-info").mkdir(parents=True)
    metadata = "Metadata-Version: 2.1\nName: torch\nVersion: 2.10.0\n"
    (folder / "torch-2.10.0.dist-info" / "METADATA").write_text(metadata)
    return str(folder)


def no_dexsearch(folder: Path) -> str:
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(NO_DEXSEARCH.format(root=str(PACKAGE.parent)))
    return str(folder)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def nodes(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """Two good nodes with a GPU; three without, and with faults."""
    away = tmp_path_factory.mktemp("away")
    edited = f"{other_dexsearch(away / 'edited')}:{other_torch(away / 'torch')}"
    with nodes_here(RAY_AUTH_MODE="disabled") as started:
        started.start_head(cpus=1, gpus=1)
        for name, faults in {
            "good": {"gpus": 1},
            "edited": {"PYTHONPATH": edited},
            "bare": {"PYTHONPATH": no_dexsearch(away / "bare")},
            "island": {"hide": shared},
        }.items():
            started.wait_for(started.join(name, **faults))
        yield started


@pytest.fixture
def request_for(nodes: Nodes, shared: Path, tmp_path: Path) -> Callable[..., list[str]]:
    def build(*, gpus: float | str, **more: object) -> list[str]:
        asked = {
            "address": nodes.address, "storage": str(shared / "ribs"), "digest": "d",
            "dataset": str(tmp_path), "resources": {"cpus": 1, "gpus": gpus},
        }  # fmt: skip
        (tmp_path / "request.json").write_text(json.dumps({**asked, **more}))
        return [
            sys.executable,
            str(SUPPORT / "drive_preflight.py"),
            str(tmp_path / "request.json"),
        ]

    return build


def looked(nodes: Nodes, command: list[str]) -> tuple[dict[str, Any], list[str]]:
    done = subprocess.run(
        command, env=nodes.environment(), cwd=nodes.scratch,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer, done.stderr.splitlines()


def test_good_nodes_are_well_and_nothing_is_left_in_the_storage(
    nodes: Nodes, request_for: Callable[..., list[str]], shared: Path, tmp_path: Path
) -> None:
    """With `gpus: auto` trials run on the nodes with GPUs, so only these are asked."""
    (tmp_path / "manifest.json").write_text('{"digest": "d"}')
    answer, lines = looked(nodes, request_for(gpus="auto"))
    assert answer["nodes"] == {os.uname().nodename: True, "good": True}
    assert lines[0].startswith("preflight: 2 nodes, 2 GPUs, 2 CPUs: ")
    assert not list((shared / "ribs").iterdir())


def test_all_faults_of_all_nodes_are_told_together_by_name(
    nodes: Nodes, request_for: Callable[..., list[str]], shared: Path
) -> None:
    answer, _ = looked(nodes, request_for(gpus=0))
    first, *told = answer["error"].splitlines()
    assert answer["exit_code"] == 4
    assert first == "3 of 5 nodes cannot run trials of this search:"
    node = nodes.address.partition(":")[0]
    begins = {
        f"{node} (edited): its dexsearch has other sources",
        f"{node} (edited): has torch 2.10.0, the driver",
        f"{node} (bare): has no dexsearch; install dexsearch",
        f"{node} (island): cannot use the storage {shared / 'ribs'}: ",
    }
    missing = [begin for begin in begins if not any(line.startswith(begin) for line in told)]
    assert not missing, "\n".join(told)
    assert len(told) == len(begins)


def test_shipped_code_makes_up_for_missing_code_only(
    nodes: Nodes, request_for: Callable[..., list[str]]
) -> None:
    answer, _ = looked(nodes, request_for(gpus=0, ship_code=True))
    first, *told = answer["error"].splitlines()
    assert first.startswith("2 of 5 nodes")
    assert ["(edited): has torch" in line for line in sorted(told)] == [True, False]


def test_a_node_that_does_not_answer_is_named(
    nodes: Nodes, request_for: Callable[..., list[str]]
) -> None:
    """Its raylet is stopped: it lives for Ray, until health checks have failed for a minute."""
    (raylet,) = [pid for pid in pids_of(nodes.scratch / "1") if is_raylet(pid)]
    os.kill(raylet, signal.SIGSTOP)
    try:
        answer, told = looked(nodes, request_for(gpus=1, answer_s=1))
    finally:
        os.kill(raylet, signal.SIGCONT)
    (line,) = answer["error"].splitlines()[1:]
    assert "(good): does not answer within 5 s" in line
    assert any("(good) does not answer within 5 s: asking once more" in line for line in told)


def is_raylet(pid: int) -> bool:
    return Path(f"/proc/{pid}/exe").resolve().name == "raylet"


def test_too_large_a_trial_is_refused_and_says_what_the_cluster_has(
    nodes: Nodes, request_for: Callable[..., list[str]]
) -> None:
    answer, lines = looked(nodes, request_for(gpus=8, patience_s=0))
    assert "a trial needs a node with 8 GPUs and 1 CPU: the largest" in answer["error"]
    assert f"ray start --address={nodes.address}" in answer["hint"]
    assert lines == []


def test_a_node_that_joins_while_a_search_waits_for_its_gpus_is_used(
    nodes: Nodes, request_for: Callable[..., list[str]]
) -> None:
    waiting = subprocess.Popen(
        request_for(gpus=2, patience_s=100), env=nodes.environment(), cwd=nodes.scratch,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert waiting.stderr is not None
        line = waiting.stderr.readline()
        assert line.startswith("waiting for a node with 2 GPUs and 1 CPU: the largest")
        nodes.wait_for(nodes.join("late", gpus=2))
        out, err = waiting.communicate(timeout=60)
    finally:
        waiting.kill()
    assert json.loads(out)["nodes"] == {"late": False}
    assert "preflight: 1 node, 2 GPUs, 1 CPU: " in err
    assert "dataset is not in its folder" in err


def test_a_node_that_dies_while_it_is_asked_is_left_out(
    nodes: Nodes, request_for: Callable[..., list[str]], shared: Path
) -> None:
    """Its raylet is stopped, so that it does not answer, and killed once it has been asked."""
    scratch = nodes.scratch / str(len(nodes.started))
    nodes.wait_for(nodes.join("dying", gpus=1))
    (raylet,) = [pid for pid in pids_of(scratch) if is_raylet(pid)]
    os.kill(raylet, signal.SIGSTOP)
    asking = subprocess.Popen(
        request_for(gpus=1), env=nodes.environment(), cwd=nodes.scratch,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        wait_until(asking, lambda: any((shared / "ribs").glob(".preflight-*/driver")))
        os.kill(raylet, signal.SIGKILL)
        out, err = asking.communicate(timeout=90)
    finally:
        asking.kill()
    assert "(dying) has left the cluster while it was asked" in err
    told = json.loads(out)
    assert "nodes" in told, out
    assert "dying" not in told["nodes"], out
    assert "good" in told["nodes"], out

"""A real cluster that asks for a token: who gets in, and what the others are told.

Jobs are in test_job_submission.py.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from nodes import RAY, TOKEN, Nodes, nodes_here, own_ip

from dexsearch.errors import EnvironmentFault
from dexsearch.search import joining
from dexsearch.search.joining import ask, joinable_cluster

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

RIGHT = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
WRONG = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "8" * 64}
NONE = {"RAY_AUTH_MODE": "disabled"}


@pytest.fixture(scope="module")
def locked() -> Iterator[Nodes]:
    with nodes_here(**RIGHT) as nodes:
        nodes.start_head(cpus=1)
        yield nodes


def environment(nodes: Nodes, **secrets: str) -> dict[str, str]:
    return {k: v for k, v in nodes.environment().items() if k not in RIGHT} | secrets


def python(nodes: Nodes, code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, nodes.address, *arguments], env=nodes.environment(),
        cwd=nodes.scratch, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def n_nodes(nodes: Nodes) -> int:
    return joinable_cluster(nodes.address, print, environment=nodes.environment()).n_nodes


JOIN = """
import sys
from dexsearch.search.cluster import prepare_environment
prepare_environment(sys.argv[1])
import ray
from dexsearch.search.ray_cluster import ray_cluster
with ray_cluster(sys.argv[1]):
    print(ray.get(ray.remote(lambda: 6 * 7).remote()))
"""


def test_a_driver_with_the_right_token_runs_tasks(locked: Nodes) -> None:
    assert python(locked, JOIN) == "42"


@pytest.mark.parametrize(
    ("secrets", "told"),
    [
        ({}, "and none was given"),
        (NONE, "and none was given"),
        (WRONG, "that of RAY_AUTH_TOKEN is the wrong one"),
        ({"RAY_AUTH_TOKEN": TOKEN}, "is right, but is not sent: RAY_AUTH_MODE is not set"),
        ({"RAY_AUTH_MODE": "token"}, "there is no token for the cluster"),
    ],
)
def test_a_driver_without_the_right_token_is_refused_and_told_why(
    locked: Nodes, secrets: dict[str, str], told: str
) -> None:
    with pytest.raises(EnvironmentFault) as refused:
        joinable_cluster(locked.address, print, environment=environment(locked, **secrets))
    assert told in str(refused.value)
    assert TOKEN not in str(refused.value)


def test_a_token_file_that_everybody_can_read_is_taken_and_told(
    locked: Nodes,
) -> None:
    locked.scratch.chmod(0o755)  # or its folder hides it
    file = locked.scratch / "token"
    file.write_text(TOKEN)
    secrets = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(file)}
    for mode, n_lines in ((0o644, 1), (0o600, 0)):
        file.chmod(mode)
        told: list[str] = []
        joinable_cluster(locked.address, told.append, environment=environment(locked, **secrets))
        assert ["chmod 600" in line for line in told] == [True] * n_lines


def test_a_search_with_a_wrong_token_is_refused_before_anything_is_made(
    locked: Nodes, tmp_path: Path
) -> None:
    workspace = tmp_path / "workspace"
    done = subprocess.run(
        [sys.executable, "-m", "dexsearch", "tune", "--space", "quickstart.yaml",
         "--workspace", str(workspace), "--address", locked.address, "--storage", str(tmp_path)],
        env=environment(locked, **WRONG), cwd=locked.scratch,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 4, done.stderr
    assert "that of RAY_AUTH_TOKEN is the wrong one" in done.stderr
    assert not workspace.exists()


def test_worker_nodes_without_the_right_token_do_not_get_in(locked: Nodes) -> None:
    strangers = [
        subprocess.Popen(
            [RAY, "start", f"--address={locked.address}", "--num-cpus=1",
             f"--temp-dir={locked.scratch / name}", "--disable-usage-stats"],
            env=environment(locked, **secrets), cwd=locked.scratch,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for name, secrets in (("no", NONE), ("wrong", WRONG))
    ]  # fmt: skip
    for stranger in strangers:
        told, _ = stranger.communicate(timeout=120)
        assert stranger.returncode != 0
        assert "InvalidAuthToken" in told
    assert n_nodes(locked) == 1
    friend = locked.join("friend")
    locked.wait_for(friend)
    assert n_nodes(locked) == 2


def test_doctor_shows_a_cluster_as_rows_and_leaves_nothing(locked: Nodes, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dexsearch", "doctor", "--quick", "--format", "json"]
    done = subprocess.run(
        [*command, "--address", locked.address, "--workspace", str(tmp_path / "workspace")],
        env=locked.environment(), cwd=locked.scratch,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    told = json.loads(done.stdout)
    rows = {c["name"]: c["state"] for c in told["checks"] if c["group"] == "cluster"}
    assert {rows[name] for name in ("joining", "token", "storage")} == {"ok"}, done.stdout
    assert any(name.startswith("node ") for name in rows)
    assert done.returncode == (0 if told["healthy"] else 4)
    assert list(tmp_path.iterdir()) == []


SET_VERSION = """
import json, sys
from ray._raylet import GcsClient
client = GcsClient(address=sys.argv[1])
key, namespace = b"CLUSTER_METADATA", b"cluster"
found = json.loads(client.internal_kv_get(key, namespace))
changed = json.dumps({**found, **json.loads(sys.argv[2])}).encode()
client.internal_kv_put(key, changed, True, namespace)
print(json.dumps(found))
"""


def test_another_version_of_ray_on_the_cluster_is_told_with_both(locked: Nodes) -> None:
    before = python(locked, SET_VERSION, json.dumps({"ray_version": "2.57.0"}))
    try:
        with pytest.raises(EnvironmentFault, match=r"runs Ray 2\.57\.0, and this process Ray"):
            n_nodes(locked)
    finally:
        python(locked, SET_VERSION, before)
    assert n_nodes(locked) >= 1


def test_a_port_of_something_else_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "PROBE_TIMEOUT_S", 4.0)
    with socket.create_server(("", 0)) as silent:
        answer = ask(f"{own_ip()}:{silent.getsockname()[1]}", os.environ)
    assert answer == {"outcome": "unknown", "reason": "no answer of a Ray cluster in 4 s"}

"""Jobs on a real cluster that asks for a token: who may submit, and what a submitted search does.

Ray takes jobs only where `ray[default]` is installed; `make job-server` puts it beside the
environment. There the tests run; elsewhere they are skipped, or fail if `REQUIRED` is set.
"""

import importlib.util
import json
import os
import shlex
import socket
import struct
import subprocess
import sys
import sysconfig
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from nodes import RAY, TOKEN, Nodes, free_port, nodes_here, own_ip
from searching import check_study

pytestmark = [
    pytest.mark.slow,
    pytest.mark.cluster,
    pytest.mark.xdist_group("job server"),  # one head for all of them
]

REQUIRED = "DEXSEARCH_REQUIRE_JOB_SERVER"
ONE_OF_THEM = "aiohttp_cors"  # which nothing else needs
WRONG_TOKEN = "8" * 64
RIGHT = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
SPACE = """
task: joint
data:
  phantom: {subjects: 6, poses: 2, size_px: 32, seed: 1}
trials: 2
epochs: 2
register: 0
pruner: {kind: none}
sampler: {kind: qmc}
resources: {cpus: 1}
search:
  optimizer.learning_rate: {float: [1e-4, 1e-2], log: true}
fixed: {generator.depth: 2, generator.width: 4, discriminator.width: 4, batch_size: 4}
"""


def packages_or_skip() -> dict[str, str]:
    """Return the variables with which Ray finds what serves jobs; without it skip or fail."""
    beside = str(Path(sys.prefix, "job-server"))
    folder = Path(sysconfig.get_path("purelib", vars={"base": beside, "platbase": beside}))
    if (folder / ONE_OF_THEM).is_dir():
        return {"PYTHONPATH": str(folder)}
    if importlib.util.find_spec(ONE_OF_THEM) is not None:
        return {}
    message = "Ray serves no jobs here: make job-server"
    if os.environ.get(REQUIRED):
        pytest.fail(f"{message}; {REQUIRED} is set", pytrace=False)
    pytest.skip(message)


@dataclass(frozen=True)
class JobServer:
    """A head that takes jobs, at two places: its dashboard and its node's agent.

    With what serves jobs comes Ray Client, which runs code too.
    """

    nodes: Nodes
    agent_port: int
    client_port: int

    @property
    def jobs_at(self) -> tuple[str, str]:
        """Addresses that a job can be sent to; the second is not the loopback's."""
        return (
            f"http://127.0.0.1:{self.nodes.dashboard_port}/api/jobs/",
            f"http://{own_ip()}:{self.agent_port}/api/job_agent/jobs/",
        )

    def submit(self, *entry: str, **secrets: str) -> subprocess.CompletedProcess[str]:
        """Submit a job on the command line and wait until it has ended."""
        address = f"--address=http://127.0.0.1:{self.nodes.dashboard_port}"
        return self.run([RAY, "job", "submit", address, "--", *entry], **secrets)

    def run(self, command: list[str], **secrets: str) -> subprocess.CompletedProcess[str]:
        """Run a command that knows of tokens what is given, and nothing else."""
        environment = {k: v for k, v in self.nodes.environment().items() if k not in RIGHT}
        return subprocess.run(
            command, env=environment | secrets, cwd=self.nodes.scratch,
            capture_output=True, text=True, timeout=500, check=False,
        )  # fmt: skip

    def n_jobs(self) -> int:
        """Return how many jobs were ever taken."""
        status, answer = asked(self.jobs_at[0], token=TOKEN)
        assert status == 200, answer
        return len(json.loads(answer))


def asked(url: str, *, token: str | None, entry: str | None = None) -> tuple[int, str]:
    """Ask a server, or send it a job without Ray's own client; return its status and answer."""
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    body = None if entry is None else json.dumps({"entrypoint": entry}).encode()
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, data=body, headers=headers), timeout=60
        ) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


@pytest.fixture(scope="module")
def server() -> Iterator[JobServer]:
    with nodes_here(**RIGHT, **packages_or_skip()) as nodes:
        nodes.port, nodes.dashboard_port = free_port(), free_port()
        agent_port, client_port = free_port(), free_port()
        head = ["--head", f"--port={nodes.port}", f"--dashboard-port={nodes.dashboard_port}",
                "--include-dashboard=true", f"--dashboard-agent-listen-port={agent_port}",
                f"--ray-client-server-port={client_port}"]  # fmt: skip
        nodes.wait_for(nodes.node(head, cpus=1, gpus=0))
        yield JobServer(nodes, agent_port, client_port)


def listens_on(port: int) -> set[str]:
    """Return the addresses of this machine on which a port is open, as the kernel tells it."""
    found = set()
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            address, _, in_hex = local.partition(":")
            if state == "0A" and int(in_hex, 16) == port:
                # In words of four bytes, each the wrong way round.
                words = struct.unpack(f">{len(address) // 8}I", bytes.fromhex(address))
                found.add(socket.inet_ntop(family, struct.pack(f"={len(words)}I", *words)))
    return found


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads the kernel's table: Linux")
def test_the_dashboard_listens_on_the_loopback_alone(server: JobServer) -> None:
    assert listens_on(server.nodes.dashboard_port) == {"127.0.0.1"}
    assert own_ip() in listens_on(server.agent_port), "the agent's door is the one to be locked"


@pytest.mark.parametrize(
    ("token", "status"), [(None, 401), (WRONG_TOKEN, 403)], ids=["no token", "wrong token"]
)
@pytest.mark.parametrize("door", [0, 1], ids=["dashboard", "agent"])
def test_no_server_takes_a_job_without_the_right_token(
    server: JobServer, door: int, token: str | None, status: int, tmp_path: Path
) -> None:
    before = server.n_jobs()
    entry = f"touch {shlex.quote(str(tmp_path / 'it ran'))}"
    told = asked(server.jobs_at[door], token=token, entry=entry)
    assert told[0] == status, told
    assert server.n_jobs() == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("door", [0, 1], ids=["dashboard", "agent"])
def test_with_the_right_token_each_takes_a_job(server: JobServer, door: int) -> None:
    before = server.n_jobs()
    status, told = asked(server.jobs_at[door], token=TOKEN, entry="true")
    assert status == 200, told
    assert server.n_jobs() == before + 1


@pytest.mark.parametrize(
    ("secrets", "told"),
    [
        ({"RAY_AUTH_MODE": "disabled"}, "Unauthorized: Missing authentication token"),
        ({"RAY_AUTH_MODE": "token"}, "Ray couldn't find an authentication token"),
        (RIGHT | {"RAY_AUTH_TOKEN": WRONG_TOKEN}, "Forbidden: Invalid authentication token"),
    ],
    ids=["mode disabled", "no token", "wrong token"],
)
def test_who_submits_without_the_right_token_is_refused_and_told_why(
    server: JobServer, secrets: dict[str, str], told: str, tmp_path: Path
) -> None:
    before = server.n_jobs()
    done = server.submit("touch", str(tmp_path / "it ran"), **secrets)
    assert done.returncode != 0
    assert told in done.stderr
    assert TOKEN not in done.stdout + done.stderr
    assert server.n_jobs() == before
    assert list(tmp_path.iterdir()) == []


CONNECT = "import sys, ray.util; ray.util.connect(sys.argv[1], connection_retries=1); print('in')"


@pytest.mark.parametrize(
    ("secrets", "told"),
    [
        ({"RAY_AUTH_MODE": "disabled"}, ""),
        (RIGHT | {"RAY_AUTH_TOKEN": WRONG_TOKEN}, ""),
        (RIGHT, "in"),
    ],
    ids=["no token", "wrong token", "right token"],
)
def test_ray_client_lets_in_who_has_the_right_token(
    server: JobServer, secrets: dict[str, str], told: str
) -> None:
    address = f"{own_ip()}:{server.client_port}"
    done = server.run([sys.executable, "-c", CONNECT, address], **secrets)
    assert done.stdout.strip() == told, done.stderr
    assert (done.returncode == 0) == bool(told)


def test_a_search_that_is_submitted_runs_in_the_cluster_to_its_end(
    server: JobServer, tmp_path: Path
) -> None:
    space, workspace = tmp_path / "space.yaml", tmp_path / "workspace"
    space.write_text(SPACE)
    entry = [sys.executable, "-m", "dexsearch", "tune", "--space", str(space), "--study", "sent"]
    done = server.submit(*entry, "--workspace", str(workspace), **RIGHT)
    assert done.returncode == 0, done.stdout + done.stderr
    record = check_study(workspace / "studies" / "sent", trials=2, epochs=2)
    assert {trial.state for trial in record.trials} == {"complete"}
    assert "next:" in done.stdout, "what the search says reaches who submitted it"
    assert TOKEN not in done.stdout + done.stderr


def test_a_submitted_search_that_fails_ends_the_submission_with_a_failure(
    server: JobServer, tmp_path: Path
) -> None:
    entry = [sys.executable, "-m", "dexsearch", "tune", "--space", str(tmp_path / "nowhere.yaml")]
    done = server.submit(*entry, **RIGHT)
    assert done.returncode == 1, done.stdout
    assert "nowhere.yaml" in done.stdout
    assert "failed with exit code 3" in done.stdout, "Ray's own status is 1 whatever happened"

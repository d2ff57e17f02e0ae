"""MLflow's server as `dexsearch server` runs it, on the bridge, where hosts reach it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from clusters import plain_environment, wait_until

from dexsearch.registry.server import free_port

NOT_FOUND = 404


class TrackingServer:
    """A server that can be killed and started again at the same address."""

    def __init__(self, host: str, folder: Path, *flags: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._host = host
        self._port = free_port(host, 0)
        self._flags = flags
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What `--tracking-uri` takes."""
        return f"http://{self._host}:{self._port}"

    def start(self) -> None:
        """Start it and return once it answers."""
        command = [
            sys.executable, "-m", "dexsearch", "server", "--host", self._host,
            "--port", str(self._port), "--workspace", str(self._folder), *self._flags,
        ]  # fmt: skip
        told = self._folder / "server.txt"
        with told.open("ab") as log:
            self._process = subprocess.Popen(
                command, env=plain_environment(self._folder), stdout=log, stderr=log,
                start_new_session=True, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        wait_until(self._answers, 300, alive=self._process, why=lambda: told.read_text()[-2000:])

    def kill(self) -> None:
        """Kill it and everything it started."""
        if self._process is not None:
            children = _descendants(self._process.pid)
            for pid in (self._process.pid, *children):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def trials(self) -> dict[str, str]:
        """Return what it shows of trials: key -> status; one shown twice is an error."""
        try:
            found = self._ask("experiments/get-by-name?experiment_name=dexsearch")
        except HTTPError as error:
            if error.code != NOT_FOUND:
                raise
            return {}
        wanted = {"experiment_ids": [found["experiment"]["experiment_id"]], "max_results": 1000}
        states: dict[str, str] = {}
        for run in self._ask("runs/search", wanted).get("runs", []):
            tags = {tag["key"]: tag["value"] for tag in run["data"].get("tags", [])}
            key = tags.get("dexsearch.trial_key")
            if key is not None:
                assert key not in states, f"{key} is shown twice"
                states[key] = run["info"]["status"]
        return states

    def _answers(self) -> bool:
        try:
            with _opener().open(f"{self.url}/health", timeout=5):
                return True
        except OSError:
            return False

    def _ask(self, what: str, body: dict[str, Any] | None = None) -> Any:  # noqa: ANN401
        data = None if body is None else json.dumps(body).encode()
        request = Request(
            f"{self.url}/api/2.0/mlflow/{what}", data, {"Content-Type": "application/json"}
        )
        with _opener().open(request, timeout=60) as answer:
            return json.load(answer)


@contextlib.contextmanager
def tracking_server(host: str, folder: Path, *flags: str) -> Iterator[TrackingServer]:
    """Make a server, which a test starts; it is gone afterwards."""
    server = TrackingServer(host, folder, *flags)
    try:
        yield server
    finally:
        server.kill()


def _opener() -> Any:  # noqa: ANN401
    return build_opener(ProxyHandler({}))


def _descendants(pid: int) -> list[int]:
    """Return the processes that a process started, and those that they did."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rsplit(")", 1)[1].split()
            parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, left = [], [pid]
    while left:
        children = parents.get(left.pop(), [])
        found += children
        left += children
    return found

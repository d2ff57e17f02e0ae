"""Searches on Ray clusters of several nodes, each in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from searching import SUPPORT, ray_environment

import dexsearch


@dataclass(frozen=True)
class ClusterSearch:
    """A search and the cluster that it runs on.

    Attributes:
        space: search space.
        folder: of the study.
        scenario: a key of `scenarios.BACKENDS`.
        nodes: what each node has, by name.
        begin: names of the nodes that are there from the beginning.
        then: after so many epochs of this run "add" or "remove" the node called so.
    """

    space: Mapping[str, Any]
    folder: str
    scenario: str
    nodes: Mapping[str, Mapping[str, Any]]
    begin: tuple[str, ...]
    then: tuple[tuple[int, str, str], ...] = ()
    dataset: str = "datasets/x"
    digest: str = "digest"
    ship_code: bool = False
    epoch_s: float = field(default=0.0, metadata={"of": "invented curves"})

    def started(self) -> subprocess.Popen[str]:
        """Begin the search on a cluster of its own."""
        folder = Path(self.folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        request = folder.with_suffix(".json")
        request.write_text(json.dumps(asdict(self)))
        environment = dict(ray_environment(folder.parent / "home", self.epoch_s))
        paths = [SUPPORT, Path(dexsearch.__file__).parents[1]]
        environment |= {"PYTHONPATH": ":".join(map(str, paths)), "RAY_AUTH_MODE": "disabled"}
        return subprocess.Popen(
            [sys.executable, str(SUPPORT / "drive_cluster.py"), str(request)],
            env=environment,
            cwd=folder.parent,  # Ray lets workers import from there
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self) -> dict[str, Any]:
        """Run the search to its end; return what its driver says."""
        process = self.started()
        try:
            stdout, stderr = process.communicate(timeout=400)
        finally:
            process.kill()
        assert process.returncode == 0, stderr
        answer: dict[str, Any] = json.loads(stdout.splitlines()[-1])
        return answer

"""The files of `deploy/`, and what of them starts Ray: read once for every test."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
OVERLAYS = sorted(path.name for path in (DEPLOY / "kubernetes" / "overlays").iterdir())
REQUIRED = "DEXSEARCH_REQUIRE_DEPLOY_TOOLS"
_TOOLS = ("bash", "ip", "getent", "od", "systemd-analyze")  # beside those of the dev extra
HEALTH_CHECK = {
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}


def text_files() -> list[Path]:
    """Return every file of `deploy/`."""
    return sorted(path for path in DEPLOY.rglob("*") if path.is_file())


def compose(name: str = "compose.yaml") -> dict[str, Any]:
    """Return a compose file."""
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose" / name).read_text())
    return loaded


def launcher() -> dict[str, Any]:
    """Return the file of Ray's cluster launcher."""
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "ray" / "cluster.yaml").read_text())
    return loaded


def unit(name: str) -> dict[str, list[str]]:
    """Return the settings of a systemd unit, each with its values in order."""
    joined = (DEPLOY / "systemd" / name).read_text().replace("\\\n", " ")
    found: dict[str, list[str]] = {}
    for line in joined.splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(" ".join(value.split()))
    return found


def environment_of(name: str) -> dict[str, str]:
    """Return the environment that a systemd unit sets."""
    pairs = [pair for line in unit(name).get("Environment", []) for pair in line.split()]
    return dict(pair.split("=", 1) for pair in pairs)


def why_no_kustomize() -> str | None:
    """Return why overlays cannot be built here; None if they can. Components need version 4."""
    if shutil.which("kubectl") is None:
        return "needs kubectl"
    command = ["kubectl", "version", "--client"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    found = re.search(r"Kustomize Version: v(\d+)", told)
    return None if found and int(found[1]) >= 4 else "needs kubectl 1.24 or later"


def missing_tools() -> list[str]:
    """Return what is not installed here, so that some test of `deploy/` skips.

    But kubectl: Debian 12 has a version that is too old and PyPI none, so machines differ.
    """
    return [name for name in _TOOLS if shutil.which(name) is None]


def kustomized(folder: str) -> list[dict[str, Any]]:
    """Return what `kubectl kustomize` makes of a folder of `deploy/kubernetes`."""
    done = subprocess.run(
        ["kubectl", "kustomize", str(DEPLOY / "kubernetes" / folder)],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def manifests(folder: str) -> list[dict[str, Any]]:
    """Return the objects written in a folder of `deploy/kubernetes`, without kustomize."""
    files = sorted((DEPLOY / "kubernetes" / folder).glob("*.yaml"))
    return [
        document
        for path in files
        if path.name not in ("kustomization.yaml", "search.yaml")
        for document in yaml.safe_load_all(path.read_text())
    ]


def ray_cluster(document: dict[str, Any]) -> dict[str, Any]:
    """Return the cluster that a RayCluster or a RayJob describes."""
    spec: dict[str, Any] = document["spec"]
    return spec["rayClusterSpec"] if document["kind"] == "RayJob" else spec


def pod_specs(document: object) -> Iterator[dict[str, Any]]:
    """Find every pod template's specification inside a manifest."""
    if isinstance(document, dict):
        if "containers" in document:
            yield document
        for value in document.values():
            yield from pod_specs(value)
    elif isinstance(document, list):
        for value in document:
            yield from pod_specs(value)


def commands_in(text: str, program: str) -> list[list[str]]:
    """Return the command lines of a program in documentation, scripts or YAML, as words."""
    joined = re.sub(r"\\\n[#\s]*", " ", text)
    found = []
    for line in joined.splitlines():
        for match in re.finditer(rf"(?<![\w/.-]){program} [^`'\"|;&)]*", line):
            found.append(shlex.split(match.group(), comments=True))
    return found

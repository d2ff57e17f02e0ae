"""The container file and the compose files: valid, without secrets, closed to the network."""

import fnmatch
import re
import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from tests.deploy.support.files import DEPLOY, HEALTH_CHECK, ROOT, compose

BIN = Path(sys.executable).parent
CONTAINERFILE = DEPLOY / "Containerfile"


def _run(*command: str) -> None:
    done = subprocess.run(
        [str(BIN / command[0]), *command[1:]], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _copied() -> list[str]:
    lines = [line.split() for line in CONTAINERFILE.read_text().splitlines()]
    words = [line for line in lines if line and line[0] == "COPY" and "--from" not in line[1]]
    return [name for line in words for name in line[1:-1]]


def test_hadolint_finds_nothing_in_the_container_file() -> None:
    _run("hadolint", str(CONTAINERFILE))


def test_the_container_file_copies_only_what_exists_and_what_is_sent() -> None:
    sent = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    assert sent == set(_copied())
    assert all((ROOT / name).exists() for name in sent)


PRIVATE = (
    "deploy/compose/secrets/ray_token",
    "workspace/studies/tiny/ledger.jsonl",
    ".git/config",
)


def _would_send(copied: str, file: str) -> bool:
    """Return whether `COPY copied` takes a file along, by its own name or with a folder above."""
    path, pattern = PurePosixPath(file), str(PurePosixPath(copied))
    return any(fnmatch.fnmatchcase(str(part), pattern) for part in (path, *path.parents))


@pytest.mark.parametrize("copied", ["deploy", "./", "deploy/*", "dep*", "deploy/compose/secrets"])
def test_a_copy_of_a_folder_takes_what_is_below_it(copied: str) -> None:
    assert _would_send(copied, PRIVATE[0])


@pytest.mark.parametrize("file", PRIVATE)
def test_no_workspace_and_no_secret_is_sent_to_a_build(file: str) -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    assert not [line for line in lines if line[:1] == "!" and _would_send(line[1:], file)]
    assert not [name for name in _copied() if _would_send(name, file)]


def test_the_image_runs_as_nobody_special_with_exact_versions_and_a_token() -> None:
    lines = CONTAINERFILE.read_text()
    assert "USER 1000" in lines
    assert 'ENTRYPOINT ["dexsearch"]' in lines
    assert "RAY_AUTH_MODE=token" in lines
    assert all("--constraint constraints.txt" in p for p in lines.split("pip install")[1:])
    assert "wget" in lines  # KubeRay's health checks


def test_no_image_takes_gpus_that_it_was_not_given() -> None:
    settings = [line for line in CONTAINERFILE.read_text().splitlines() if line[:1] != "#"]
    assert not [line for line in settings if "NVIDIA_VISIBLE_DEVICES" in line]


def test_the_cpu_image_can_have_the_cpu_build_of_torch_and_the_cuda_image_never_has() -> None:
    built = {name: s["build"]["args"] for name, s in _services().items() if "build" in s}
    assert {"head", "worker", "tune", "mlflow"} == built.keys()
    assert all(arguments == {"TORCH_INDEX": "${TORCH_INDEX:-}"} for arguments in built.values())
    for service in compose("compose.gpu.yaml")["services"].values():
        assert service["build"] == {"target": "cuda", "args": {"TORCH_INDEX": ""}}


@pytest.mark.parametrize("name", ["compose.yaml", "compose.gpu.yaml"])
def test_compose_files_fit_the_specification(name: str) -> None:
    path = str(DEPLOY / "compose" / name)
    _run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", path)


def _services() -> dict[str, dict[str, Any]]:
    services: dict[str, dict[str, Any]] = compose()["services"]
    return services


def test_every_container_is_bounded_and_without_capabilities() -> None:
    for name, service in _services().items():
        assert service["cap_drop"] == ["ALL"], name
        assert "cap_add" not in service, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        for limit in ("mem_limit", "pids_limit"):  # a variable, with a default
            assert re.fullmatch(r"\$\{DEXSEARCH_\w+:-\d+g?\}", service[limit]), (name, limit)


def test_ports_are_published_on_loopback_only() -> None:
    published = [port for service in _services().values() for port in service.get("ports", ())]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_every_ray_node_has_the_token_by_file_and_the_head_notices_lost_nodes() -> None:
    for name in ("head", "worker", "tune"):
        service = _services()[name]
        assert "ray" in str(service["entrypoint"])
        assert service["environment"]["RAY_AUTH_MODE"] == "token"
        assert service["environment"]["RAY_AUTH_TOKEN_PATH"] == "/run/secrets/ray_token"
        assert "ray_token" in service["secrets"]
    assert _services()["head"]["environment"].items() >= HEALTH_CHECK.items()


def test_secrets_are_files_that_version_control_ignores() -> None:
    assert all(list(secret) == ["file"] for secret in compose()["secrets"].values())
    assert "secrets/" in (DEPLOY / "compose" / ".gitignore").read_text().split()
    for service in _services().values():
        for name in service.get("environment", {}):
            assert "PASSWORD" not in name or name.endswith("_FILE")


def test_whoever_is_waited_for_tells_its_health() -> None:
    services = _services()
    for service in services.values():
        for name, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            assert "healthcheck" in services[name]


def test_the_head_is_healthy_once_its_own_node_is_there() -> None:
    """`ray status` ends with 0 as soon as the control store answers, before anybody can join."""
    how, told = _services()["head"]["healthcheck"]["test"]
    assert how == "CMD-SHELL"
    assert told.startswith("ray status")
    assert told.endswith("grep -q node_")


def test_the_gpu_file_changes_services_that_exist() -> None:
    assert compose("compose.gpu.yaml")["services"].keys() <= _services().keys()

"""systemd units and Ray's launcher file: valid, with the token by reference."""

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from tests.deploy.support.files import (
    DEPLOY,
    HEALTH_CHECK,
    commands_in,
    environment_of,
    launcher,
    unit,
)

UNITS = sorted(path.name for path in (DEPLOY / "systemd").glob("*.service"))
RAY_UNITS = [name for name in UNITS if "server" not in name]
HARDENING = {
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "CapabilityBoundingSet": "",
    "User": "dexsearch",
    "UMask": "0077",
    "StateDirectoryMode": "0700",
}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    programs = str(Path(sys.executable).parent)
    for name in UNITS:  # it also asks that each program exists, so that ours stand in
        told = (DEPLOY / "systemd" / name).read_text().replace("/opt/dexsearch/bin", programs)
        (tmp_path / name).write_text(told)
    done = subprocess.run(
        ["systemd-analyze", "verify", *(str(tmp_path / name) for name in UNITS)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("name", UNITS)
def test_systemd_calls_no_unit_exposed(name: str, tmp_path: Path) -> None:
    """At most 4 of 10 points: what is left is the network, GPUs and code made at run time."""
    named = tmp_path / name.replace("@", "@any")
    named.write_text((DEPLOY / "systemd" / name).read_text())
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=40",
         str(named)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "Overall exposure level" in done.stdout + done.stderr
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", UNITS)
def test_units_are_hardened(name: str) -> None:
    found = unit(name)
    assert {key: found[key][-1] for key in HARDENING} == HARDENING


@pytest.mark.parametrize("name", RAY_UNITS)
def test_ray_units_have_the_token_as_a_credential(name: str) -> None:
    environment = environment_of(name)
    assert environment["RAY_AUTH_MODE"] == "token"
    assert environment["RAY_AUTH_TOKEN_PATH"] == "%d/ray-token"
    assert unit(name)["LoadCredential"] == ["ray-token:/etc/dexsearch/ray-token"]
    assert environment["HOME"] == "%S/dexsearch"


def test_whoever_runs_or_joins_ray_can_write_its_sessions() -> None:
    joining = [n for n in UNITS if {"start", "--address"} & set(unit(n)["ExecStart"][0].split())]
    assert joining == RAY_UNITS
    for name in joining:  # ProtectSystem=strict closes /var/cache otherwise
        assert unit(name)["CacheDirectory"] == ["dexsearch"]
        assert unit(name)["CacheDirectoryMode"] == ["0700"]  # Ray opens what it is given: 0777
        folder = [w for w in unit(name)["ExecStart"][0].split() if w.startswith("--temp-dir=")]
        assert folder in ([], ["--temp-dir=%C/dexsearch/ray"])


def test_the_head_notices_lost_nodes_and_shows_no_dashboard() -> None:
    assert environment_of("dexsearch-head.service").items() >= HEALTH_CHECK.items()
    assert "--include-dashboard=false" in unit("dexsearch-head.service")["ExecStart"][0].split()


def test_a_worker_reaches_its_gpus() -> None:
    closing = {"PrivateDevices", "DeviceAllow", "DevicePolicy", "ProtectClock"}
    assert not closing & unit("dexsearch-worker.service").keys()


def test_a_search_starts_again_after_faults_but_not_after_mistakes() -> None:
    found = unit("dexsearch-tune@.service")
    assert found["Restart"] == ["on-failure"]
    assert found["SuccessExitStatus"] == ["130 143"]  # told to stop, to be continued
    assert {"1", "2", "3", "5", "7"} <= set(found["RestartPreventExitStatus"][0].split())
    assert not {"4", "6"} & set(found["RestartPreventExitStatus"][0].split())


def test_a_search_whose_cluster_stays_away_is_given_up_after_a_while() -> None:
    """An interval that fewer starts than the limit can fill would be no limit."""
    found = unit("dexsearch-tune@.service")
    hours = int(found["StartLimitIntervalSec"][0].removesuffix("h"))
    slowest_start_s = 60
    burst, pause_s = int(found["StartLimitBurst"][0]), int(found["RestartSec"][0])
    assert burst * (pause_s + slowest_start_s) < hours * 3600


@pytest.mark.parametrize("name", UNITS)
def test_no_unit_can_take_the_whole_machine(name: str) -> None:
    found = unit(name)
    assert int(found["TasksMax"][0]) > 0
    assert 0 < int(found["MemoryMax"][0].removesuffix("%")) < 100


def test_a_trial_that_is_killed_for_memory_does_not_end_its_node() -> None:
    assert unit("dexsearch-worker.service")["OOMPolicy"] == ["continue"]


def test_the_server_listens_on_loopback_with_a_password() -> None:
    words = unit("dexsearch-server.service")["ExecStart"][0]
    assert "--host 127.0.0.1" in words
    assert "--auth" in words


def test_the_launcher_file_fits_rays_own_schema() -> None:
    found = importlib.util.find_spec("ray")
    assert found
    assert found.origin
    schema = Path(found.origin).parent / "autoscaler" / "ray-schema.json"
    jsonschema.validate(launcher(), json.loads(schema.read_text()))


def test_the_search_that_the_launchers_lines_run_was_sent_to_the_head() -> None:
    told = (DEPLOY / "ray" / "cluster.yaml").read_text()
    (sent,) = [words for words in commands_in(told, "ray") if words[1] == "rsync-up"]
    (searched,) = re.findall(r"--space (\S+)", told)
    assert sent[2:5] == ["deploy/ray/cluster.yaml", "joint.yaml", searched]
    assert launcher()["auth"]["ssh_private_key"]  # the head starts the workers with it


def test_the_launcher_hands_the_token_out_as_a_file_and_starts_nothing_without() -> None:
    told = launcher()
    assert "~/.ray/auth_token" in told["file_mounts"]  # where Ray looks for it by itself
    starts = [*told["head_start_ray_commands"], *told["worker_start_ray_commands"]]
    assert all("RAY_AUTH_MODE=token" in line for line in starts if "ray start" in line)
    head = " ".join(told["head_start_ray_commands"])
    assert all(f"{name}={value}" in head for name, value in HEALTH_CHECK.items())
    assert "--dashboard-host=127.0.0.1" in head


def test_the_launcher_gives_ray_a_folder_within_one_that_nobody_else_enters() -> None:
    for part in ("head", "worker"):
        lines = launcher()[f"{part}_start_ray_commands"]
        (start,) = [line for line in lines if "ray start" in line]
        assert '--temp-dir="$(mktemp -d /tmp/dexray-up-XXXXXX)/r"' in start


def test_the_launcher_tidies_away_its_own_old_folders_alone(tmp_path: Path) -> None:
    names = ("dexray-4711-abcdefgh", "dexray-AbCdEf", "dexray-up-AbCdEf", "dexray-up-new")
    for name in names:  # of a local search, of a Slurm job, its own
        (tmp_path / name / "r").mkdir(parents=True)
        if name != "dexray-up-new":
            os.utime(tmp_path / name, (0, 0))
    for part in ("head", "worker"):
        lines = launcher()[f"{part}_start_ray_commands"]
        (tidied,) = [line for line in lines if line.startswith("find /tmp ")]
        here = tidied.replace("find /tmp ", f"find {shlex.quote(str(tmp_path))} ")
        subprocess.run(["sh", "-c", here], check=True)
        assert {path.name for path in tmp_path.iterdir()} == {*names} - {"dexray-up-AbCdEf"}

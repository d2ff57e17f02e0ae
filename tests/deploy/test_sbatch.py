"""The batch script: clean to shellcheck, and its logic with a pretended Slurm and Ray."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.support.files import DEPLOY, HEALTH_CHECK
from tests.deploy.support.pretended_slurm import PretendedSlurm
from tests.deploy.support.slurm_lab import wait_until

SCRIPT = DEPLOY / "slurm" / "dexsearch.sbatch"
STOPPED = 'trap "exit 143" USR1 TERM; while :; do sleep 0.05; done'
# What `dexsearch tune` does when Ray's head is lost: it ends with 4 as soon as nobody answers.
GONE = "while kill -0 $head 2>/dev/null; do sleep 0.05; done; exit 4"
HEAD_DIES = f'. "$LAB/head"; kill -KILL $head; {GONE}'
STEPS_ARE_ENDED = f'. "$LAB/head"; kill -TERM $step; {GONE}'
PATIENCE_S = 30

needs_programs = pytest.mark.skipif(
    any(shutil.which(name) is None for name in ("bash", "ip", "getent", "od")),
    reason="needs bash, ip, getent and od",
)


def test_shellcheck_finds_nothing() -> None:
    program = str(Path(sys.executable).parent / "shellcheck")
    done = subprocess.run([program, str(SCRIPT)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_slurm_is_asked_to_warn_to_queue_again_and_to_outlive_nodes() -> None:
    asked = set(re.findall(r"^#SBATCH (--\S+)", SCRIPT.read_text(), re.MULTILINE))
    assert {"--signal=B:USR1@120", "--requeue", "--no-kill", "--open-mode=append"} <= asked


def test_ray_is_given_a_folder_within_one_that_nobody_else_enters() -> None:
    told = SCRIPT.read_text()
    assert "scratch=$(mktemp -d /tmp/dexray-XXXXXX)" in told
    assert re.findall(r"--temp-dir=(\S+)", told) == ['"$scratch/r"']


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[PretendedSlurm]:
    pretended = PretendedSlurm(tmp_path)
    yield pretended
    for pid in pretended.left():  # of a test that failed
        os.kill(pid, signal.SIGKILL)


@needs_programs
@pytest.mark.parametrize("code", [0, 2, 3, 4, 5, 6, 7])  # 4 while the head lives is no lost head
def test_the_code_of_the_search_is_the_code_of_the_job(slurm: PretendedSlurm, code: int) -> None:
    process = slurm.start(f"exit {code}", "--space", "my space.yaml", script=SCRIPT)
    told = process.communicate(timeout=PATIENCE_S)[1]
    assert process.returncode == code, told
    assert slurm.told("requeued") == ""
    assert re.match(
        r"tune --address 127.0.0.1:\d+ --takeover --space my space.yaml\n", slurm.told("tune")
    )


@needs_programs
def test_ray_gets_the_token_of_this_job_and_leaves_nothing(slurm: PretendedSlurm) -> None:
    slurm.start("exit 0", script=SCRIPT).communicate(timeout=PATIENCE_S)
    head, worker = sorted(
        slurm.told("started").splitlines(), key=lambda line: "--head" not in line
    )
    assert "--head" in head
    assert "--include-dashboard=false" in head
    assert "--address=127.0.0.1:" in worker
    assert all("--num-gpus=3" in line for line in (head, worker))
    environment = slurm.told("environment").splitlines()
    assert "RAY_AUTH_MODE=token" in environment
    assert not any(line.startswith("RAY_AUTH_TOKEN=") for line in environment)
    assert {f"{name}={value}" for name, value in HEALTH_CHECK.items()} <= set(environment)
    assert slurm.told("rights").split() == ["600", "700"] * 2
    assert not slurm.left()
    assert not list(slurm.folder.glob(".dexsearch/*/token"))


@needs_programs
@pytest.mark.parametrize(
    ("number", "restarts", "is_requeued"),
    [(signal.SIGUSR1, 0, True), (signal.SIGUSR1, 50, False), (signal.SIGTERM, 0, False)],
)
def test_the_time_limit_queues_the_job_again_and_scancel_does_not(
    slurm: PretendedSlurm, number: int, restarts: int, is_requeued: bool
) -> None:
    process = slurm.start(STOPPED, script=SCRIPT, restarts=restarts)
    wait_until((slurm.folder / "driver").exists, PATIENCE_S, "the search runs")
    process.send_signal(number)
    told = process.communicate(timeout=PATIENCE_S)[1]
    assert process.returncode == 143, told
    assert bool(slurm.told("requeued")) == is_requeued
    assert not slurm.left()


@needs_programs
@pytest.mark.parametrize("code", [0, 3, 5, 7])
def test_what_trying_does_not_mend_is_not_queued_again_even_at_the_time_limit(
    slurm: PretendedSlurm, code: int
) -> None:
    process = slurm.start(STOPPED.replace("143", str(code)), script=SCRIPT)
    wait_until((slurm.folder / "driver").exists, PATIENCE_S, "the search runs")
    process.send_signal(signal.SIGUSR1)
    told = process.communicate(timeout=PATIENCE_S)[1]
    assert process.returncode == code, told
    assert slurm.told("requeued") == ""


@needs_programs
@pytest.mark.parametrize(
    ("restarts", "is_requeued"), [(0, True), (50, False)], ids=["first", "fiftieth"]
)
@pytest.mark.parametrize("fault", [HEAD_DIES, STEPS_ARE_ENDED], ids=["alone", "with all steps"])
def test_a_job_whose_head_is_gone_is_queued_again(
    slurm: PretendedSlurm, fault: str, restarts: int, is_requeued: bool
) -> None:
    process = slurm.start(fault, script=SCRIPT, restarts=restarts)
    if fault == STEPS_ARE_ENDED and not is_requeued:  # Slurm may queue it again: it is waited for
        said = iter(process.stderr or ())
        assert any("waiting up to" in line for line in said)
        process.send_signal(signal.SIGTERM)
    told = process.communicate(timeout=PATIENCE_S)[1]
    assert process.returncode == 4, told
    assert bool(slurm.told("requeued")) == is_requeued
    assert not slurm.left()


@needs_programs
def test_a_preempted_job_that_may_not_queue_itself_waits_to_be_ended(
    slurm: PretendedSlurm,
) -> None:
    process = slurm.start(STEPS_ARE_ENDED, script=SCRIPT, refuses_to_queue=True)
    assert any("waiting up to" in line for line in process.stderr or ())
    assert slurm.told("requeued")
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 4
    assert not slurm.left()


@needs_programs
def test_scancel_of_a_job_whose_head_is_gone_ends_it_for_good(slurm: PretendedSlurm) -> None:
    told_first = 'trap "" TERM; kill -TERM $PPID; sleep 0.2; '
    process = slurm.start(told_first + HEAD_DIES, script=SCRIPT)
    told = process.communicate(timeout=PATIENCE_S)[1]
    assert process.returncode == 4, told
    assert slurm.told("requeued") == ""


def test_without_slurm_it_says_what_to_type(tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", str(SCRIPT)], env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 4
    assert "sbatch" in done.stderr


@needs_programs
def test_a_head_that_does_not_come_up_is_started_again(slurm: PretendedSlurm) -> None:
    process = slurm.start("exit 0", script=SCRIPT, n_failing_starts=2)
    told = process.communicate(timeout=PATIENCE_S)[1]
    assert process.returncode == 0, told
    assert "start 2 of 5" in told

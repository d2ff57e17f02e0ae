"""What only a real Ray shows: silence, lost processes, kills, Ctrl-C, nothing left behind."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from running import ended, n_epochs, n_events, wait_until
from searching import check_study, ray_command, ray_environment, run_in_process, run_on_ray

from dexsearch.errors import EnvironmentFault
from dexsearch.ledger.log import read_events
from dexsearch.ledger.study import read_study

pytestmark = [pytest.mark.slow, pytest.mark.cluster]


def processes_of(scratch_prefix: str) -> list[str]:
    """Command lines that mention a scratch folder of Ray."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if scratch_prefix in command:
            found.append(command)
    return found


def wait_until_gone(pid: int, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while processes_of(f"dexray-{pid}-"):
        assert time.monotonic() < deadline, processes_of(f"dexray-{pid}-")
        time.sleep(0.1)


def begun(
    folder: Path, function: str, *, epoch_s: float, events: int, **changes: object
) -> subprocess.Popen[str]:
    """Start a search and return once it has written so many more events."""
    wanted = n_events(folder) + events
    process = started(folder, function, epoch_s=epoch_s, **changes)
    wait_until(process, lambda: n_events(folder) >= wanted)
    return process


def started(
    folder: Path, function: str, *, epoch_s: float, **changes: object
) -> subprocess.Popen[str]:
    """Start a search."""
    return subprocess.Popen(
        ray_command(folder, function, **changes),
        env=ray_environment(folder.parent / "home", epoch_s),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "s"
    assert not (tmp_path / "home" / ".ray").exists(), "Ray left a token in the home directory"


def test_a_search_says_its_own_lines_and_nothing_else(folder: Path) -> None:
    outcome = run_on_ray(folder, "noisy", trials=4)
    check_study(folder, trials=4, epochs=9)
    starts = ("study s: ", "trial ")
    assert [line for line in outcome.stderr.splitlines() if not line.startswith(starts)] == []


def test_a_lost_trial_process_costs_no_epoch_and_no_other_trial(folder: Path) -> None:
    outcome = run_on_ray(folder, "killed_once", trials=3, pruner={"kind": "none"})
    check_study(folder, trials=3, epochs=9)
    assert "trial 1: its process was lost; continuing from its checkpoint" in outcome.stderr
    trained = (folder / "trials" / "1" / "trained.txt").read_text().split()
    assert trained == [str(epoch) for epoch in range(1, 10)], "an epoch was trained twice"
    events = read_events(folder / "ledger.jsonl")
    again = [event for event in events if event["event"] == "trial_continued"]
    assert [(event["trial"], event["reason"]) for event in again] == [(1, "its process was lost")]


@pytest.mark.parametrize("seed", range(3))
def test_a_driver_killed_at_random_moments_ends_as_the_same_search(
    seed: int, folder: Path
) -> None:
    moments = random.Random(seed)
    for _ in range(2):
        events = moments.randrange(1, 15)
        process = begun(folder, "rising", epoch_s=0.1, events=events, trials=6)
        time.sleep(moments.random() * 0.5)
        process.kill()
        process.communicate()
        wait_until_gone(process.pid)
    if seed == 0:
        (folder / "study.db").unlink()
    outcome = run_on_ray(folder, "rising", trials=6)
    assert outcome.exit_code == 0
    check_study(folder, trials=6, epochs=9)


def ends_as(folder: Path) -> list[tuple[object, ...]]:
    return [
        (trial.number, trial.params, trial.state, trial.epochs, trial.would_prune_at)
        for trial in read_study(folder).trials
    ]


def test_killed_five_times_a_search_ends_with_the_ledger_of_one_that_never_was(
    folder: Path, tmp_path: Path
) -> None:
    """Random sampler, no pruner: then it does not matter in which order trials end."""
    alone: dict[str, Any] = {
        "trials": 8, "epochs": 12, "sampler": {"kind": "random"}, "pruner": {"kind": "none"},
    }  # fmt: skip
    kills = sorted(random.Random(5).sample(range(2, 72), 5))  # epochs in the ledger, of 96
    assert run_in_process(tmp_path / "whole" / "s", "rising", **alone).exit_code == 0
    for n in kills:
        process = started(folder, "rising", epoch_s=0.2, **alone)
        wait_until(process, lambda n=n: n_epochs(folder) >= n)  # type: ignore[misc]
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "the search had ended before it was killed"
        wait_until_gone(process.pid)
    assert n_epochs(folder) < 96
    outcome = run_on_ray(folder, "rising", **alone)
    assert outcome.exit_code == 0, outcome.stderr
    record = check_study(folder, trials=8, epochs=12)
    told = f"killed at {kills} epochs: {len(record.trials)} trials, {n_epochs(folder)} epochs"
    assert ends_as(folder) == ends_as(tmp_path / "whole" / "s"), told
    begins = [e for e in read_events(folder / "ledger.jsonl") if e["event"] == "trial_started"]
    assert sorted(event["trial"] for event in begins) == list(range(8)), told


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_the_whole_group_stops_tidily_and_the_same_command_continues(
    number: signal.Signals, code: int, folder: Path
) -> None:
    """A terminal sends Ctrl-C to every process of the group, Ray's workers included."""
    process = begun(folder, "rising", epoch_s=0.3, events=8, trials=4)
    os.killpg(process.pid, number)
    _, stderr = ended(process, timeout_s=30)
    assert process.returncode == code, stderr
    assert "Traceback" not in stderr
    wait_until_gone(process.pid, timeout_s=5)
    record = read_study(folder)
    assert record.in_state("running")
    assert not record.in_state("failed"), [trial.reason for trial in record.in_state("failed")]
    assert run_on_ray(folder, "rising", trials=4).exit_code == 0
    check_study(folder, trials=4, epochs=9)


def test_two_signals_stop_at_once_although_an_epoch_takes_long(folder: Path) -> None:
    process = begun(folder, "rising", epoch_s=60, events=3, trials=4)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, stderr = ended(process, timeout_s=20)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    wait_until_gone(process.pid, timeout_s=10)


def test_nothing_is_left_of_a_search(folder: Path, tmp_path: Path) -> None:
    process = begun(folder, "rising", epoch_s=0.0, events=1, trials=2)
    ended(process, timeout_s=60)
    assert process.returncode == 0
    wait_until_gone(process.pid, timeout_s=5)
    assert not list(Path("/tmp").glob(f"dexray-{process.pid}-*"))
    assert sorted(path.name for path in folder.iterdir()) == [
        "lease",
        "lease.json",
        "ledger.jsonl",
        "ledger.jsonl.lock",
        "study.db",
        "trials",
    ]


def test_a_trial_larger_than_the_machine_is_refused(folder: Path) -> None:
    outcome = run_on_ray(folder, "rising", trials=1, resources={"cpus": 4096})
    assert outcome.exit_code == EnvironmentFault.exit_code
    assert "a trial needs 4096 cpu, and the cluster has" in (outcome.error or "")


def test_trials_run_side_by_side(folder: Path) -> None:
    if (os.cpu_count() or 1) < 2:
        pytest.skip("one processor runs one trial at a time")
    run_on_ray(folder, "rising", trials=2, pruner={"kind": "none"})
    kinds = [event["trial"] for event in read_events(folder / "ledger.jsonl") if "trial" in event]
    assert kinds[:2] == [0, 1], "the second trial is handed out before the first one reports"


def test_an_actor_is_used_again(folder: Path) -> None:
    """Twelve trials run in the few processes that run side by side."""
    run_on_ray(folder, "telling_process", trials=12, pruner={"kind": "none"}, epochs=2)
    record = check_study(folder, trials=12, epochs=2)
    processes = {trial.last_record["process"] for trial in record.trials}
    assert len(processes) <= max(2, 12 // 3)


def test_after_an_exception_the_next_trial_gets_a_new_process(folder: Path) -> None:
    """A sticky error of a device would fail every later trial of its process."""
    run_on_ray(folder, "failing_process", trials=6, pruner={"kind": "none"}, epochs=2)
    record = check_study(folder, trials=6, epochs=2)
    assert [trial.number for trial in record.in_state("failed")] == [0, 1]
    assert len(record.in_state("complete")) == 4
    spoilt = {(folder / "trials" / str(n) / "process").read_text() for n in (0, 1)}
    assert not spoilt & {str(trial.last_record["process"]) for trial in record.trials[2:]}
    again = [e for e in read_events(folder / "ledger.jsonl") if e["event"] == "trial_continued"]
    assert {(event["trial"], event["kind"]) for event in again} == {
        (0, "exception"),
        (1, "exception"),
    }

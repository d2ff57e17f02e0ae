"""Real processes, nodes and heads that die or hang under a search on a real Ray."""

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from running import ended, n_epochs, n_events, wait_until
from searching import SUPPORT, check_study, ray_command, ray_environment, run_on_ray

from dexsearch.ledger.log import read_events
from dexsearch.ledger.study import read_study

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

NO_PRUNER = {"kind": "none"}
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "5e" * 32, "RAY_USAGE_STATS_ENABLED": "0"}


def setbacks(folder: Path) -> Counter[tuple[int, str]]:
    events = read_events(folder / "ledger.jsonl")
    return Counter((e["trial"], e["kind"]) for e in events if e["event"] == "trial_continued")


def test_each_fault_of_a_trial_has_its_class_and_costs_no_other_trial(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    outcome = run_on_ray(
        folder, "troubled", epoch_s=0.25, trials=8, pruner=NO_PRUNER, resources={"hang_s": 3}
    )
    assert outcome.exit_code == 0, outcome.stderr
    record = check_study(folder, trials=8, epochs=9)
    failed = {trial.number: (trial.kind, trial.reason) for trial in record.in_state("failed")}
    assert failed == {
        3: ("exception", "RuntimeError: a bad trial"),
        4: ("numeric", "val_ssim is nan at epoch 6"),
        6: ("memory", "MemoryError: no room for another batch"),
    }
    assert len(record.in_state("complete")) == 5
    met = {(0, "lost"), (1, "hung"), (2, "exception"), (3, "exception"), (5, "disk")}
    assert met <= set(setbacks(folder)), outcome.stderr
    assert "trial 1 hangs: no report for" in outcome.stderr
    assert "waiting for disk space: OSError: [Errno 28]" in outcome.stderr
    for number in (0, 1, 2, 5):
        trained = (folder / "trials" / str(number) / "trained.txt").read_text().split()
        assert trained == [str(epoch) for epoch in range(1, 10)], "an epoch was trained twice"


def test_a_process_that_hangs_before_it_answers_is_replaced(tmp_path: Path) -> None:
    outcome = run_on_ray(
        tmp_path / "s", "hanging_once", trials=1, pruner=NO_PRUNER, resources={"hang_s": 1}
    )
    assert outcome.exit_code == 0, outcome.stderr
    assert check_study(tmp_path / "s", trials=1, epochs=9).in_state("complete")
    assert {kind for _, kind in setbacks(tmp_path / "s")} == {"hung"}, outcome.stderr


def test_a_search_whose_trials_all_wait_for_room_stops_at_the_first_signal(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "s"
    process = subprocess.Popen(
        ray_command(folder, "rising", is_full=True, trials=2, pruner=NO_PRUNER),
        env=ray_environment(tmp_path / "home"), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip
    wait_until(process, lambda: (folder / "ledger.jsonl").exists() and n_events(folder) >= 2)
    time.sleep(2.0)  # nothing tells that Tune was given the trial, just after that event
    process.send_signal(signal.SIGINT)
    _, stderr = ended(process, timeout_s=60)
    assert process.returncode == 130, stderr
    assert "trial 0 waited for room; the same command begins it" in stderr
    assert read_study(folder).in_state("running")


@contextmanager
def cluster(environment: dict[str, str]) -> Iterator[tuple[str, Callable[[str], None]]]:
    """Start two nodes and a head; give its address, and what tells it to lose one of them."""
    process = subprocess.Popen(
        [sys.executable, str(SUPPORT / "run_cluster.py"), "2"], env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def tell(order: str) -> None:
        stdin.write(f"{order}\n")
        stdin.flush()
        assert stdout.readline() == "done\n"

    try:
        yield stdout.readline().strip(), tell
    finally:
        stdin.close()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        stdout.close()


def test_a_lost_node_costs_no_epoch_and_a_lost_head_ends_the_search_to_be_continued(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "s"
    environment = {**ray_environment(tmp_path / "home", epoch_s=0.3), **TOKEN}
    changes = {"trials": 4, "epochs": 12, "pruner": NO_PRUNER}
    with cluster(environment) as (address, tell):
        process = subprocess.Popen(
            ray_command(folder, "rising", address=address, **changes), env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        wait_until(process, lambda: n_epochs(folder) >= 8)
        tell("lose 1")
        wait_until(process, lambda: sum(setbacks(folder).values()) > 0)
        assert {kind for _, kind in setbacks(folder)} == {"node"}
        seen = n_epochs(folder)
        wait_until(process, lambda: n_epochs(folder) >= seen + 3)
        tell("lose head")
        _, stderr = ended(process, timeout_s=30)
    assert process.returncode == 4, stderr
    assert f"the head of Ray at {address} has ended" in stderr
    assert "the same command continues the search" in stderr
    assert run_on_ray(folder, "rising", **changes).exit_code == 0
    record = check_study(folder, trials=4, epochs=12)
    assert len(record.in_state("complete")) == 4

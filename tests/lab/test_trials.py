"""What goes wrong inside a trial, or with what it left."""

import contextlib
import json
import os
import resource
import shutil
import signal
import time
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path

import pytest
from clusters import LabCluster, wait_until
from laws import assert_whole, continued_since, recovery
from searches import NewSearch, Search
from table import Row

pytestmark = pytest.mark.lab
MIB = 2**20


def test_nan(steady: LabCluster, new_search: NewSearch, row: Row) -> None:
    search = new_search(
        steady, trials=3, epochs=30,
        enqueue=[{"optimizer.learning_rate": 1.0, "generator.depth": 4}],
        search={"generator.depth": {"int": [1, 4]},
                "optimizer.learning_rate": {"float": [1e-4, 1], "log": True}},
        fixed={"generator.width": 64, "generator.norm": "none", "loss.adversarial": "lsgan",
               "discriminator.patch_px": 16, "discriminator.width": 8,
               "discriminator.norm": "none", "batch_size": 4},
    )  # fmt: skip
    search.start().ended_well()
    whole = assert_whole(search.study, 3)
    trial = whole.record.trials[0]
    assert (trial.state, trial.kind) == ("failed", "numeric"), (trial.state, trial.reason)
    row.lost_twice = whole.told
    row.saw(f"{whole.states}; failed at epoch {trial.last_epoch + 1} of 30: {trial.reason}")


def test_out_of_memory(steady: LabCluster, new_search: NewSearch, row: Row) -> None:
    """Only the process of one large trial meets a limit; those after it have new processes."""
    small = {"generator.width": 8, "generator.depth": 1}
    search = new_search(
        steady, trials=4,
        enqueue=[small, small, {"generator.width": 256, "generator.depth": 4}, small],
        search={"generator.depth": {"int": [1, 4]}, "generator.width": {"choice": [8, 256]}},
        fixed={"loss.adversarial": "none", "batch_size": 4},
    )  # fmt: skip
    driver = search.start()
    search.wait_for_epochs(3, driver)
    for host in (1, 2, 3):
        for pid in steady.trial_processes(host):
            size = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * os.sysconf(
                "SC_PAGESIZE"
            )
            resource.prlimit(pid, resource.RLIMIT_AS, (size + 300 * MIB, resource.RLIM_INFINITY))
    driver.wait()
    whole = assert_whole(search.study, 4)
    trial = whole.record.trials[2]
    assert (trial.state, trial.kind) == ("failed", "memory"), (trial.state, trial.reason)
    row.lost_twice = whole.told
    row.saw(f"{whole.states}; trial 2: {trial.reason}")


def test_hung_trial(steady: LabCluster, new_search: NewSearch, row: Row) -> None:
    limit_s = 15.0
    search = new_search(steady, trials=3, resources={"cpus": 1, "gpus": 0, "hang_s": limit_s})
    driver = search.start()
    search.wait_for_epochs(20, driver)
    (pid, *_) = steady.trial_processes(steady.trainers[0])
    os.kill(pid, signal.SIGSTOP)
    since = time.time()
    try:
        driver.ended_well()
    finally:
        if Path(f"/proc/{pid}").exists():
            os.kill(pid, signal.SIGKILL)
    whole = assert_whole(search.study, 3, states=("complete",))
    row.lost_twice = whole.told
    row.recovery = str(recovery(search.study, since))
    reasons = {str(event["reason"]) for event in continued_since(search.study, since)}
    row.saw(f"with hang_s: {limit_s:g}: {', '.join(reasons)}; {whole.states}")


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)


def halve(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def curve_of(checkpoint: Path) -> list[object]:
    """Return the epochs that a checkpoint has, with the seconds that each one took."""
    curve: list[object] = json.loads((checkpoint / "state.json").read_text())["curve"]
    return curve


def n_alike(first: list[object], second: list[object]) -> int:
    """Return how many epochs two curves begin with that are the very same, seconds included."""
    pairs = zip(first, second, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def bad_checkpoints(
    search: Search, cluster: LabCluster, row: Row, spoil: Callable[[Path], None]
) -> None:
    """Kill the driver once a trial has two checkpoints, spoil the newest, continue."""
    driver = search.start()

    def with_two() -> list[Path]:
        trials = (search.study / "trials").glob("*")
        return [trial for trial in trials if len(list(trial.glob("0*"))) >= 2]

    def slowly() -> bool:
        """Let trials run now and then: a checkpoint is due every ten seconds, not every epoch."""
        pids = [pid for host in (1, 2, 3) for pid in cluster.trial_processes(host)]
        for number, pause_s in ((signal.SIGSTOP, 2.0), (signal.SIGCONT, 0.15)):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            time.sleep(pause_s)
        return len(with_two()) > 0

    search.wait_for(slowly, driver, 240)
    driver.kill_alone()
    # Trials outlive their driver for a moment, and would save another one after the spoilt one.
    wait_until(lambda: not any(map(cluster.trial_processes, (1, 2, 3))), 60)
    older: dict[Path, tuple[int, list[object]]] = {}
    for trial in with_two():
        *_, before, newest = sorted(trial.glob("0*"))
        older[trial] = (int(before.name), curve_of(newest))
        spoil(max(newest.glob("*.safetensors"), key=lambda file: file.stat().st_size))
        row.saw(f"trial {trial.name}: epoch {int(newest.name)} spoilt")
    assert older, "no trial had two checkpoints any more"
    again = search.start()
    again.ended_well()
    for trial, (epoch, curve) in older.items():
        assert f"trial {trial.name}: checkpoint passed over" in again.stderr, again.stderr[-2000:]
        # What was trained once more took other seconds.
        continued_from = n_alike(curve, curve_of(max(trial.glob("0*"))))
        assert continued_from == epoch
        row.saw(f"told, and trial {trial.name} went on from epoch {continued_from}")
    whole = assert_whole(search.study, 2, states=("complete",))
    row.lost_twice = whole.told
    row.saw(f"completed all the same: {whole.states}")


def test_checkpoint_corrupted(steady: LabCluster, new_search: NewSearch, row: Row) -> None:
    bad_checkpoints(new_search(steady, trials=2, epochs=300), steady, row, flip)


def test_checkpoint_truncated(steady: LabCluster, new_search: NewSearch, row: Row) -> None:
    bad_checkpoints(new_search(steady, trials=2, epochs=300), steady, row, halve)


def test_databases_deleted(steady: LabCluster, new_search: NewSearch, row: Row) -> None:
    search = new_search(steady, trials=4)
    driver = search.start()
    search.wait_for_epochs(20, driver)
    shutil.rmtree(search.study / "tune", ignore_errors=True)
    search.wait_for_epochs(search.n_epochs + 20, driver)
    row.saw("without Tune's folder trials went on")
    driver.process.kill()
    driver.process.wait()
    shutil.rmtree(search.study / "tune", ignore_errors=True)
    for database in (search.study / "study.db", search.workspace / "mlflow.db"):
        database.unlink(missing_ok=True)
    search.start().ended_well()
    whole = assert_whole(search.study, 4, states=("complete",))
    assert (search.workspace / "mlflow.db").exists()
    row.lost_twice = whole.told
    row.saw(f"study.db and mlflow.db were built again from the ledger; {whole.states}")

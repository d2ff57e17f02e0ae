"""Two runs of one search: the second is refused, or takes over, and the first writes no more."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from drive_here import GATED_FROM
from invented_curves import rising
from lease_processes import QUICK
from leases import ELSEWHERE, claimed_by, wait_until
from searching import SPACE, SUPPORT, check_study, ray_environment, search_here

from dexsearch.errors import StudyBusy
from dexsearch.ledger.log import read_events
from dexsearch.ledger.study import read_study
from dexsearch.search.lease import Pace, study_lease

TRIALS, EPOCHS = 4, 6
SHORT: dict[str, Any] = {"trials": TRIALS, "epochs": EPOCHS, "pruner": {"kind": "none"}}
SMALL = {**SPACE, **SHORT}


@contextmanager
def search(
    folder: Path, gate: Path, *, takeover: bool = False, pace: Pace = QUICK
) -> Iterator["subprocess.Popen[str]"]:
    """Begin or continue the search of a folder in a process of its own."""
    request = folder.with_name(f"request-{gate.name}.json")
    asked = {"folder": str(folder), "space": SMALL, "gate": str(gate), "takeover": takeover}
    request.write_text(json.dumps({**asked, "pace": asdict(pace)}))
    process = subprocess.Popen(
        [sys.executable, str(SUPPORT / "drive_here.py"), str(request)],
        env=ray_environment(folder.parent / "home"), text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    _, told = process.communicate(timeout=120)
    assert "Traceback" not in told
    return process.returncode, told


def wait_at_gate(folder: Path) -> None:
    """Wait until both trials of a search can go no further."""

    def n_epochs() -> int:
        return sum(event["event"] == "epoch" for event in read_events(folder / "ledger.jsonl"))

    wait_until(lambda: n_epochs() >= GATED_FROM - 1)


@pytest.fixture
def open_gate(tmp_path: Path) -> Path:
    (tmp_path / "open").touch()
    return tmp_path / "open"


@pytest.fixture
def closed_gate(tmp_path: Path) -> Path:
    return tmp_path / "closed"


@pytest.mark.slow
def test_a_suspended_search_is_taken_over_and_comes_back_to_write_nothing(
    tmp_path: Path, open_gate: Path, closed_gate: Path
) -> None:
    folder = tmp_path / "ribs"
    with search(folder, closed_gate) as old:
        wait_at_gate(folder)
        with pytest.raises(StudyBusy, match=f"process {old.pid}") as refused:
            search_here(folder, rising, **SHORT)
        assert "--takeover" in (refused.value.hint or "")
        old.send_signal(signal.SIGSTOP)
        with search(folder, open_gate, takeover=True) as new:
            code, told = ended(new)
        assert code == 0, told
        assert "watching it for a sign of life" in told
        assert "taking the study over" in told
        before = {name: (folder / name).read_bytes() for name in ("ledger.jsonl", "study.db")}
        closed_gate.touch()
        old.send_signal(signal.SIGCONT)
        code, told = ended(old)
        assert code == 6, told
        assert "was taken over by" in told
    assert {name: (folder / name).read_bytes() for name in before} == before
    check_study(folder, trials=TRIALS, epochs=EPOCHS)
    tokens = [event["token"] for event in read_events(folder / "ledger.jsonl") if "token" in event]
    assert tokens == [2]


@pytest.mark.slow
def test_a_killed_search_is_continued_at_once_on_its_machine_also_with_takeover(
    tmp_path: Path, closed_gate: Path
) -> None:
    folder = tmp_path / "ribs"
    with search(folder, closed_gate) as killed:
        wait_at_gate(folder)
        killed.kill()
        killed.wait()
    told: list[str] = []
    with study_lease(folder, takeover=True, tell=told.append, pace=Pace(silence_s=1e9)):
        assert len(told) == 1
        assert "has died; going on" in told[0]
    search_here(folder, rising, **SHORT)
    check_study(folder, trials=TRIALS, epochs=EPOCHS)


@pytest.mark.slow
def test_a_signal_while_a_holder_is_watched_ends_at_once_and_takes_nothing(
    tmp_path: Path, open_gate: Path
) -> None:
    folder = tmp_path / "ribs"
    claimed_by(folder, ELSEWHERE)
    with search(folder, open_gate, takeover=True, pace=Pace(silence_s=1e9)) as watcher:
        assert watcher.stderr is not None
        assert "watching it" in watcher.stderr.readline()
        watcher.send_signal(signal.SIGUSR1)
        assert ended(watcher)[0] == 143
    assert [path.name for path in (folder / "lease").iterdir()] == ["1.json"]


@pytest.mark.slow
def test_the_warning_of_slurm_ends_the_reports_and_gives_the_study_back(
    tmp_path: Path, closed_gate: Path
) -> None:
    folder = tmp_path / "ribs"
    with search(folder, closed_gate) as stopped:
        wait_at_gate(folder)
        stopped.send_signal(signal.SIGUSR1)
        closed_gate.touch()
        assert ended(stopped)[0] == 143
    assert json.loads((folder / "lease.json").read_text())["released"]
    assert read_study(folder).in_state("running")
    search_here(folder, rising, **SHORT)
    check_study(folder, trials=TRIALS, epochs=EPOCHS)

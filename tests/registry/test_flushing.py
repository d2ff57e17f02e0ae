"""The process that talks to MLflow for a search: what it may do, and that nothing keeps it."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dexsearch.errors import ConfigurationError, EnvironmentFault
from dexsearch.ledger.study import StudyRecord
from dexsearch.locking import is_locked
from dexsearch.registry.flusher import DUTY, FIRST_S, LONGEST_PAUSE_S, PAUSE_S, follow
from dexsearch.registry.flushing import bring_up, flushing

MakeStudy = Callable[..., StudyRecord]


class Machine:
    """A clock that moves when somebody rests or works."""

    def __init__(self, *, work_s: float, rounds: int, fails: bool = False) -> None:
        self.now_s = 100.0
        self.used_s = 0.3
        self.rests: list[float] = []
        self._work_s, self._left, self._fails = work_s, rounds, fails

    def project(self) -> None:
        self._left -= 1
        if self._fails:
            raise EnvironmentFault("MLflow is dead")
        self.used_s += self._work_s
        self.now_s += self._work_s

    def rest(self, seconds: float) -> None:
        self.rests.append(seconds)
        self.now_s += seconds

    def follow(self) -> None:
        follow(
            self.project, rest=self.rest, used_s=lambda: self.used_s, clock=lambda: self.now_s,
            is_over=lambda: self._left == 0,
        )  # fmt: skip


@pytest.mark.parametrize("work_s", [0.01, 0.5, 7.0])
def test_projecting_takes_a_fiftieth_of_the_time_at_most(work_s: float) -> None:
    machine = Machine(work_s=work_s, rounds=50)
    begun = machine.now_s
    machine.follow()
    assert machine.used_s <= DUTY * (machine.now_s - begun) + 1e-6
    assert machine.rests[0] == FIRST_S
    assert min(machine.rests[1:]) >= PAUSE_S


def test_a_dead_mlflow_is_asked_less_and_less_and_never_ends_the_flusher() -> None:
    machine = Machine(work_s=0, rounds=12, fails=True)
    machine.follow()
    assert machine.rests[1:6] == [20, 40, 80, 160, LONGEST_PAUSE_S]
    assert len(machine.rests) == 13


def test_a_bug_in_projecting_is_not_taken_for_a_dead_mlflow() -> None:
    def project() -> None:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        follow(project, rest=lambda _: None)


@pytest.fixture
def port() -> Iterator[int]:
    """A port that accepts and never answers."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield server.getsockname()[1]


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


def test_a_dead_server_is_told_by_its_address_without_its_password(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    make_study("complete")
    uri = f"http://me:s3cret@127.0.0.1:{free_port()}"
    with pytest.raises(EnvironmentFault, match="connection refused") as caught:
        bring_up(tmp_path, uri, tell=pytest.fail)
    assert "dexsearch sync" in str(caught.value.hint)
    assert "http://me:***@127.0.0.1" in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_that_accepts_and_never_answers_is_told(
    tmp_path: Path, make_study: MakeStudy, port: int, scheme: str
) -> None:
    make_study("complete")
    with pytest.raises(EnvironmentFault, match=r"answer|timed out"):
        bring_up(tmp_path, f"{scheme}://127.0.0.1:{port}", tell=pytest.fail)


def test_whatever_hangs_is_left_alone_in_time(
    tmp_path: Path, make_study: MakeStudy, port: int
) -> None:
    make_study("complete")
    uri = f"http://127.0.0.1:{port}"
    with pytest.raises(EnvironmentFault, match="took too long and was left alone"):
        bring_up(tmp_path, uri, tell=pytest.fail, longest_s=0.2)


@pytest.mark.parametrize("uri", ["ftp://host/x", "http://", "sqlite://", "mlruns", "http://h:x"])
def test_an_address_that_is_none_is_refused_before_anything_starts(
    tmp_path: Path, uri: str
) -> None:
    with pytest.raises(ConfigurationError, match="allowed are"):
        bring_up(tmp_path, uri, tell=pytest.fail)
    with pytest.raises(ConfigurationError, match="allowed are"), flushing(tmp_path, tmp_path, uri):
        pytest.fail("the search must not begin")


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_the_address_with_its_password_is_not_in_the_list_of_processes(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    study = make_study("running")
    with flushing(study.folder, tmp_path, "http://me:s3cret@127.0.0.1:9"):
        (flusher,) = children_of(os.getpid())
        seen = Path(f"/proc/{flusher}/cmdline").read_bytes()
        seen += Path(f"/proc/{flusher}/environ").read_bytes()
    assert b"s3cret" not in seen
    assert children_of(os.getpid()) == []


def children_of(parent: int) -> list[int]:
    """Return the flushers that a process started and that live."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == parent and fields[0] != "Z" and b"registry.flusher" in command:
            found.append(int(folder.name))
    return found


DRIVER = """
import os, signal, sys
from pathlib import Path
from dexsearch.registry.flushing import flushing
workspace = Path(sys.argv[1])
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
with flushing(workspace / "studies" / "ribs", workspace, None):
    os.fork() or signal.pause()  # a fork keeps every open file, as data loaders do
    print("searching", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_flusher_goes_with_its_search_however_that_ends(
    tmp_path: Path, make_study: MakeStudy, end: signal.Signals
) -> None:
    make_study("running")
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as driver:  # fmt: skip
        assert driver.stdout is not None
        assert driver.stdout.readline() == b"searching\n"
        (flusher,) = children_of(driver.pid)
        end_of_flusher = os.pidfd_open(flusher)
        try:
            driver.send_signal(end)  # the fork lives on
            wait_for(end_of_flusher)
        finally:
            os.killpg(driver.pid, signal.SIGKILL)


def wait_for(process: int) -> None:
    """Wait until a process that is not our child has ended."""
    ready, _, _ = select.select([process], [], [], 60)
    os.close(process)
    assert ready, "the flusher outlived its search"


@pytest.mark.slow
def test_bringing_up_counts_runs_tells_and_leaves_the_ledgers_as_they_are(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    make_study("complete", "pruned")
    make_study("complete", name="odd")
    odd = tmp_path / "studies" / "odd" / "ledger.jsonl"
    odd.write_text("".join(odd.read_text().splitlines(keepends=True)[::2]))
    ledgers = sorted(tmp_path.rglob("*.jsonl"))
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in ledgers]
    told: list[str] = []
    counts: list[int] = []
    done = bring_up(tmp_path, None, tell=told.append, beat=counts.append)
    assert (done.studies, done.trials, done.versions) == (1, 2, 0)
    assert counts == [1, 2, 3]
    assert [line.split(":")[0] for line in told] == ["study 'odd' is passed over"]
    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in ledgers] == before
    assert not any(is_locked(path.with_name(f"{path.name}.lock")) for path in ledgers)


def test_a_damaged_errand_ends_the_flusher_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dexsearch.registry.flushing.asdict", lambda _: {"workspace": "x"})
    with pytest.raises(EnvironmentFault, match="TypeError"):
        bring_up(tmp_path, None, tell=lambda line: pytest.fail(json.dumps(line)))

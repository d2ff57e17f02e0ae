import errno
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dexsearch.errors import DataError, EnvironmentFault, StudyBusy
from dexsearch.ledger.log import EventLog, read_events


def test_events_come_back_in_order_with_their_time(tmp_path: Path) -> None:
    with EventLog(tmp_path / "deep" / "log.jsonl") as log:
        for number in range(3):
            log.append({"event": "epoch", "n": number})
    events = read_events(tmp_path / "deep" / "log.jsonl")
    assert [event["n"] for event in events] == [0, 1, 2]
    assert all(event["time"] > 1e9 for event in events)


def test_a_missing_log_has_no_events(tmp_path: Path) -> None:
    assert read_events(tmp_path / "none.jsonl") == []


@pytest.mark.parametrize("torn", [b'{"event":"ep', b'{"event":"ep\n', b"\0\0\0\0\n", b"{"])
def test_a_torn_last_line_is_passed_over_by_readers_and_cut_by_the_next_writer(
    tmp_path: Path, torn: bytes
) -> None:
    path = tmp_path / "log.jsonl"
    with EventLog(path) as log:
        log.append({"event": "first"})
    with path.open("ab") as file:
        file.write(torn)
    assert [event["event"] for event in read_events(path)] == ["first"]
    with EventLog(path) as log:
        assert [event["event"] for event in log.events_at_opening] == ["first"]
        log.append({"event": "second"})
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == [
        "first",
        "second",
    ]


def test_every_truncation_of_a_log_is_a_prefix_of_its_events(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with EventLog(path) as log:
        whole = [log.append({"event": "e", "n": n, "text": "ü{}\n"}) for n in range(4)]
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        events = read_events(path)
        assert events == whole[: content[:size].count(b"\n")]


def test_a_broken_line_in_the_middle_is_refused_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"event":"a"}\nnonsense\n{"event":"b"}\n')
    with pytest.raises(DataError, match=r"log\.jsonl:2: expected a JSON event, got 'nonsense'"):
        read_events(path)
    with pytest.raises(DataError):
        EventLog(path)
    assert path.read_text().count("\n") == 3, "a refused log is left as it was"


def test_a_second_writer_is_refused_and_told_who_writes(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with EventLog(path) as log:
        log.append({"event": "a"})
        with pytest.raises(StudyBusy, match=f"process {os.getpid()} on"):
            EventLog(path)
        assert len(read_events(path)) == 1
    EventLog(path).close()


def test_the_lock_of_a_killed_writer_is_free(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    code = (
        "import os, signal, sys, pathlib\n"
        "from dexsearch.ledger.log import EventLog\n"
        "EventLog(pathlib.Path(sys.argv[1])).append({'event': 'a'}, sync=False)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert killed.returncode == -9
    with EventLog(path) as log:
        assert len(log.events_at_opening) == 1


def short_write(descriptor: int, line: bytes) -> int:
    return write(descriptor, line[: len(line) // 2])


def no_write(descriptor: int, line: bytes) -> int:
    write(descriptor, line[:3])
    raise OSError(errno.ENOSPC, "No space left on device")


write = os.write


@pytest.mark.parametrize("full", [short_write, no_write])
def test_on_a_full_disk_no_torn_event_is_left_and_the_log_goes_on_later(
    full: Callable[[int, bytes], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log.jsonl"
    with EventLog(path) as log:
        log.append({"event": "first"})
        with monkeypatch.context() as patched:
            patched.setattr("dexsearch.ledger.log.os.write", full)
            with pytest.raises(EnvironmentFault, match="No space left") as refused:
                log.append({"event": "lost"})
        assert "free some disk space" in (refused.value.hint or "")
        log.append({"event": "second"})
    assert [event["event"] for event in read_events(path)] == ["first", "second"]


def test_a_file_system_without_locks_is_not_called_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(EnvironmentFault, match=r"cannot lock .*: No locks available") as refused:
        EventLog(tmp_path / "log.jsonl")
    assert "local disk" in (refused.value.hint or "")

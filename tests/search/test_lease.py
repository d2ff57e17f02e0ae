"""One process holds a study, whatever machines, clocks and signals do."""

import errno
import fcntl
import json
import multiprocessing
import os
import signal
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import lease_processes
import pytest
from invented_curves import rising
from lease_processes import QUICK
from leases import ELSEWHERE, claimed_by, running, silent, wait_until
from searching import check_study, search_here

from dexsearch.errors import EnvironmentFault, StudyBusy
from dexsearch.ledger.log import EventLog, read_events
from dexsearch.locking import has_locks
from dexsearch.search import lease_file
from dexsearch.search.lease import is_held, study_lease
from dexsearch.search.lease_file import new_claim, newest_claim, try_to_claim
from dexsearch.search.process_identity import this_process


def test_a_lease_tells_who_holds_it_and_is_given_back_at_the_end(tmp_path: Path) -> None:
    with study_lease(tmp_path / "s", takeover=False, tell=silent) as lease:
        shown = json.loads((tmp_path / "s" / "lease.json").read_text())
        assert (shown["token"], shown["process"]["pid"]) == (1, os.getpid())
        assert (shown["process"]["host"], shown["released"]) == (socket.gethostname(), False)
        assert is_held(tmp_path / "s")
        lease.check()
    assert not is_held(tmp_path / "s")
    with study_lease(tmp_path / "s", takeover=False, tell=silent) as lease:
        assert (lease.token, lease.outlived) == (2, ())


@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_a_lease_is_given_back_whatever_ends_the_search(
    ending: type[BaseException], tmp_path: Path
) -> None:
    with pytest.raises(ending), study_lease(tmp_path, takeover=False, tell=silent):
        raise ending
    assert not is_held(tmp_path)


def test_a_second_process_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    with (
        study_lease(tmp_path / "ribs", takeover=False, tell=silent, pace=QUICK),
        pytest.raises(StudyBusy, match=rf"'ribs' is being .*process {os.getpid()}, since") as no,
        study_lease(tmp_path / "ribs", takeover=False, tell=silent, pace=QUICK),
    ):
        pass
    assert "--takeover" in (no.value.hint or "")
    assert no.value.exit_code == 6


def test_a_takeover_of_a_holder_that_beats_is_refused(tmp_path: Path) -> None:
    told: list[str] = []
    with (
        study_lease(tmp_path, takeover=False, tell=silent, pace=QUICK) as lease,
        pytest.raises(StudyBusy, match="is being searched by"),
        study_lease(tmp_path, takeover=True, tell=told.append, pace=QUICK),
    ):
        pass
    assert len(told) == 1
    assert "watching it for a sign of life" in told[0]
    assert lease.token == 1


def test_a_dead_process_of_this_machine_is_followed_at_once_and_that_is_told(
    tmp_path: Path,
) -> None:
    with running("hold", tmp_path) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    told: list[str] = []
    with study_lease(tmp_path, takeover=False, tell=told.append) as lease:
        assert (lease.token, lease.outlived) == (2, ())
    (line,) = told
    assert f"process {holder.pid}" in line
    assert "has died" in line


def test_a_number_that_another_process_has_now_is_a_dead_process(tmp_path: Path) -> None:
    ours = this_process()
    assert ours.life() == "alive"
    assert replace(ours, began=ours.began - 1).life() == "dead"
    assert replace(ours, boot="another boot").life() == "elsewhere"
    assert replace(ours, host="another host").life() == "elsewhere"


def test_a_silent_holder_elsewhere_is_taken_over_only_where_that_is_asked_for(
    tmp_path: Path,
) -> None:
    claimed_by(tmp_path, ELSEWHERE)
    with (
        pytest.raises(StudyBusy, match="on node7"),
        study_lease(tmp_path, takeover=False, tell=silent, pace=QUICK),
    ):
        pass
    told: list[str] = []
    with study_lease(tmp_path, takeover=True, tell=told.append, pace=QUICK) as lease:
        assert lease.token == lease.token_after_takeover == 2
        assert lease.void_locks == {"process 4242 on node7"}
    assert "no sign of life in" in told[-1]


@pytest.mark.parametrize("off_s", [-3600.0, 3600.0])
def test_a_clock_that_is_off_by_an_hour_changes_nothing(
    off_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder's and the watcher's clock differ, as do the times of the files."""
    with study_lease(tmp_path, takeover=False, tell=silent, pace=QUICK):
        now = time.time() + off_s
        monkeypatch.setattr(lease_file.time, "time", lambda: now)
        os.utime(tmp_path / "lease" / "1.json", (now, now))
        with (
            pytest.raises(StudyBusy),
            study_lease(tmp_path, takeover=True, tell=silent, pace=QUICK),
        ):
            pass
    claimed_by(tmp_path, ELSEWHERE, token=2)
    with study_lease(tmp_path, takeover=True, tell=silent, pace=QUICK) as lease:
        assert lease.token == 3


def test_the_heart_goes_on_beating_after_the_file_system_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[int] = []

    def failing(descriptor: int, content: bytes, offset: int) -> int:
        failures.append(len(content))
        raise OSError(5, "Input/output error")

    with study_lease(tmp_path, takeover=False, tell=silent, pace=QUICK):
        with monkeypatch.context() as patched:
            patched.setattr(lease_file.os, "pwrite", failing)
            wait_until(lambda: len(failures) > 2)
            before = newest_claim(tmp_path)
        wait_until(lambda: newest_claim(tmp_path) != before)


def test_a_claim_that_is_torn_counts_as_somebody_unknown(tmp_path: Path) -> None:
    (tmp_path / "lease").mkdir()
    (tmp_path / "lease" / "3.json").write_text('{"token": 3, "ow')
    with (
        pytest.raises(StudyBusy, match="somebody on an unknown machine"),
        study_lease(tmp_path, takeover=False, tell=silent),
    ):
        pass
    with study_lease(tmp_path, takeover=True, tell=silent, pace=QUICK) as lease:
        assert lease.token == 4


def test_claims_do_not_pile_up_and_a_number_is_never_given_twice(tmp_path: Path) -> None:
    tokens = []
    for _ in range(lease_file.KEPT + 4):
        with study_lease(tmp_path, takeover=False, tell=silent) as lease:
            tokens.append(lease.token)
    assert tokens == list(range(1, lease_file.KEPT + 5))
    assert len(list((tmp_path / "lease").iterdir())) == lease_file.KEPT
    late = try_to_claim(tmp_path, new_claim(2))  # somebody who looked long ago
    assert late is None
    assert not (tmp_path / "lease" / "2.json").exists()
    assert [name for name in os.listdir(tmp_path) if name != "lease"] == ["lease.json"]


def test_a_full_disk_refuses_the_lease_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_file.os, "write", lambda descriptor, content: len(content) // 2)
    with (
        pytest.raises(EnvironmentFault, match="No space left") as refused,
        study_lease(tmp_path, takeover=False, tell=silent),
    ):
        pass
    assert "free some disk space" in (refused.value.hint or "")
    assert list((tmp_path / "lease").iterdir()) == []


def test_a_check_costs_little_and_tells_who_has_followed(tmp_path: Path) -> None:
    with study_lease(tmp_path, takeover=False, tell=silent) as lease:
        lease.check()
        claimed_by(tmp_path, ELSEWHERE, token=2)
        for _ in range(2):
            with pytest.raises(StudyBusy, match=r"taken over by .* on node7"):
                lease.check()
    assert is_held(tmp_path), "an end that comes too late gives nothing back"


def test_a_suspended_writer_that_was_taken_over_writes_no_byte_any_more(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    with running("append", tmp_path) as old:
        wait_until(lambda: len(read_events(ledger)) > 20)
        old.send_signal(signal.SIGSTOP)
        with (
            study_lease(tmp_path, takeover=True, tell=silent, pace=QUICK) as lease,
            EventLog(ledger, check=lease.check, outlived=lease.void_locks) as log,
        ):
            lease.settle()
            n_before = len(log.events_at_opening)
            log.append({"event": "mine"})
            content = ledger.read_bytes()
            old.send_signal(signal.SIGCONT)
            assert old.wait(60) == 6
            assert ledger.read_bytes() == content
            log.append({"event": "mine too"})
        assert old.stdout is not None
        assert "was taken over by" in old.stdout.read()
    events = read_events(ledger)
    assert [event["event"] for event in events[n_before:]] == ["mine", "mine too"]
    assert {event["process"] for event in events[:n_before]} == {old.pid}


def test_what_a_fenced_writer_writes_without_looking_is_not_in_the_log(tmp_path: Path) -> None:
    """It was suspended between its check and its write, where nothing else can help."""
    ledger = tmp_path / "ledger.jsonl"
    with EventLog(ledger, check=lambda: None) as old:
        old.append({"event": "old"})
        name = f"process {os.getpid()} on {socket.gethostname()}"
        with EventLog(ledger, check=lambda: None, outlived=[name]) as new:
            os.write(old._file, b'{"event":"zombie"}\n')
            new.append({"event": "new"})
            with pytest.raises(EnvironmentFault, match="was deleted or replaced"):
                old.append({"event": "late"})
    assert [event["event"] for event in read_events(ledger)] == ["old", "new"]


def test_a_search_needs_no_locks_where_only_the_lease_keeps_others_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    folder = tmp_path / "ribs"
    with (
        study_lease(folder, takeover=False, tell=silent),
        pytest.raises(StudyBusy, match="is being searched by"),
    ):
        search_here(folder, rising, trials=2, epochs=4)
    search_here(folder, rising, trials=2, epochs=4)
    check_study(folder, trials=2, epochs=4)
    assert not has_locks(folder / "ledger.jsonl.lock"), "registering is refused by this"


def contended(folder: Path, *, n: int, rounds: int, links: bool, takeover: bool) -> list[Any]:
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(n), context.Queue()
    asked = (folder, rounds, barrier, results, links, takeover)
    processes = [
        context.Process(target=lease_processes.contend, args=asked, daemon=True) for _ in range(n)
    ]
    for process in processes:
        process.start()
    found = [results.get(timeout=120) for _ in range(n * rounds)]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    return found


@pytest.mark.slow
@pytest.mark.parametrize("links", [True, False])
def test_of_eight_that_try_at_once_exactly_one_wins_every_time(
    links: bool, tmp_path: Path
) -> None:
    """The first round begins with a holder that has died."""
    rounds = 200
    claimed_by(tmp_path, replace(this_process(), began=1))
    found = contended(tmp_path, n=8, rounds=rounds, links=links, takeover=False)
    for number in range(rounds):
        tokens = [token for round_, token, _ in found if round_ == number and token]
        assert len(tokens) == 1, f"round {number}: {tokens}"
    assert sorted(token for _, token, _ in found if token) == list(range(2, rounds + 2))


@pytest.mark.slow
def test_of_eight_that_take_over_at_once_exactly_one_wins(tmp_path: Path) -> None:
    claimed_by(tmp_path, ELSEWHERE)
    found = contended(tmp_path, n=8, rounds=8, links=True, takeover=True)
    for number in range(8):
        assert len([1 for round_, token, _ in found if round_ == number and token]) == 1
    assert threading.active_count() < 50

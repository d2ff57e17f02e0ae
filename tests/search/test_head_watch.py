"""A search whose Ray has ended ends its process, and never one that is well."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from dexsearch.search import head_watch
from dexsearch.search.head_watch import WATCH_NAME, HeadWatch, Health, health_of_head


class Ended(BaseException):
    """Ends the watching thread of a test in place of its process."""


@pytest.fixture
def exit_codes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    codes: list[int] = []

    def end(code: int) -> None:
        codes.append(code)
        raise Ended

    monkeypatch.setattr(head_watch, "_LOOK_EVERY_S", 0.001)
    monkeypatch.setattr(head_watch.os, "_exit", end)  # type: ignore[attr-defined]
    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    return codes


def watched(looks: Iterator[Health], **options: Callable[[], object]) -> None:
    """Watch until the process would have ended, or the looks have."""

    def look() -> Health:
        try:
            return next(looks)
        except StopIteration:
            raise Ended from None

    with HeadWatch(look, what="the head", **options):  # type: ignore[arg-type]
        for thread in threading.enumerate():
            if thread.name == WATCH_NAME:
                thread.join(5)
                assert not thread.is_alive()


def test_gone_in_every_look_ends_the_process_after_a_farewell(
    exit_codes: list[int], capfd: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    looks: Iterator[Health] = iter(["gone", "well", "gone", "gone", "gone", "gone", "gone"])
    watched(looks, farewell=lambda: said.append("bye"))
    assert exit_codes == [4]
    assert said == ["bye"]
    assert list(looks) == ["gone"], "one well look among others begins the count again"
    told = capfd.readouterr().err
    assert "the head has ended; all that was reported is kept" in told
    assert "the same command continues the search" in told


def test_a_signal_that_came_before_decides_on_the_exit_code(exit_codes: list[int]) -> None:
    watched(iter(["gone"] * 4), exit_code=lambda: 143)
    assert exit_codes == [143]


def test_without_its_own_node_a_driver_ends_too(
    exit_codes: list[int], capfd: pytest.CaptureFixture[str]
) -> None:
    watched(iter(["cut off"] * 4))
    assert exit_codes == [4]
    assert "the head has given up the node on this machine" in capfd.readouterr().err


def test_silence_is_told_soon_and_borne_for_longer(
    exit_codes: list[int], capfd: pytest.CaptureFixture[str]
) -> None:
    watched(iter(["silent"] * 29))
    assert exit_codes == []
    assert "the head does not answer; waiting for it" in capfd.readouterr().err
    watched(iter(["silent"] * 30))
    assert exit_codes == [4]


def test_a_farewell_that_hangs_or_raises_does_not_keep_the_process(
    exit_codes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head_watch, "_FAREWELL_S", 0.01)
    never = threading.Event()
    watched(iter(["gone"] * 4), farewell=lambda: never.wait(5))
    watched(iter(["gone"] * 4), farewell=lambda: os.stat("/nowhere"))
    never.set()
    assert exit_codes == [4, 4]


def test_a_look_that_raises_is_silence(exit_codes: list[int]) -> None:
    looks = iter(range(30))

    def raising() -> Health:
        if next(looks, None) is None:
            raise Ended
        raise RuntimeError("Ray ends")

    with HeadWatch(raising, what="the head") as watch:
        watch._thread.join(5)
    assert exit_codes == [4]


def test_after_leaving_nobody_watches(exit_codes: list[int]) -> None:
    with HeadWatch(lambda: "well", what="the head"):
        pass
    for thread in threading.enumerate():
        if thread.name == WATCH_NAME:
            thread.join(5)
            assert not thread.is_alive()
    assert exit_codes == []


def test_a_listener_is_well_and_a_closed_port_gone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert health_of_head(f"127.0.0.1:{port}") == "well"
    assert health_of_head(f"127.0.0.1:{port}") == "gone"
    assert health_of_head("no-such-host.invalid:1") == "silent"


WATCHED = """
from dexsearch.search import head_watch
head_watch._LOOK_EVERY_S = 0.001
with head_watch.HeadWatch(lambda: "gone", what="the head") as watch:
    watch._thread.join(10)
"""


def test_a_process_ends_with_its_code_where_nobody_reads_standard_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run([sys.executable, "-c", WATCHED], stderr=writer, check=False)
    finally:
        os.close(writer)
    assert done.returncode == 4

"""Laws of signals that come while Ray starts; real ones, to this process."""

import signal
import sys
import threading
from collections.abc import Iterator

import pytest

from dexsearch.errors import EnvironmentFault, Interrupted, Terminated
from dexsearch.search.held_signals import held_signals
from dexsearch.search.signals import told_interruptions


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The handlers after each test are those before it."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGUSR1)}
    yield
    assert {number: signal.getsignal(number) for number in before} == before


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, Interrupted), (signal.SIGUSR1, Terminated)]
)
def test_one_signal_is_acted_upon_when_the_start_is_over(
    number: signal.Signals, error: type[Exception], capfd: pytest.CaptureFixture[str]
) -> None:
    reached = []

    @told_interruptions("go on")
    def search() -> None:
        with held_signals():
            signal.raise_signal(number)
            reached.append("end of the start")
        reached.append("work")

    with pytest.raises(error):
        search()
    assert reached == ["end of the start"]
    assert "as soon as Ray has started" in capfd.readouterr().err


def test_a_second_signal_stops_at_once() -> None:
    reached = []

    @told_interruptions("go on")
    @held_signals()
    def start() -> None:
        signal.raise_signal(signal.SIGINT)
        reached.append("one")
        signal.raise_signal(signal.SIGINT)
        reached.append("two")

    with pytest.raises(Interrupted):
        start()
    assert reached == ["one"]


def test_a_start_that_fails_after_a_signal_was_stopped() -> None:
    @told_interruptions("go on")
    @held_signals()
    def start() -> None:
        signal.raise_signal(signal.SIGINT)
        raise RuntimeError("no room")

    with pytest.raises(Interrupted):
        start()


def test_sigterm_after_a_held_signal_keeps_its_own_exit_code() -> None:
    """Ray's handler of SIGTERM exits with the signal's number while Ray starts."""

    @told_interruptions("go on")
    @held_signals()
    def exiting() -> None:
        signal.raise_signal(signal.SIGINT)
        sys.exit(signal.SIGTERM)

    @told_interruptions("go on")
    @held_signals()
    def interrupted() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)

    for start in (exiting, interrupted):
        with pytest.raises(Terminated):
            start()


def test_a_fault_behind_which_a_held_signal_comes_is_told(
    capfd: pytest.CaptureFixture[str],
) -> None:
    @told_interruptions("go on")
    @held_signals()
    def start() -> None:
        signal.raise_signal(signal.SIGINT)
        raise EnvironmentFault("Ray does not start: no room", hint="make some")

    with pytest.raises(Interrupted):
        start()
    told = capfd.readouterr().err
    assert "besides, Ray does not start: no room\nhint: make some\n" in told


def test_a_fault_stays_where_nobody_acts_on_the_held_signal() -> None:
    before = signal.signal(signal.SIGINT, lambda number, frame: None)

    @held_signals()
    def start() -> None:
        signal.raise_signal(signal.SIGINT)
        raise EnvironmentFault("no room")

    try:
        with pytest.raises(EnvironmentFault):
            start()
    finally:
        signal.signal(signal.SIGINT, before)


def test_nothing_is_held_without_a_signal_or_outside_the_main_thread() -> None:
    def hold() -> None:
        with held_signals():
            done.append(signal.getsignal(signal.SIGINT))

    done: list[object] = []
    thread = threading.Thread(target=hold)
    thread.start()
    thread.join()
    assert done == [signal.getsignal(signal.SIGINT)]
    hold()
    assert done[1] is not done[0]

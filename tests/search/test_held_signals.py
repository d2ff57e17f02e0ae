"""Laws of signals that come while Ray starts; real ones, to this process."""

import signal
import threading
from collections.abc import Iterator

import pytest

from dexsearch.errors import Interrupted, Terminated
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

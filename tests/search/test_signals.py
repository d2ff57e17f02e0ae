import os
import signal
import threading

import pytest

from dexsearch.search.signals import StopOnSignals


@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGUSR1", 143)])
def test_the_first_signal_asks_and_the_second_one_stops(
    number: str, code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    asked: list[bool] = []
    with StopOnSignals(lambda: asked.append(True)) as signals:
        assert signals.exit_code is None
        os.kill(os.getpid(), signal.Signals[number])
        assert (asked, signals.exit_code) == ([True], code)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.Signals[number])
    assert asked == [True]
    assert "once more stops at once" in capfd.readouterr().err


def test_the_handlers_of_before_come_back_even_after_a_second_install() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with StopOnSignals(lambda: None) as signals:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signals.install()
        assert signal.getsignal(signal.SIGTERM) == signals._handle
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before


def test_another_thread_leaves_signals_alone() -> None:
    def enter() -> None:
        with StopOnSignals(lambda: None):
            handlers.append(signal.getsignal(signal.SIGINT))

    handlers: list[object] = []
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGINT)]

import os
import signal
import threading

import pytest

from dexsearch.search.signals import WATCH_NAME, StopOnSignals


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


def test_after_a_signal_a_hopeless_search_ends_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dexsearch.search.signals._LOOK_EVERY_S", 0.01)
    ended = threading.Event()
    codes: list[int] = []

    def end(code: int) -> None:
        codes.append(code)
        ended.set()

    monkeypatch.setattr("dexsearch.search.signals.os._exit", end)
    looks = iter([True, False, True, True, True])
    with StopOnSignals(lambda: None, lambda: next(looks, not ended.is_set())):
        os.kill(os.getpid(), signal.SIGTERM)
        assert ended.wait(5)
    assert codes == [143]
    assert list(looks) == [], "one hopeful look among hopeless ones begins the count again"


def test_a_search_that_ends_tidily_is_not_watched_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dexsearch.search.signals._LOOK_EVERY_S", 0.01)
    with StopOnSignals(lambda: None, lambda: False):
        os.kill(os.getpid(), signal.SIGTERM)
    for thread in threading.enumerate():
        if thread.name == WATCH_NAME:
            thread.join(5)
            assert not thread.is_alive()


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

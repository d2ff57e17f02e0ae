import os
import signal
import subprocess
import sys
import threading

import pytest

from dexsearch.errors import DexSearchError, Interrupted, Terminated
from dexsearch.search.signals import StopOnSignals, told_interruptions, typed_command

SIGNALS = [("SIGINT", 130), ("SIGTERM", 143), ("SIGUSR1", 143)]


@pytest.mark.parametrize(("number", "code"), SIGNALS)
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


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_while_nothing_runs_the_first_signal_stops_and_is_no_impatience(
    number: str, code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    asked: list[bool] = []
    with StopOnSignals(lambda: asked.append(True), is_idle=lambda: True) as signals:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.Signals[number])
        assert (asked, signals.exit_code, signals.at_once) == ([True], code, False)
    assert "no trial runs" in capfd.readouterr().err


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_outside_the_trials_each_signal_ends_with_its_code_and_the_command(
    number: str, code: int
) -> None:
    before = [signal.getsignal(signal.Signals[name]) for name, _ in SIGNALS]
    with pytest.raises(DexSearchError) as ended, told_interruptions("type this"):
        os.kill(os.getpid(), signal.Signals[number])
    assert (ended.value.exit_code, ended.value.hint) == (code, "type this")
    assert [signal.getsignal(signal.Signals[name]) for name, _ in SIGNALS] == before


def test_signals_of_the_trials_are_not_those_around_them() -> None:
    """Once the trials have ended, a second Ctrl-C ends what comes after them."""

    def search_and_register() -> None:
        with StopOnSignals(lambda: None) as signals:
            os.kill(os.getpid(), signal.SIGTERM)
        assert signals.exit_code == 143
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted), told_interruptions("type this"):
        search_and_register()


def test_sigterm_while_ray_starts_is_no_other_one() -> None:
    """Ray's handler exits with the number of the signal; another exit is left alone."""
    with pytest.raises(Terminated), told_interruptions("type this"):
        sys.exit(signal.SIGTERM)
    with pytest.raises(SystemExit, match="3"), told_interruptions("type this"):
        sys.exit(3)


def test_the_command_to_type_is_the_one_that_was_typed() -> None:
    typed = ["/env/bin/dexsearch", "tune", "--space", "my space.yaml", "--trials", "9"]
    assert typed_command(typed) == "dexsearch tune --space 'my space.yaml' --trials 9"
    module = typed_command(["/env/lib/dexsearch/__main__.py", "tune"])
    assert module.endswith(" -m dexsearch tune")


STOPPED = """
import os, signal, sys
from dexsearch.search.signals import StopOnSignals
with StopOnSignals(lambda: None) as signals:
    os.kill(os.getpid(), signal.SIG)
sys.exit(signals.exit_code)
"""


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_ends_tidily_where_nobody_reads_standard_error(number: str, code: int) -> None:
    """Ctrl-C in `dexsearch tune 2>&1 | tee log` ends `tee` first."""
    reader, writer = os.pipe()
    os.close(reader)
    script = STOPPED.replace("SIG)", f"{number})")
    try:
        done = subprocess.run([sys.executable, "-c", script], stderr=writer, check=False)
    finally:
        os.close(writer)
    assert done.returncode == code

"""Ctrl-C, SIGTERM and SIGUSR1: the first one stops a search tidily, the second one at once.

SIGUSR1 is what Slurm sends some minutes before the end, if it is asked to. While no trial runs
there is nothing to end tidily, so the first one stops at once then.
"""

import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from dexsearch.errors import Interrupted, Terminated
from dexsearch.streams import tell_at_once

_EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 143}
_NOTHING_RUNS = "\nstopping: no trial runs\n"
_NOTICE = "\nstopping: each running trial ends after its epoch; once more stops at once\n"


class StopOnSignals:
    """While entered, calls `on_first` at the first signal and raises KeyboardInterrupt next time.

    Whoever signals a whole group of processes, as `timeout` and Slurm do, ends those of a local
    Ray as well, and then the main thread may hang inside Ray where no handler runs: head_watch.py
    ends the process then. Does nothing outside the main thread, where Python delivers no signals.
    """

    def __init__(
        self, on_first: Callable[[], None], is_idle: Callable[[], bool] = lambda: False
    ) -> None:
        """`is_idle` says that nothing runs which could end tidily: then the first one raises."""
        self.exit_code: int | None = None
        self.at_once = False
        self._on_first = on_first
        self._is_idle = is_idle
        self._before: dict[signal.Signals, Any] = {}

    def install(self) -> None:
        """Take the signals over; again where a library took them away."""
        if threading.current_thread() is threading.main_thread():
            for number in _EXIT_CODES:
                before = signal.signal(number, self._handle)
                self._before.setdefault(number, before)

    def __enter__(self) -> Self:
        """Take the signals over."""
        self.install()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.exit_code is not None:
            self.at_once = True
            raise KeyboardInterrupt
        self.exit_code = _EXIT_CODES[signal.Signals(number)]
        self._on_first()
        is_idle = self._is_idle()
        tell_at_once(_NOTHING_RUNS if is_idle else _NOTICE)
        if is_idle:
            raise KeyboardInterrupt


@contextmanager
def told_interruptions(hint: str) -> Iterator[None]:
    """Let each of the signals end the block as an error that says how to go on.

    Does nothing outside the main thread.

    Args:
        hint: what continues.

    Raises:
        Interrupted: after Ctrl-C.
        Terminated: after SIGTERM or SIGUSR1.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        received.append(number)
        raise KeyboardInterrupt  # unlike an error of ours, no library takes it for its own

    before = {number: signal.signal(number, end) for number in _EXIT_CODES}
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as ended:
        if isinstance(ended, SystemExit) and ended.code != signal.SIGTERM:
            raise
        # While Ray starts, its own handler of SIGTERM exits with the signal's number.
        is_terminated = isinstance(ended, SystemExit) or received[-1:] not in ([], [signal.SIGINT])
        kind = Terminated if is_terminated else Interrupted
        raise kind("stopped at once; what was complete by then is kept", hint=hint) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def typed_command(arguments: Sequence[str] | None = None) -> str:
    """Return the command that this process was started with, to be typed again.

    Args:
        arguments: as in `sys.argv`, which is the default.
    """
    program, *rest = sys.argv if arguments is None else arguments
    path = Path(program)
    is_module = path.name == "__main__.py"
    words = [sys.executable, "-m", path.parent.name] if is_module else [path.name]
    return shlex.join([*words, *rest])

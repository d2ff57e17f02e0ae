"""Ctrl-C, SIGTERM and SIGUSR1: the first one stops a search tidily, the second one at once."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

_EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 143}
_NOTICE = b"\nstopping: each running trial ends after its epoch; once more stops at once\n"


class StopOnSignals:
    """While entered, calls `on_first` at the first signal and raises KeyboardInterrupt next time.

    Whoever signals a whole group of processes, as `timeout` and Slurm do, ends those of a local
    Ray as well, and then the main thread may hang inside Ray where no handler runs: head_watch.py
    ends the process then. Does nothing outside the main thread, where Python delivers no signals.
    """

    def __init__(self, on_first: Callable[[], None]) -> None:
        self.exit_code: int | None = None
        self.at_once = False
        self._on_first = on_first
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
        os.write(2, _NOTICE)  # print() may be interrupted inside itself

"""Ctrl-C, SIGTERM and SIGUSR1: the first one stops a search tidily, the second one at once."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

_EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 143}
WATCH_NAME = "dexsearch-watch"
_LOOK_EVERY_S = 1.0
_LOOKS = 4
_HOPELESS = b"\nRay has ended as well; the same command continues the search\n"
_NOTICE = b"\nstopping: each running trial ends after its epoch; once more stops at once\n"


class StopOnSignals:
    """While entered, calls `on_first` at the first signal and raises KeyboardInterrupt next time.

    Whoever signals a whole group of processes, as `timeout` and Slurm do, ends those of a local
    Ray as well, and then the main thread hangs inside Ray where no handler runs. So a thread asks
    `is_hopeless` after the first signal, and ends the process: everything is in the ledger.
    Does nothing outside the main thread, where Python delivers no signals.
    """

    def __init__(
        self, on_first: Callable[[], None], is_hopeless: Callable[[], bool] = lambda: False
    ) -> None:
        self.exit_code: int | None = None
        self.at_once = False
        self._on_first = on_first
        self._is_hopeless = is_hopeless
        self._left = threading.Event()
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
        self._left.set()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.exit_code is not None:
            self.at_once = True
            raise KeyboardInterrupt
        self.exit_code = _EXIT_CODES[signal.Signals(number)]
        self._on_first()
        os.write(2, _NOTICE)  # print() may be interrupted inside itself
        watch = threading.Thread(target=self._watch, args=(self.exit_code,), name=WATCH_NAME)
        watch.daemon = True
        watch.start()

    def _watch(self, exit_code: int) -> None:
        """End the process if it has been hopeless for a while and nobody left the context."""
        n_hopeless = 0
        while not self._left.wait(_LOOK_EVERY_S):
            n_hopeless = n_hopeless + 1 if self._is_hopeless() else 0
            if n_hopeless == _LOOKS:
                os.write(2, _HOPELESS)
                os._exit(exit_code)

"""Ctrl-C while Ray starts: acted upon once it has started, in a second or a few.

An exception that cuts `ray.init` short leaves a thread of Ray's inside its C++ library, which
`ray.shutdown` then takes away under it: now and then the process ends with a segmentation fault.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_HELD = (signal.SIGINT, signal.SIGUSR1)  # Ray takes SIGTERM over while it starts
_NOTICE = b"\nstopping as soon as Ray has started; once more stops at once\n"


@contextmanager
def held_signals() -> Iterator[None]:
    """Hold the first signal back until the block has ended, however it ends; let a second pass.

    Then whoever took the signal before acts on it. Does nothing outside the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    passed_on: list[int] = []
    found = {number: signal.getsignal(number) for number in _HELD}
    before = {number: handler for number, handler in found.items() if handler is not None}

    def hold(number: int, frame: FrameType | None) -> None:
        if held:
            passed_on.append(number)
            _give_back()
            signal.raise_signal(number)
            return
        held.append(number)
        os.write(2, _NOTICE)

    def _give_back() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, hold)
    try:
        yield
    finally:
        _give_back()
        if held and not passed_on:
            signal.raise_signal(held[0])

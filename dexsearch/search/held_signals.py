"""Ctrl-C while Ray starts: acted upon once it has started, in a second or a few.

An exception that cuts `ray.init` short leaves a thread of Ray's inside its C++ library, which
`ray.shutdown` then takes away under it: now and then the process ends with a segmentation fault.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from dexsearch.errors import DexSearchError
from dexsearch.streams import tell_at_once
from dexsearch.wording import printable

_HELD = (signal.SIGINT, signal.SIGUSR1)  # Ray takes SIGTERM over while it starts
_NOTICE = "\nstopping as soon as Ray has started; once more stops at once\n"


@contextmanager
def held_signals() -> Iterator[None]:
    """Hold the first signal back until the block has ended or failed; let a second one pass.

    Then whoever took the signal before acts on it. What already ends the process, as SIGTERM does,
    goes on with its own exit code; a fault is told, because the signal decides on the exit code.
    Does nothing outside the main thread.
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
        tell_at_once(_NOTICE)

    def _give_back() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, hold)
    is_ending = True  # unless the block ends, or fails with a fault
    try:
        yield
        is_ending = False
    except Exception as fault:
        is_ending = False
        if held and not passed_on:
            _tell(fault)
        raise
    finally:
        _give_back()
        if held and not passed_on and not is_ending:
            signal.raise_signal(held[0])


def _tell(fault: Exception) -> None:
    hint = fault.hint if isinstance(fault, DexSearchError) else None
    lines = [f"stopping; besides, {fault}", *([f"hint: {hint}"] if hint else [])]
    tell_at_once("".join(f"\n{printable(line)}" for line in lines) + "\n")

"""Ends a search, in order, whose Ray has ended under it.

When the head of a cluster is gone, Ray ends the driver's process from C++ after a minute, without
an exception, and the main thread may hang inside Ray until then. So a thread looks once a second.
Everything that has happened is in the ledger, so all that is left to do is to say what happened,
leave the terminal as it was, and end with an exit code.
"""

import contextlib
import os
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self

from dexsearch.errors import EnvironmentFault
from dexsearch.streams import tell_at_once

WATCH_NAME = "dexsearch-watch"
Health = Literal["well", "gone", "cut off", "silent"]
"""`gone`: the head has certainly ended; `cut off`: the node of this machine has, through which a
driver does everything; `silent`: nobody answers, which may also be the network's fault."""

_LOOK_EVERY_S = 1.0
_LOOKS: dict[Health, int] = {"gone": 4, "cut off": 4, "silent": 30}
_ANSWERS_WITHIN_S = 1.0
_FAREWELL_S = 2.0


def health_of_head(address: str) -> Health:
    """Ask whether somebody listens at `HOST:PORT`, where the head of a cluster should."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWERS_WITHIN_S).close()
    except ConnectionRefusedError:
        return "gone"
    except OSError:
        return "silent"
    return "well"


class HeadWatch:
    """While entered, ends the process if Ray is gone for some seconds, or silent for longer."""

    def __init__(
        self, look: Callable[[], Health], *, what: str,
        exit_code: Callable[[], int | None] = lambda: None,
        farewell: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """Prepare to watch.

        Args:
            look: asked once a second, in another thread.
            what: is gone, for the message.
            exit_code: what to end with if a signal asked to end before; else it is 4.
            farewell: called before the end, for two seconds at most.
        """
        self._look = look
        self._what = what
        self._exit_code = exit_code
        self._farewell = farewell
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=WATCH_NAME, daemon=True)

    def __enter__(self) -> Self:
        """Begin to watch."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop watching: from here on Ray is meant to end."""
        self._left.set()
        self._thread.join(_FAREWELL_S)

    def _watch(self) -> None:
        n_looks: dict[Health, int] = dict.fromkeys(_LOOKS, 0)
        while not self._left.wait(_LOOK_EVERY_S):
            health = self._seen()
            if health == "well":
                n_looks = dict.fromkeys(_LOOKS, 0)
                continue
            n_looks[health] += 1
            if n_looks[health] == _LOOKS["gone"] and health == "silent":
                _say(f"{self._what} does not answer; waiting for it")
            if n_looks[health] >= _LOOKS[health]:
                self._end(health)
                return

    def _seen(self) -> Health:
        """Look; whoever asks Ray while it ends gets an exception of any kind."""
        try:
            return self._look()
        except Exception:
            return "silent"

    def _end(self, health: Health) -> None:
        told = {
            "gone": f"{self._what} has ended",
            "cut off": f"{self._what} has given up the node on this machine",
            "silent": f"{self._what} does not answer",
        }[health]
        leave = threading.Thread(target=self._leave, daemon=True)
        leave.start()
        leave.join(_FAREWELL_S)
        _say(f"{told}; all that was reported is kept")
        _say("hint: the same command continues the search, once Ray is there")
        code = self._exit_code()
        os._exit(EnvironmentFault.exit_code if code is None else code)

    def _leave(self) -> None:
        with contextlib.suppress(Exception):  # whatever happens, the process is to end
            self._farewell()


def _say(text: str) -> None:
    tell_at_once(f"\n{text}\n")

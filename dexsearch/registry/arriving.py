"""An answer over HTTP that has to arrive in time, from a server that may be anything.

The limit that sockets know counts from byte to byte: one byte every 29 s fulfils 30 s for ever,
in what stands before an answer as well as in it. So another thread receives, and whoever waits
for it stops waiting in time.
"""

import math
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self, final

PIECE_WITHIN_S = 120.0
"""For each piece that is read; with pieces of 1 MiB, 9 kB/s are enough."""
_CLOSING_S = 1.0


@final
class Arriving:
    """While entered, an answer like that of `requests`; each piece of it comes within its time."""

    def __init__(
        self, ask: Callable[[], AbstractContextManager[Any]], *, whole_s: float = math.inf
    ) -> None:
        """Prepare to ask.

        Args:
            ask: asks, in another thread, and gives the answer of `requests`, streamed.
            whole_s: for the whole answer, in seconds.
        """
        self.status_code = 0
        self._ask = ask
        self._ends_at_s = time.monotonic() + whole_s
        self._came: queue.SimpleQueue[int | bytes | Exception | None] = queue.SimpleQueue()
        self._wanted = threading.Semaphore(0)
        self._wanted_bytes = 0
        self._thread = threading.Thread(target=self._receive, daemon=True)

    def __enter__(self) -> Self:
        """Ask, and wait until the answer begins.

        Raises:
            TimeoutError: if it does not in time.
            Exception: what asking raises.
        """
        self._thread.start()
        try:
            status = self._next()
        except BaseException:
            self._leave()
            raise
        assert isinstance(status, int)  # noqa: S101  (tells the type)
        self.status_code = status
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Receive no more."""
        self._leave()

    def iter_content(self, chunk_bytes: int) -> Iterator[bytes]:
        """Yield the answer in pieces of that size.

        Raises:
            TimeoutError: if a piece, or the whole answer, does not come in time.
            Exception: of `requests`, if it breaks off.
        """
        self._wanted_bytes = chunk_bytes
        self._wanted.release()
        while isinstance(piece := self._next(), bytes):
            yield piece
            self._wanted.release()

    def _next(self) -> int | bytes | None:
        wait_s = min(PIECE_WITHIN_S, self._ends_at_s - time.monotonic())
        try:
            came = self._came.get(timeout=max(0.0, wait_s))
        except queue.Empty:
            raise TimeoutError("its answer comes too slowly, and was left alone") from None
        if isinstance(came, Exception):
            raise came
        return came

    def _leave(self) -> None:
        self._wanted_bytes = 0
        self._wanted.release()
        self._thread.join(_CLOSING_S)  # one that hangs in a socket ends with it, or with us

    def _receive(self) -> None:
        """Hand on one piece for each that is wanted, and the end or the error."""
        try:
            with self._ask() as answer:
                self._came.put(answer.status_code)
                self._wanted.acquire()
                if not self._wanted_bytes:
                    return
                for piece in answer.iter_content(self._wanted_bytes):
                    self._came.put(piece)
                    self._wanted.acquire()
                    if not self._wanted_bytes:
                        return
            self._came.put(None)
        except Exception as error:
            self._came.put(error)

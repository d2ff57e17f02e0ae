"""Standard error whose reader may go away; standard library only.

`dexsearch tune 2>&1 | tee log` with `tee` killed, a terminal that is closed under a process that
lives on: whoever watched is gone, and what was watched goes on.
"""

import contextlib
import errno
import os
from collections.abc import Iterable
from typing import Any, TextIO, cast

_PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EAGAIN, errno.EINTR)
"""After these a later line may come through again: a log on a disk that was full for a while."""


class _Unfailing:
    """A text stream that drops what cannot be written."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or drop the text."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._drop(error)
            return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write, or drop the lines."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush, or drop what was not written."""
        try:
            self._stream.flush()
        except OSError as error:
            self._drop(error)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._stream, name)

    def _drop(self, error: OSError) -> None:
        if error.errno not in _PASSING:
            discard(self._stream)


def unfailing(stream: TextIO | None) -> TextIO:
    """Return a stream to which writing never fails; None is one that nobody reads."""
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")
    return stream if isinstance(stream, _Unfailing) else cast("TextIO", _Unfailing(stream))


def tell_at_once(text: str) -> None:
    """Write to standard error past every buffer and lock of Python's, or drop the text.

    For handlers of signals, in which print() may be interrupted in itself, and for a thread that
    ends the process while the main one hangs. An error there would be the end of both.
    """
    with contextlib.suppress(OSError):  # nobody reads it any more, or not fast enough
        os.write(2, text.encode(errors="backslashreplace"))


def discard(stream: TextIO) -> None:
    """Let a stream whose reader has gone end in /dev/null, with what it still holds.

    Python would try to write that at its end, and exit with 120 where it cannot.
    """
    with contextlib.suppress(OSError, ValueError):  # a stream without a file has no such end
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, stream.fileno())
        finally:
            os.close(null)

"""A search that waits while a disk is short of space, and goes on by itself once it is not.

Two things tell of it: somebody who looks at the free space beforehand (disk_guard.py), and a trial
that could not save its checkpoint, on whatever disk that was. In the first case nothing is handed
out until there is space. In the second, where a look may not show anything (a quota, the disk of
another node), one trial is handed out after a while to try it; the others follow once it reports
that it saved a checkpoint. Nothing else tells: epochs are reported whether they were saved or
not. Storage that does not answer is waited for in the same way, because what can be read need not
take anything.

A trial that ends before its first checkpoint is due, because it was pruned for example, had
nothing to save, so the others follow it too. That cannot go on for ever: there are only so many.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dexsearch.errors import EnvironmentFault
from dexsearch.ledger.log import Event, EventLog
from dexsearch.search.trial import is_short_of_disk

_LOOK_EVERY_S = 10.0
_LOOK_AGAIN_S = 2.0  # while space is short
_FIRST_PAUSE_S = 4.0
_LONGEST_PAUSE_S = 60.0


@dataclass(frozen=True, slots=True)
class _Words:
    """What is told of a wait; `{}` is the reason or the seconds."""

    waiting: str
    over: str
    too_long: str
    hint: str
    unproven: str = "trial {} ended and had nothing to save; the others follow"


_SPACE = _Words(
    "waiting for disk space: {}; free some, the search then goes on",
    "there is disk space again after {:.0f} s",
    "short of disk space for {:.0f} s: {}",
    "free some space; the same command then continues the search",
)
_ANSWER = _Words(
    "waiting for storage that does not answer: {}; once it does, the search goes on",
    "storage answers again after {:.0f} s",
    "storage does not answer since {:.0f} s: {}",
    "mend the storage; the same command then continues the search",
)


class DiskWait:
    """Whether a search has to wait for space on a disk."""

    def __init__(
        self,
        tell: Callable[[str], None],
        *,
        longest_s: float,
        shortage: Callable[[], str | None] = lambda: None,
        is_stopped: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare to look.

        Args:
            tell: is given each line for whoever watches the search.
            longest_s: after waiting for so long the search ends.
            shortage: says what is short and where, None if nothing is.
            is_stopped: tells whether the search was asked to stop, or its time is over.
            clock: in seconds.
        """
        self._tell = tell
        self._longest_s = longest_s
        self._shortage = shortage
        self._is_stopped = is_stopped
        self._clock = clock
        self._since: float | None = None
        self._reason: str | None = None
        self._is_seen = False  # by a look, as opposed to by a trial
        self._next_look = self._try_at = 0.0
        self._pause_s = _FIRST_PAUSE_S
        self._trying: int | None = None
        self._has_reported = False
        self._has_failed = False
        self._words = _SPACE

    def look(self) -> None:
        """Look at the disks, every few seconds at most.

        Raises:
            EnvironmentFault: if space has been short for too long.
        """
        now = self._clock()
        if now < self._next_look:
            return
        shortage = self._shortage()
        self._is_seen = shortage is not None
        self._next_look = now + (_LOOK_AGAIN_S if shortage else _LOOK_EVERY_S)
        if shortage is not None:
            self._begin(shortage)
            self._try_at = max(self._try_at, self._next_look)
        elif not self._has_failed:
            self._end()
        if self._is_seen or self._trying is None:  # who tries may have long epochs
            self._refuse_to_wait_longer()

    def _refuse_to_wait_longer(self) -> None:
        if self._since is not None and self._clock() - self._since > self._longest_s:
            raise EnvironmentFault(
                self._words.too_long.format(self._longest_s, self._reason), hint=self._words.hint
            )

    @property
    def is_waiting(self) -> bool:
        """Whether a shortage was met, and nothing has been saved since."""
        return self._since is not None

    @property
    def holds(self) -> bool:
        """Whether no trial may be handed out now."""
        if self._since is None:
            return False
        return self._trying is not None or self._clock() < self._try_at

    def handed_out(self, number: int) -> None:
        """Note that a trial begins; while space is short it is the one that tries."""
        if self._since is not None:
            self._trying, self._has_reported = number, False

    def heard(self, number: int, *, is_saved: bool) -> None:
        """Note a report of a trial that tells of no failure.

        Args:
            number: of the trial.
            is_saved: whether it has saved a checkpoint since its report before.
        """
        if number != self._trying:
            return
        self._has_reported = True
        if is_saved:
            self._recover()

    def put_back(self, number: int) -> None:
        """Note that a trial does not run any more, but has not ended."""
        if number == self._trying:
            self._trying = None

    def ended(self, number: int) -> None:
        """Note that a trial is over: it had nothing to save if it had not come to that."""
        if number != self._trying:
            return
        self._trying = None
        if self._has_reported:
            self._recover(self._words.unproven.format(number))

    def _recover(self, told: str | None = None) -> None:
        self._has_failed, self._trying = False, None
        self._pause_s = _FIRST_PAUSE_S
        if not self._is_seen:
            self._end(told)

    def failed(self, reason: str, *, answers: bool = True) -> None:
        """Note that a trial could not save, or could not even read: storage does not answer."""
        if self._trying is not None or not self._has_failed:
            self._try_at = self._clock() + self._pause_s
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        self._has_failed, self._trying = True, None
        self._begin(reason, _SPACE if answers else _ANSWER)

    def until_written(self, write: Callable[[], Event], pause: Callable[[float], None]) -> Event:
        """Return what `write` returns, once the disk takes it; nothing else goes on meanwhile.

        Raises:
            EnvironmentFault: that of `write`, if its reason is another one or the search is to
                stop; or if space has been short for too long.
        """
        while True:
            try:
                event = write()
            except EnvironmentFault as error:
                if not is_short_of_disk(error.__cause__) or self._is_stopped():
                    raise
                self._begin(str(error))
                self._refuse_to_wait_longer()
                pause(_LOOK_AGAIN_S)
            else:
                if not self._has_failed and not self._is_seen:
                    self._end()
                return event

    def _begin(self, reason: str, words: _Words = _SPACE) -> None:
        is_news = self._since is None or words is not self._words
        self._reason, self._words = reason, words
        if is_news:
            self._since = self._clock() if self._since is None else self._since
            self._tell(words.waiting.format(reason))

    def _end(self, told: str | None = None) -> None:
        if self._since is not None:
            self._tell(told or self._words.over.format(self._clock() - self._since))
            self._since = None


class PatientLog:
    """A ledger that waits where its disk is full, because what has happened must be in it."""

    def __init__(
        self, log: EventLog, disk: DiskWait, pause: Callable[[float], None] = time.sleep
    ) -> None:
        """`pause` waits for so many seconds."""
        self._log = log
        self._disk = disk
        self._pause = pause

    def append(self, event: Mapping[str, Any], *, sync: bool = True) -> Event:
        """Write one event, as soon as there is space for it."""
        return self._disk.until_written(lambda: self._log.append(event, sync=sync), self._pause)

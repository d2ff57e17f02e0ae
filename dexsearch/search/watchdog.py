"""Notices trials that do not report any more; knows no Ray.

A trial may be silent for 10 times as long as an epoch takes: the median of the study or the
longest of the trial's own, whichever is more, so that a large network among small ones is left
alone. Before its first report it loads data and starts its device, so it may be silent for 10
times as long again as any trial may at least, or 10 times as long as others took for that. After
each false or true alarm a trial may be silent for twice as long.
"""

import statistics
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

_TIMES = 10.0
"""How many epochs long, at the study's pace, a trial may be silent."""

_WARM_UP_TIMES = 10.0
_REMEMBERED = 201  # epochs and first reports of the study, the newest ones
_AWAY_S = 5.0  # nobody looked for so long: the driver itself was busy or asleep


@dataclass(frozen=True, slots=True)
class Silence:
    """A trial that has said nothing for longer than it may."""

    number: int
    silent_s: float
    limit_s: float

    def __str__(self) -> str:
        """Say it in a few words."""
        return f"no report for {self.silent_s:.0f} s (at most {self.limit_s:.0f} s expected)"


@dataclass(slots=True)
class _Watched:
    heard_at: float
    has_reported: bool = False
    longest_epoch_s: float = 0.0


class Watchdog:
    """Watches the trials that run; each call is by the driver, none by another thread."""

    def __init__(self, least_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare to watch.

        Args:
            least_s: what a trial may be silent for however short epochs are; 0: for ever.
            clock: in seconds.
        """
        self._least_s = least_s
        self._clock = clock
        self._watched: dict[int, _Watched] = {}
        self._epoch_s: deque[float] = deque(maxlen=_REMEMBERED)
        self._first_s: deque[float] = deque(maxlen=_REMEMBERED)
        self._alarms: dict[int, int] = {}
        self._looked_at = clock()

    def __contains__(self, number: int) -> bool:
        """Tell whether a trial is watched."""
        return number in self._watched

    def begin(self, number: int) -> None:
        """Watch a trial from now on: its process was told to begin."""
        self._watched[number] = _Watched(self._now())

    def end(self, number: int) -> None:
        """Leave a trial alone, if it was watched."""
        self._watched.pop(number, None)

    def heard(self, number: int, n_epochs: int) -> None:
        """Note a report of a trial.

        Args:
            number: of the trial.
            n_epochs: how many epochs it trained for that; those of an earlier process do not
                count.
        """
        now = self._now()
        watched = self._watched.get(number)
        if watched is None:
            return
        passed_s, watched.heard_at = now - watched.heard_at, now
        if not watched.has_reported:
            watched.has_reported = True
            self._first_s.append(passed_s)
        elif n_epochs > 0:
            self._epoch_s.append(passed_s / n_epochs)
            watched.longest_epoch_s = max(watched.longest_epoch_s, passed_s / n_epochs)

    def silent(self) -> tuple[Silence, ...]:
        """Return the trials that have been silent for too long, and watch them no more."""
        now = self._now()
        if self._least_s <= 0:
            return ()
        found = []
        for number, watched in self._watched.items():
            silent_s = now - watched.heard_at
            if silent_s > self._least_s and silent_s > (limit_s := self._limit(number, watched)):
                found.append(Silence(number, silent_s, limit_s))
        for silence in found:
            self.end(silence.number)
            self._alarms[silence.number] = self._alarms.get(silence.number, 0) + 1
        return tuple(found)

    def _now(self) -> float:
        """Return the time, after leaving out that in which nobody could have heard a report."""
        now = self._clock()
        unwatched_s, self._looked_at = now - self._looked_at, now
        if unwatched_s > _AWAY_S:
            for watched in self._watched.values():
                watched.heard_at += unwatched_s
        return now

    def _limit(self, number: int, watched: _Watched) -> float:
        """Return for how many seconds a trial may be silent."""
        pace_s = max(_median(self._epoch_s), watched.longest_epoch_s)
        limit_s = max(self._least_s, _TIMES * pace_s)
        if not watched.has_reported:
            warm_up_s = max(_WARM_UP_TIMES * self._least_s, _TIMES * _median(self._first_s))
            limit_s = max(limit_s, warm_up_s)
        return float(limit_s * 2 ** self._alarms.get(number, 0))


def _median(seconds: deque[float]) -> float:
    return statistics.median(seconds) if seconds else 0.0

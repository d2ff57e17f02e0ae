"""The lease of a study: one process searches it, also where machines share its folder.

Whoever holds it beats every few seconds, which is a number that grows in a file. No clock is
compared between machines: a holder is taken for dead if its number did not grow while somebody
watched it for half a minute of the watcher's own time, or if it was a process of the watcher's
machine and is not there any more. Each acquisition raises the fencing token, so that a holder who
was suspended or cut off, and comes back, finds that it was followed and writes nothing any more.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from dexsearch.errors import EnvironmentFault, StudyBusy
from dexsearch.search.lease_file import (
    Claim,
    OwnClaim,
    claims_on,
    new_claim,
    newest_claim,
    try_to_claim,
)

Tell = Callable[[str], None]
_WAIT_OR_TAKE = "wait until it ends, or once it shows no sign of life: the same with --takeover"


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a holder beats, and how long it may be silent while it is watched."""

    beat_s: float = 5.0
    silence_s: float = 30.0
    look_s: float = 0.5
    """Time between two looks of a watcher."""


PACE = Pace()


class Lease:
    """What the holder of a study has; `study_lease` gives it."""

    def __init__(
        self, folder: Path, own: OwnClaim, outlived: tuple[Claim, ...], pace: Pace
    ) -> None:
        self.token = own.claim.token
        self.outlived = outlived
        """Earlier holders that neither gave the study back nor are known to be dead."""
        self._folder = folder
        self._own = own
        self._pace = pace
        self._beats = 0
        self._is_settled = False
        self._is_followed = False
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._live, name="dexsearch-lease", daemon=True)
        self._heart.start()

    @property
    def void_locks(self) -> frozenset[str]:
        """Names, as lock files have them, of whom this lease has outlived."""
        return frozenset(str(claim.process) for claim in self.outlived)

    @property
    def token_after_takeover(self) -> int | None:
        """The fencing token, where an earlier holder may still believe that it holds the study."""
        return self.token if self.outlived else None

    def check(self) -> None:
        """Return if this process still holds the study; cheap enough for every event.

        Raises:
            StudyBusy: if somebody has taken it over.
        """
        if self._is_followed or self._own.is_followed():
            self._is_followed = True
            follower = newest_claim(self._folder) or "somebody whose claim is gone by now"
            raise StudyBusy(
                f"study {self._folder.name!r} was taken over by {follower}, because this process "
                "showed no sign of life; it has written nothing since",
                hint="nothing is to be done: the search goes on there",
            )

    def settle(self) -> None:
        """Note that nothing which an earlier holder still writes can be in the ledger."""
        self._is_settled = True
        self._beat()

    def release(self) -> None:
        """Give the study back, at once and for everybody; twice is allowed."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._heart.join(self._pace.beat_s)
        if self._heart.is_alive():  # it hangs in a file system that does not answer
            return
        try:
            self._own.write(beat=self._beats + 1, settled=self._is_settled, released=True)
        except OSError:
            pass  # others then watch it in vain, and take it
        finally:
            self._own.close()

    def _live(self) -> None:
        """Beat until the lease ends; whatever the file system does, the next beat is tried."""
        while not self._ended.wait(self._pace.beat_s):
            self._beat()

    def _beat(self) -> None:
        try:
            newest = newest_claim(self._folder)
            self._is_followed |= newest is not None and newest.token > self.token
            self._beats += 1
            self._own.write(beat=self._beats, settled=self._is_settled)
        except OSError:  # it may be gone by the next beat
            pass


@contextmanager
def study_lease(
    folder: Path, *, takeover: bool, tell: Tell, pace: Pace | None = None
) -> Iterator[Lease]:
    """Hold a study as long as the block runs.

    Args:
        folder: the study's; made if it is missing.
        takeover: take the study from a holder that shows no sign of life for half a minute,
            which is waited for here.
        tell: is given each line that a waiting person wants to read.
        pace: of hearts and watchers; all who share the folder need the same one.

    Raises:
        StudyBusy: if another process holds the study, or may hold it and `takeover` is not given.
        EnvironmentFault: if the folder cannot be written.
    """
    pace = pace or PACE
    try:
        own, outlived = _acquired(folder, takeover=takeover, tell=tell, pace=pace)
    except OSError as error:
        raise EnvironmentFault(
            f"cannot write {folder}: {error.strerror}",
            hint="free some disk space, or correct its permissions; the same command then "
            "continues",
        ) from error
    lease = Lease(folder, own, outlived, pace)
    try:
        yield lease
    finally:
        lease.release()


def is_held(folder: Path) -> bool:
    """Return whether a process may hold the study, without waiting for a sign of life."""
    claim = newest_claim(folder)
    return claim is not None and not claim.released and claim.process.life() != "dead"


def shows_life(folder: Path, claim: Claim, *, longest_s: float, look_s: float = 0.25) -> bool:
    """Watch a claim until it changes, for `longest_s` at most; return whether it did."""
    watched_s, looked = 0.0, time.monotonic()
    while watched_s < longest_s:
        time.sleep(look_s)
        if newest_claim(folder) != claim:
            return True
        # A watcher that was suspended has not watched meanwhile.
        now = time.monotonic()
        watched_s += min(now - looked, 2 * look_s)
        looked = now
    return False


def _acquired(
    folder: Path, *, takeover: bool, tell: Tell, pace: Pace
) -> tuple[OwnClaim, tuple[Claim, ...]]:
    """Claim the study; return the claim, and the earlier ones that may not be dead."""
    while True:
        holder = newest_claim(folder)
        if holder is not None and not holder.released:
            _make_sure_it_is_dead(folder, holder, takeover=takeover, tell=tell, pace=pace)
        token = 1 if holder is None else holder.token + 1
        own = try_to_claim(folder, new_claim(token))
        if own is not None:
            return own, _outlived([claim for claim in claims_on(folder) if claim.token < token])


def _outlived(earlier: list[Claim]) -> tuple[Claim, ...]:
    """Return who may still write: since the last one that has put all others aside."""
    settled = max((claim.token for claim in earlier if claim.settled), default=0)
    return tuple(
        claim
        for claim in earlier
        if claim.token >= settled and not claim.released and claim.process.life() != "dead"
    )


def _make_sure_it_is_dead(
    folder: Path, holder: Claim, *, takeover: bool, tell: Tell, pace: Pace
) -> None:
    """Return once the holder is gone, or is to be taken for dead.

    Raises:
        StudyBusy: if it lives, or nobody may tell.
    """
    life = holder.process.life()
    if life == "dead":
        tell(f"the process of {holder} has died; going on from its ledger")
        return
    if not takeover:
        _refuse(folder, holder, is_suspended=life == "suspended")
    tell(
        f"study {folder.name!r} is held by {holder}: watching it for a sign of life, "
        f"{pace.silence_s:.0f} s at most"
    )
    if not shows_life(folder, holder, longest_s=pace.silence_s, look_s=pace.look_s):
        tell(f"no sign of life in {pace.silence_s:.0f} s: taking the study over")
        return
    now = newest_claim(folder)
    if now is not None and now.token == holder.token and not now.released:
        _refuse(folder, holder, is_suspended=False)


def _refuse(folder: Path, holder: Claim, *, is_suspended: bool) -> NoReturn:
    suspended = ", which is suspended" if is_suspended else ""
    raise StudyBusy(
        f"study {folder.name!r} is being searched by {holder}{suspended}", hint=_WAIT_OR_TAKE
    )

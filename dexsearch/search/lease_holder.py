"""Who holds a study, and does it look alive? For people who ask; nothing is taken or changed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dexsearch.search.lease import PACE, shows_life
from dexsearch.search.lease_file import Claim, newest_claim
from dexsearch.search.process_identity import Life

WATCHED_S = 2 * PACE.beat_s + 2
"""How long a holder on another machine is watched before it is called silent."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has a study and did not give it back."""

    claim: Claim
    life: Life
    """"elsewhere" means here that it showed no sign of life while it was watched."""

    @property
    def is_live(self) -> bool:
        """Whether it searches, as far as can be seen."""
        return self.life == "alive"

    @property
    def may_come_back(self) -> bool:
        """Whether it does not search, and is not known to be dead either."""
        return self.life in ("suspended", "elsewhere")

    def as_json(self) -> dict[str, Any]:
        """Return what `--format json` prints."""
        process = self.claim.process
        return {
            "user": self.claim.user, "host": process.host, "pid": process.pid,
            "since": self.claim.since, "live": self.is_live,
        }  # fmt: skip

    def __str__(self) -> str:
        """Return the words for people."""
        ends = {
            "alive": "",
            "dead": ", whose process has died",
            "suspended": ", whose process is suspended",
            "elsewhere": ", which shows no sign of life",
        }
        return f"{self.claim}{ends[self.life]}"


def holder_of(folder: Path, *, longest_s: float = WATCHED_S) -> Holder | None:
    """Return who holds a study, or None if nobody does.

    A process of this machine is looked at; one of another machine is watched until it beats, for
    `longest_s` at most.
    """
    claim = newest_claim(folder)
    if claim is None or claim.released:
        return None
    life = claim.process.life()
    if life != "elsewhere":
        return Holder(claim, life)
    if not shows_life(folder, claim, longest_s=longest_s):
        return Holder(claim, life)
    now = newest_claim(folder)
    return None if now is None or now.released else Holder(now, "alive")

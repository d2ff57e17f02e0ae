"""What is done about a trial that did not end by itself: tried again, or failed.

    class            tried again                                          after that
    infrastructure   its process was lost or hung: MAX_LOSSES times       failed
                     its node was lost: MAX_NODE_LOSSES times             failed
                     its process could not begin: MAX_STARTS times        failed
    exception        once, from its checkpoint                            failed
    memory           put back where it had neighbours, see sharing.py     failed
    disk             put back until there is space, see disk_wait.py
    storage          put back until it answers, likewise; where its last epoch is trained and
                     MAX_REFUSED_ENDS times not taken, the search stops
    denied           the keys of object storage are not valid (any more): once, then the search
                     stops
    numeric          never                                                failed
    configuration    never                                                failed
    data             never: the search stops, the trial is to be continued; where only one of
                     several nodes cannot use the data, put back: no trial goes there any more
    checkpoint       put back once where the last one is not in the storage; then the search stops
    (none)           the whole search was killed after the trial was handed out, without a new
                     epoch: handed out last and apart from the SUSPECT_AFTER-th time on, failed
                     after MAX_IN_VAIN, one with epochs after MAX_IN_VAIN_WITH_EPOCHS. An end
                     that the search lived to tell, a fault or a signal, does not count
    superseded       as lost, by whoever holds the study: an earlier attempt came too late

Losses are counted since the trial's newest epoch, so a trial that gets on is never given up, and
one that does not is tried at once the first time and later and later from then on.
"""

from dataclasses import dataclass
from typing import Literal

MAX_LOSSES = 3
"""How often a trial is started again after its process was lost, without a new epoch between."""

MAX_NODE_LOSSES = 10
"""The same after its node was lost or taken away, which is rarely a fault of the trial."""

MAX_STARTS = 1
"""The same after its process raised while it began, because it lacks something there."""

MAX_EXCEPTIONS = 1
"""How often a trial is started again after an exception of its own."""

SUSPECT_AFTER = 3
"""How often in a row a search must be killed to make a trial suspect that it handed out again."""

MAX_IN_VAIN = 10
"""How often a trial without any epoch may be handed out again by a search that is then killed."""

MAX_IN_VAIN_WITH_EPOCHS = 50
"""The same of one that has trained before, so that it is more likely a victim: of machines that
are taken away sooner than an epoch takes, for example."""

MAX_REFUSED_ENDS = 3
"""How often a trial is trained to its end and cannot be saved before the search stops."""

_LONGEST_PAUSE_S = 30.0

Setback = Literal[
    "lost", "hung", "node", "start", "exception", "memory", "disk", "storage", "unfit", "unsaved"
]
"""Why a trial begins again; in the ledger as the `kind` of `trial_continued`."""


@dataclass(slots=True)
class Setbacks:
    """How often a trial had to begin again."""

    losses: int = 0
    node_losses: int = 0
    starts: int = 0
    exceptions: int = 0
    denials: int = 0
    refused_ends: int = 0
    """How often it was trained to its end and could not be saved, in a wait of its own each where
    a disk was full: one wait has its own limit."""
    is_unsaved: bool = False
    """Whether it was trained to its end, and its last checkpoint was not in the storage."""

    def forgive(self) -> None:
        """Begin to count anew: the trial has reported an epoch that it had not reached before."""
        self.losses = self.node_losses = self.starts = 0

    def pause_s(self, setback: Setback) -> float | None:
        """Count a setback; return the seconds to wait before the next try, None for no try."""
        match setback:
            case "lost" | "hung":
                self.losses += 1
                return _pause(self.losses) if self.losses <= MAX_LOSSES else None
            case "node":
                self.node_losses += 1
                return _pause(self.node_losses) if self.node_losses <= MAX_NODE_LOSSES else None
            case "start":
                self.starts += 1
                return _pause(2) if self.starts <= MAX_STARTS else None
            case "exception":
                self.exceptions += 1
                return 0.0 if self.exceptions <= MAX_EXCEPTIONS else None
            case "memory" | "disk" | "storage" | "unfit" | "unsaved":
                return 0.0


def _pause(n: int) -> float:
    """Return the seconds to wait before the n-th try: 0, 2, 8, then 30 at most."""
    return 0.0 if n == 1 else min(_LONGEST_PAUSE_S, 0.5 * 4.0 ** (n - 1))

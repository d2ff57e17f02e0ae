"""Where a search runs, and what it may do there."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Site:
    """The machines of a search and the place of its checkpoints; the same search fits any."""

    address: str | None = None
    """`HOST:PORT` of a Ray cluster, or `auto`; None starts Ray on this machine."""

    storage: str | None = None
    """A folder that every node sees, or a URI; None keeps checkpoints in the study's folder."""

    ship_code: bool = False
    """Send this dexsearch to the workers, instead of asking that they have the same one."""

    takeover: bool = False
    """Take the study from another run of it that does not show any sign of life."""


HERE = Site()

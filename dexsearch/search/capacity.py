"""How many trials a cluster takes at once, asked again while nodes come and go."""

import time
from collections.abc import Callable, Iterable, Mapping

from dexsearch.search.sharing import GpuSharing

_ASK_EVERY_S = 1.0


class Capacity:
    """The trials that fit on the nodes there are; what `RunningTrials.room` asks for.

    Ray Tune keeps a trial waiting until there is room for it. But a trial that waits was proposed
    without the results of those before it, so none is proposed before it can begin; and one more
    is as soon as a node joins.
    """

    def __init__(
        self,
        nodes: Callable[[], Iterable[Mapping[str, float]]],
        *,
        cpus: float,
        gpus: float,
        tell: Callable[[str], None] = lambda text: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ask for nothing yet.

        Args:
            nodes: returns the `CPU` and `GPU` of every node that lives.
            cpus: of a trial.
            gpus: of a trial, where `sharing` knows of no GPU.
            tell: hears of every change.
            clock: in seconds; the nodes are asked for once a second.
        """
        self._nodes = nodes
        self._cpus, self._gpus = cpus, gpus
        self._tell = tell
        self._clock = clock
        self._asked: float | None = None
        self._found: tuple[Mapping[str, float], ...] = ()
        self._told: int | None = None

    def __call__(self, sharing: GpuSharing) -> int:
        """Return how many trials fit; with another `sharing` a GPU takes more of them or fewer."""
        now = self._clock()
        if self._asked is None or now - self._asked >= _ASK_EVERY_S:
            self._asked, self._found = now, tuple(self._nodes())
        gpus = sharing.share if sharing.n_gpus else self._gpus
        slots = sum(slots_of_node(node, cpus=self._cpus, gpus=gpus) for node in self._found)
        if self._told not in (None, slots):
            self._tell(f"the cluster has room for {slots} trials at once now, {self._told} before")
        self._told = slots
        return slots


def slots_of_node(node: Mapping[str, float], *, cpus: float, gpus: float) -> int:
    """Return how many trials fit on one node; a part of a GPU is a part of one GPU."""
    by_cpus = int(node.get("CPU", 0.0) / cpus) if cpus else None
    by_gpus = None
    if gpus:
        n_gpus = int(node.get("GPU", 0.0))
        by_gpus = n_gpus * int(1 / gpus + 1e-9) if gpus < 1 else int(n_gpus / gpus)
    limits = [limit for limit in (by_cpus, by_gpus) if limit is not None]
    return min(limits, default=0)

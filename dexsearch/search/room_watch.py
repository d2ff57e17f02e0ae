"""Says what a search waits for, as long as none of its trials has a process.

Trials that wait for room report nothing, so a search whose GPUs others hold, or whose nodes have
all gone, would be silent.
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayError
from ray.tune.experiment import Trial
from ray.util import placement_group_table

from dexsearch.search.preflight_report import counted

TELL_EVERY_S = 30.0
_ASK_EVERY_S = 5.0

Amounts = Mapping[str, float]


class RoomWatch(tune.Callback):
    """Looks at Tune's trials in each turn of its loop."""

    def __init__(
        self, tell: Callable[[str], None], waiting: Callable[[], str | None],
        clock: Callable[[], float] = time.monotonic,
        no_room: Callable[[], str | None] = lambda: None,
    ) -> None:  # fmt: skip
        """Prepare to look.

        Args:
            tell: hears what is waited for.
            waiting: returns a line about that; None if nothing is waited for.
            clock: in seconds.
            no_room: returns a line where no trial is handed out because no node could take one;
                None otherwise.
        """
        self._tell = tell
        self._waiting = waiting
        self._no_room = no_room
        self._clock = clock
        self._next: float | None = None

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: object) -> None:
        """Tell what is waited for, if none of the trials runs."""
        states = {trial.status for trial in trials}
        if Trial.RUNNING in states:
            self._next = None
            return
        now = self._clock()
        if self._next is None:
            self._next = now + _ASK_EVERY_S
        if now < self._next:
            return
        line = None
        with contextlib.suppress(RayError, ConnectionError, TimeoutError):  # told by head_watch.py
            line = self._waiting() if Trial.PENDING in states else self._no_room()
        if line is not None:
            self._tell(line)
        self._next = now + (_ASK_EVERY_S if line is None else TELL_EVERY_S)

    def __getstate__(self) -> dict[str, Any]:
        """Keep the display out of Tune's files."""
        return {}


def waiting_for_others(*, cpus: float, gpus: float) -> str | None:
    """Say that others hold what a trial needs; None if one of ours has got its place.

    Ray keeps a place (a placement group) for the process of each trial; the identifier of one
    ends with that of the job that asked for it.
    """
    if _own_places() != {"PENDING"}:
        return None
    total: Amounts = ray.cluster_resources()  # type: ignore[no-untyped-call]
    free: Amounts = ray.available_resources()  # type: ignore[no-untyped-call]
    return occupied_line(total, free, cpus=cpus, gpus=gpus)


def is_any_without_a_place() -> bool:
    """Tell whether Ray has no place yet for one of our trials."""
    return "PENDING" in _own_places()


def _own_places() -> set[str]:
    """Return the states of the places that this job has asked for."""
    job = ray.get_runtime_context().get_job_id()
    groups: dict[str, dict[str, Any]] = placement_group_table()
    own = {group["state"] for name, group in groups.items() if name.endswith(job)}
    return own - {"REMOVED"}


def no_room_line(*, cpus: float, gpus: float, is_asked: bool) -> str:
    """Say that no node could take a trial of that size; `is_asked`: an autoscaler for one."""
    wanted = f"{counted(gpus, 'GPU')} and " if gpus else ""
    asked = ", which the autoscaler of the cluster was asked for" if is_asked else ""
    return (
        "no node of the cluster has room for a trial: waiting for one with "
        f"{wanted}{counted(cpus, 'CPU')}{asked}"
    )


def occupied_line(total: Amounts, free: Amounts, *, cpus: float, gpus: float) -> str:
    """Say what a trial waits for, and how much of it is free."""
    n_gpus, free_gpus = total.get("GPU", 0.0), free.get("GPU", 0.0)
    if gpus and n_gpus >= gpus and free_gpus < min(gpus, 1):
        wanted = "a GPU" if gpus <= 1 else counted(gpus, "GPU")
        held = (
            "the only one of the cluster is"
            if n_gpus == 1
            else f"all {n_gpus:g} of the cluster are"
        )
        return f"waiting for {wanted}: {held} in use by others"
    wanted = f"{counted(gpus, 'GPU')} and " if gpus else ""
    gpus_free = f"{free_gpus:g} of {counted(n_gpus, 'GPU')} and " if gpus else ""
    cpus_free = f"{free.get('CPU', 0.0):g} of {counted(total.get('CPU', 0.0), 'CPU')}"
    return (
        f"waiting for {wanted}{counted(cpus, 'CPU')} on one node: {gpus_free}{cpus_free} of the "
        "cluster are free"
    )

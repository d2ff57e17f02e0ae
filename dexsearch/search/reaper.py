"""Ends the process of a trial that does not answer, on whatever node it is.

A process that is stopped, or that hangs inside a driver, does not hear `ray.kill`, which asks it
to end, and would keep its GPU. So a small task on its node sends SIGKILL and sees that it is gone.
Where the process cannot be ended (state D), or the node does not answer either, Ray is told to
take the actor for dead, and the node keeps what it has, a silent one until it answers again; a
checkpoint it may still write is fenced off (see checkpoint_store.py).
"""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray._private import state as ray_state
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from dexsearch.search.warm_up import SKIP

NODE_ANSWERS_WITHIN_S = 20.0
"""A node that has not ended a process after so long does not answer."""

_GONE_WITHIN_S = 10.0
_WORKER = "ray::"  # how the title of a worker's process begins


@dataclass(frozen=True, slots=True)
class _Request:
    actor: Any
    answer: Any
    deadline: float
    when_silent: Callable[[], None]


class Reaper:
    """Asks nodes to end processes; never waits for an answer."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` is in seconds."""
        self._clock = clock
        self._requests: list[_Request] = []

    def end(self, actor: Any, when_silent: Callable[[], None]) -> None:  # noqa: ANN401
        """Ask for the end of an actor's process; `look` sees to it.

        Args:
            actor: its handle.
            when_silent: called if its node does not answer, before Ray takes it for dead.
        """
        deadline = self._clock() + NODE_ANSWERS_WITHIN_S
        self._requests.append(_Request(actor, _ask(actor), deadline, when_silent))

    def look(self) -> None:
        """Look after what was asked for; what Ray raises about one request costs no other."""
        for request in list(self._requests):
            if self._is_due(request):
                self._requests.remove(request)
                self._settle(request)

    def _is_due(self, request: _Request) -> bool:
        if request.answer is None or self._clock() >= request.deadline:
            return True
        ready, _ = ray.wait([request.answer], timeout=0)
        return bool(ready)

    def _settle(self, request: _Request) -> None:
        """Have Ray take an actor for dead whose process did not end."""
        if request.answer is not None:
            answer = _answer_to(request)
            if answer:
                return
            if answer is None:
                request.when_silent()
        ray.kill(request.actor, no_restart=True)


def _ask(actor: Any) -> Any:  # noqa: ANN401
    """Start the task that ends an actor's process; None if it was not given one yet."""
    found = ray_state.actors(actor_id=actor._actor_id.hex())
    pid, node = found.get("Pid", 0), found.get("Address", {}).get("NodeID", "")
    if not pid or not node:
        return None
    task = ray.remote(num_cpus=0, max_retries=0, max_calls=1, **task_environment())(end_process)
    strategy = NodeAffinitySchedulingStrategy(node, soft=False)
    return task.options(scheduling_strategy=strategy).remote(pid)


def task_environment() -> dict[str, Any]:
    """Return what keeps the task's process from importing what trials need, where all others do.

    Elsewhere nothing: a process with an environment of its own has to be started.
    """
    of_job = ray.get_runtime_context().runtime_env
    if "worker_process_setup_hook" not in of_job:
        return {}
    return {"runtime_env": {"env_vars": {SKIP: "1"}}}


def _answer_to(request: _Request) -> bool | None:
    """Return whether a node says that the process has ended; None if it does not answer."""
    ready, _ = ray.wait([request.answer], timeout=0)
    if not ready:
        return None
    try:
        return bool(ray.get(request.answer))
    except ray.exceptions.RayTaskError:  # raised there, so the node answers
        return False
    except ray.exceptions.RayError:  # its node has died meanwhile
        return None


def end_process(pid: int) -> bool:
    """End a worker of this node at once; return whether it is gone."""
    deadline = time.monotonic() + _GONE_WITHIN_S
    while time.monotonic() < deadline:
        if _is_gone(pid):
            return True
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def _is_gone(pid: int) -> bool:
    """Tell whether a worker has ended; another process may have its number by now."""
    folder = Path(f"/proc/{pid}")
    try:
        state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        title = (folder / "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return Path("/proc/self").exists()
    return state in "ZX" or not title.startswith(_WORKER)

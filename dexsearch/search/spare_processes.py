"""A process in reserve on every node of a cluster, for a trial whose own is lost.

A new process spends nearly all of its start importing (warm_up.py), which takes many seconds on a
busy machine. Ray gives an actor a process that has run nothing yet, where its node has one, and
keeps one if it is asked to. Ray's C++ workers make that request, Python is not offered it, so it
is made here with the stubs that Ray ships. They need grpcio, a part of `ray[default]`; without it,
or with a Ray that does not know the request, trials begin again all the same, only later.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune
from ray._private.state import state
from ray.core.generated import gcs_pb2
from ray.tune.experiment import Trial

KEEP_S = 600.0
"""How long a process is kept; by then its node is asked for another one."""

SETTLE_S = 10.0
"""How long after a node joined, or a process was lost, it is asked: its trials come first."""

_LOOK_EVERY_S = 1.0
_ANSWER_S = 5.0
_SETUP_S = 600  # Ray's own limit for code that it sends to a node


@dataclass(frozen=True, slots=True)
class Place:
    """A node that runs trials."""

    node_id: str
    address: str
    """HOST:PORT of its raylet."""


class SpareProcesses(tune.Callback):
    """Sees to it that each node has one; a loss may have used one up."""

    def __init__(
        self, places: Callable[[], Iterable[Place]], ask: Callable[[Place], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """Ask for nothing yet.

        Args:
            places: returns the nodes that live and have room for trials.
            ask: asks a node for a process, without waiting for the answer; returns whether it
                knew what for.
            clock: in seconds.
        """
        self._places = places
        self._ask = ask
        self._clock = clock
        self._due: dict[Place, float] = {}
        self._next_look = 0.0

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: object) -> None:
        """Ask the nodes whose time has come; once a second at most."""
        now = self._clock()
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_EVERY_S
        with contextlib.suppress(Exception):  # of Ray; head_watch.py tells of that, trials go on
            self._look(now)

    def _look(self, now: float) -> None:
        self._due = {place: self._due.get(place, now + SETTLE_S) for place in self._places()}
        for place, due in self._due.items():
            if due <= now and self._ask(place):
                self._due[place] = now + KEEP_S

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: object
    ) -> None:
        """Ask all nodes again soon: any of them may have given its process away."""
        soon = self._clock() + SETTLE_S
        self._due = {place: min(due, soon) for place, due in self._due.items()}

    def __getstate__(self) -> dict[str, Any]:
        """Keep what it holds out of Tune's files."""
        return {}


def spare_processes(
    nodes: Callable[[], Iterable[Mapping[str, Any]]],
    has_room: Callable[[Mapping[str, float]], bool],
) -> list[tune.Callback]:
    """Return what keeps processes in reserve; nothing where that cannot be asked for.

    Args:
        nodes: returns the living nodes, as `ray.nodes()` describes them.
        has_room: whether a node with these resources runs trials.
    """
    ask = _request()
    if ask is None:
        return []

    def places() -> list[Place]:
        return [
            Place(node["NodeID"], f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}")
            for node in nodes()
            if has_room(node["Resources"])
        ]

    return [SpareProcesses(places, ask)]


def _request() -> Callable[[Place], bool] | None:
    """Return what asks a node; None without grpcio."""
    try:
        from ray._private.grpc_utils import init_grpc_channel  # noqa: PLC0415  (grpcio)
        from ray.core.generated import (  # noqa: PLC0415  (it has names that mypy does not see)
            common_pb2,
            node_manager_pb2,
            node_manager_pb2_grpc,
        )
    except ImportError:
        return None
    messages: Any = node_manager_pb2
    languages: Any = common_pb2
    stubs: Any = node_manager_pb2_grpc
    job = ray.get_runtime_context().get_job_id()
    begun: list[tuple[Any, Any]] = []

    def ask(place: Place) -> bool:
        for call in [call for call in begun if call[1].done()]:
            begun.remove(call)
            call[0].close()
        environment = _environment_of_actors(job)
        if environment is None:
            return False
        request = messages.PrestartWorkersRequest(
            language=languages.Language.PYTHON,
            job_id=bytes.fromhex(job),
            num_workers=1,
            keep_alive_duration_secs=int(KEEP_S),
        )
        request.runtime_env_info.serialized_runtime_env = environment
        request.runtime_env_info.runtime_env_config.setup_timeout_seconds = _SETUP_S
        channel = init_grpc_channel(place.address)
        call = stubs.NodeManagerServiceStub(channel).PrestartWorkers
        begun.append((channel, call.future(request, timeout=_ANSWER_S)))
        return True

    return ask


def _environment_of_actors(job: str) -> str | None:
    """Return the runtime environment of the trials' actors as Ray notes it; None before the first.

    Tune adds variables of its own to what the job has, and an actor is given only a process that
    was started with the same text.
    """
    messages: Any = gcs_pb2
    accessor: Any = state._connect_and_get_accessor()
    actors = accessor.get_actor_table(ray.JobID.from_hex(job), "ALIVE")
    for actor in map(messages.ActorTableData.FromString, actors):
        return str(actor.serialized_runtime_env)
    return None

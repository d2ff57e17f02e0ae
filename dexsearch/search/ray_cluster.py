"""Starting a Ray cluster on this machine or joining one; after `cluster.prepare_environment`."""

import contextlib
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, final

import ray
from ray import cloudpickle
from ray._private import worker as ray_worker
from ray.job_config import JobConfig

import dexsearch
from dexsearch.errors import EnvironmentFault
from dexsearch.search import warm_up
from dexsearch.search.held_signals import held_signals
from dexsearch.search.joining import Tell, joinable_cluster
from dexsearch.search.worker_imports import shared_folders

_SCRATCH_PREFIX = "dexray-"
_MAX_SOCKET_PATH = 107 if sys.platform == "linux" else 103  # bytes
_BELOW_SCRATCH = len("/r/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store.1")
_NEEDED = ("gcs_server", "raylet")  # processes without which a cluster is dead
_OBJECT_STORE_BYTES = 100_000_000  # trials exchange a few hundred bytes per epoch


@final
class OwnImports(JobConfig):
    """What Ray tells the processes of a job, without folders that this process ignores.

    It overrides a method of Ray's, which has no setting for it but a `working_dir`: that would be
    packed, sent, and made the current folder of every trial.
    """

    def _serialize(self) -> str:
        self._py_driver_sys_path = shared_folders(self._py_driver_sys_path)
        return super()._serialize()  # type: ignore[no-any-return, no-untyped-call, unused-ignore]


@contextlib.contextmanager
def ray_cluster(
    address: str | None, *, ship_code: bool = False, tell: Tell = lambda text: None
) -> Iterator[None]:
    """Join the cluster at `address`, or start one on this machine; leave it, or stop it.

    With `ship_code` the workers of a cluster import the dexsearch of this process; `tell` hears
    what is odd about the cluster.

    Raises:
        EnvironmentFault: if Ray does not start here, or the cluster does not take this process.
    """
    silence_ray()
    scratch = scratch_folder() if address is None else None
    try:
        if scratch is not None:
            with held_signals():
                _start(scratch)
        elif address is not None:
            found = joinable_cluster(address, tell).address
            with held_signals():
                _join(found, shipped_code() if ship_code else {})
        yield
    finally:
        ray.shutdown()
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def silence_ray() -> None:
    """Keep Ray's own lines off standard output and standard error; trials tell what matters.

    Messages of the raylet about lost workers are printed to standard output whatever `ray.init`
    was told, unless this private switch of Ray's debugger is off.
    """
    for name in ("ray", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    ray_worker._worker_logs_enabled = False


def is_local_cluster_dead() -> bool:
    """Tell whether the cluster that we started has ended; False after joining one."""
    node = ray_worker._global_node
    if node is None or not node.is_head():
        return False
    return any(kind in _NEEDED for kind, _ in node.dead_processes())


def scratch_folder() -> str:
    """Make a folder for Ray's files, and remove those of processes that were killed.

    One of its own, so that nothing is left; short, because sockets lie in it. Nobody else enters
    it: Ray opens the folder that it is given to everybody (0777), so give it one inside.
    """
    parent = _scratch_parent(tempfile.gettempdir())
    for folder in Path(parent).glob(f"{_SCRATCH_PREFIX}*-*"):
        pid = folder.name.removeprefix(_SCRATCH_PREFIX).partition("-")[0]
        if pid.isdigit() and not _is_alive(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)
    return tempfile.mkdtemp(prefix=f"{_SCRATCH_PREFIX}{os.getpid()}-", dir=parent)


def _scratch_parent(wanted: str) -> str:
    """Return the folder for scratch folders: `/tmp` where sockets below `wanted` are too long."""
    own = len(f"/{_SCRATCH_PREFIX}{os.getpid()}-12345678")
    fits = len(os.fsencode(wanted)) + own + _BELOW_SCRATCH <= _MAX_SOCKET_PATH
    return wanted if fits else "/tmp"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _start(scratch: str) -> None:
    try:
        ray.init(
            address="local",
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=_OBJECT_STORE_BYTES,
            _node_ip_address="127.0.0.1",
            _temp_dir=f"{scratch}/r",
            job_config=OwnImports(),
        )
    except (RuntimeError, OSError, TimeoutError) as error:
        raise EnvironmentFault(f"Ray does not start on this machine: {error}") from error


def shipped_code() -> dict[str, Any]:
    """Return the runtime environment in which workers import this process's dexsearch."""
    return {"py_modules": [str(Path(dexsearch.__file__).parent)], "excludes": ["__pycache__"]}


def _join(address: str, code: dict[str, Any]) -> None:
    """Join a cluster, whose processes for this search then import what trials need."""
    cloudpickle.register_pickle_by_value(warm_up)  # type: ignore[no-untyped-call]
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            job_config=OwnImports(),
            runtime_env={**code, "worker_process_setup_hook": warm_up.import_training},
        )
    except (ConnectionError, RuntimeError, TimeoutError) as error:
        raise EnvironmentFault(
            f"cannot join the Ray cluster at {address}: {error}",
            hint="its head answers, so look at the Ray processes of this machine: `ray status`",
        ) from error
    finally:
        cloudpickle.unregister_pickle_by_value(warm_up)  # type: ignore[no-untyped-call]

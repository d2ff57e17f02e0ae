"""The search's side of the flusher: start it, hear it, and be rid of it in any case.

MLflow is never imported here. Whatever MLflow does, `flushing` ends within a second, and
`bring_up` within the time that it is given.
"""

import json
import os
import selectors
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from dexsearch.errors import EnvironmentFault
from dexsearch.own_process import module_command, module_environment
from dexsearch.registry.address import check_uri, shown
from dexsearch.registry.flusher import Errand
from dexsearch.registry.mirror import Synced
from dexsearch.registry.tracking import SAFE_ENVIRONMENT

SILENT_S = 90.0
"""After so long without a sign of life MLflow counts as hanging: the longest call and its retries
take 33 s, the import of MLflow on a busy machine as long."""
LONGEST_S = 900.0
"""How long a finished search waits for MLflow at most."""
IN_HASTE_S = 20.0
"""The same of a search that was asked to stop: a scheduler kills after 30 s."""
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

Process = subprocess.Popen[bytes]


@contextmanager
def flushing(folder: Path, workspace: Path, uri: str | None) -> Iterator[None]:
    """Project a study on MLflow in a process of its own as long as the block runs.

    Args:
        folder: of the study, whose ledger the block writes.
        workspace: its workspace.
        uri: address of another store than the workspace's own.

    Raises:
        ConfigurationError: if `uri` is no address of MLflow.
    """
    with _flusher(workspace, uri, folder):
        yield


def bring_up(
    workspace: Path,
    uri: str | None,
    *,
    tell: Callable[[str], None],
    longest_s: float = LONGEST_S,
    beat: Callable[[int], None] = lambda _: None,
) -> Synced:
    """Bring MLflow up to every ledger of a workspace, in a process of its own.

    Args:
        workspace: where the ledgers are.
        uri: address of another store than the workspace's own.
        tell: is given one line for each thing that a person should know.
        longest_s: gives up after so many seconds; the next call goes on from there.
        beat: is given how many runs have been brought up.

    Raises:
        ConfigurationError: if `uri` is no address of MLflow.
        EnvironmentFault: if MLflow cannot be written, or not in time.
    """
    place = shown(uri) if uri else str(workspace)
    with _flusher(workspace, uri, None) as (flusher, errors):
        n_runs = 0
        for line in _lines(flusher, place, longest_s):
            if line == ".":
                n_runs += 1
                beat(n_runs)
                continue
            said = _parsed(line)
            if "done" in said:
                return Synced(**said["done"])
            if "error" in said:
                raise EnvironmentFault(said["error"], hint=said["hint"])
            if "tell" in said:
                tell(str(said["tell"]))
        raise EnvironmentFault(
            f"the process that brings MLflow ({place}) up to the ledgers ended with code "
            f"{flusher.wait()}: {_last_words(errors)}",
            hint="nothing is lost: the ledgers hold everything; once that is put right: "
            "dexsearch sync",
        )


@contextmanager
def _flusher(
    workspace: Path, uri: str | None, study: Path | None
) -> Iterator[tuple[Process, IO[bytes]]]:
    """Run a flusher as long as the block runs; yield it and what it writes on standard error."""
    errand = Errand(
        str(workspace.absolute()),
        check_uri(uri),
        str(study.absolute()) if study else None,
        os.getpid(),
    )
    with tempfile.TemporaryFile() as errors:
        flusher = subprocess.Popen(
            module_command("dexsearch.registry.flusher"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if study is None else subprocess.DEVNULL,
            stderr=errors,
            env=module_environment({**_ONE_THREAD, **SAFE_ENVIRONMENT, **os.environ}),
            start_new_session=True,  # Ctrl-C is for us
        )
        try:
            _give(errand, flusher)
            yield flusher, errors
        finally:
            _end(flusher)


def _give(errand: Errand, flusher: Process) -> None:
    """Send the errand through a pipe: its address may hold a password, which `ps` would show."""
    assert flusher.stdin is not None  # noqa: S101  (tells the type)
    try:
        flusher.stdin.write(json.dumps(asdict(errand)).encode() + b"\n")
        flusher.stdin.flush()
    except BrokenPipeError:  # it ended at once; whoever listens finds out why
        pass


def _lines(flusher: Process, place: str, longest_s: float) -> Iterator[str]:
    """Yield what a flusher says, until it ends.

    Raises:
        EnvironmentFault: if it says nothing for too long, or takes too long altogether.
    """
    assert flusher.stdout is not None  # noqa: S101  (tells the type)
    give_up, rest = time.monotonic() + longest_s, b""
    with selectors.DefaultSelector() as selector:
        selector.register(flusher.stdout, selectors.EVENT_READ)
        while True:
            left_s = min(SILENT_S, give_up - time.monotonic())
            if left_s <= 0 or not selector.select(left_s):
                raise EnvironmentFault(
                    f"MLflow at {place} took too long and was left alone",
                    hint="nothing is lost: the ledgers hold everything; dexsearch sync goes on",
                )
            chunk = os.read(flusher.stdout.fileno(), 65536)
            if not chunk:
                return
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (line.decode(errors="replace") for line in lines)


def _parsed(line: str) -> dict[str, Any]:
    """Return a line of ours; libraries that print something are passed over."""
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _last_words(errors: IO[bytes]) -> str:
    errors.seek(0)
    words = errors.read().decode(errors="replace").strip().splitlines()
    return words[-1] if words else "it said nothing"


def _end(flusher: Process) -> None:
    """End a flusher now, wherever it is: the ledgers hold what it was about to send."""
    flusher.kill()
    flusher.wait()
    for pipe in (flusher.stdin, flusher.stdout):
        if pipe is not None:
            pipe.close()

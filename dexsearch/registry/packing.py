"""Who works in the folder of generator packages: several that write, or one that clears up.

A package lies there for a moment before `registry.jsonl` names it. Whoever packs and registers
holds a shared lock on `WORKSPACE/generators.lock` meanwhile, so that `gc` never takes such a
package for an orphan.
"""

import fcntl
import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from dexsearch.registry.store import PACKAGES

P = ParamSpec("P")
R = TypeVar("R")


def packing_lock(workspace: Path) -> Path:
    """Return the file that is locked while packages are written or cleared up."""
    return workspace / f"{PACKAGES.name}.lock"


def while_packing(
    function: Callable[Concatenate[Path, P], R],
) -> Callable[Concatenate[Path, P], R]:
    """Let a function that writes packages into the workspace, its first argument, keep `gc` out.

    It waits for a `gc` that is there already, which takes moments.
    """

    @functools.wraps(function)
    def locked(workspace: Path, /, *args: P.args, **kwargs: P.kwargs) -> R:
        lock = packing_lock(workspace)
        lock.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            return function(workspace, *args, **kwargs)
        finally:
            os.close(descriptor)

    return locked


@contextmanager
def nobody_packing(workspace: Path, *, ask_only: bool = False) -> Iterator[bool]:
    """Keep writers of packages out; yields False, and keeps nobody out, if one is at work.

    Args:
        workspace: whose packages are meant.
        ask_only: make no lock file; where there is none, nobody has ever packed.
    """
    lock = packing_lock(workspace)
    if ask_only and not lock.exists():
        yield True
        return
    descriptor = os.open(lock, os.O_RDONLY if ask_only else os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_free = True
    except BlockingIOError:
        is_free = False
    try:
        yield is_free
    finally:
        os.close(descriptor)

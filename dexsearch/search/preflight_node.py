"""What a node is asked before a search, and how it answers; runs on nodes without dexsearch too.

Ray sends this module by value, so it imports the standard library alone, and questions and
answers are plain dictionaries. Only a storage behind a URI is opened by dexsearch itself.
"""

import hashlib
import importlib.util
import json
import os
import platform
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypedDict

PACKAGE = "dexsearch"
LIBRARIES = ("dexsearch", "ray", "torch")
DRIVER_FILE = "driver"
_PROBE = ".preflight-"
_NOT_CODE = {"__pycache__", "search_spaces"}  # the wheel has its own copy of the latter
_SMI_TIMEOUT_S = 20.0  # without persistence mode it starts every GPU first
_SEEN_WITHIN_S = 3.0  # a shared file system may show a new file late


class Question(TypedDict):
    """What the driver wants to know; `storage` and `dataset` may be None."""

    storage: str | None
    """Folder or URI of the probe: a place of its own within the storage."""
    secret: str
    """What the driver wrote there."""
    name: str
    """What the node calls its own file there."""
    dataset: str | None
    digest: str | None
    gpus: bool
    """Whether to look at the memory of its GPUs."""


class Answer(TypedDict):
    """What a node found."""

    hostname: str
    python: str
    versions: dict[str, str | None]
    """Of `LIBRARIES`; None where one is missing."""
    code: str | None
    """Hash of the sources of dexsearch; None without it."""
    storage_fault: str | None
    """Why the storage cannot be used; None if it can, or nobody asked."""
    storage_free: int | None
    """Bytes; None where nobody can tell, as behind a URI."""
    dataset: str | None
    """`same`, `other` or `absent`; None where nobody asked."""
    scratch: str
    scratch_free: int
    gpu_bytes: int | None
    """Memory of the smallest GPU; None where nobody can tell, or asked."""
    clock_s: float
    """Seconds since 1970."""


def look(question: Question) -> Answer:
    """Return what this machine sees."""
    scratch = _scratch()
    fault = None if question["storage"] is None else _storage_fault(question["storage"], question)
    return {
        "hostname": socket.gethostname(),
        "python": platform.python_version(),
        "versions": {library: _version(library) for library in LIBRARIES},
        "code": code_hash(),
        "storage_fault": fault,
        "storage_free": None if fault else _free(question["storage"]),
        "dataset": _dataset(question["dataset"], question["digest"]),
        "scratch": scratch,
        "scratch_free": shutil.disk_usage(scratch).free,
        "gpu_bytes": smallest_gpu_bytes() if question["gpus"] else None,
        "clock_s": time.time(),
    }


def code_hash() -> str | None:
    """Return the sha256 over the files of the dexsearch that Python finds; it is not imported."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:  # an empty folder of that name is no package
        return None
    root = Path(found.origin).parent
    total = hashlib.sha256()
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(set(folders) - _NOT_CODE)
        for name in sorted(files):
            path = Path(folder, name)
            total.update(f"{path.relative_to(root).as_posix()}\0".encode())
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def smallest_gpu_bytes() -> int | None:
    """Return the memory of this machine's smallest GPU; None where `nvidia-smi` does not tell.

    Asking torch would need a GPU that is free. Where a GPU is cut into slices (MIG) the memory
    of a slice is not told, so the answer is 0: nothing shares a slice.
    """
    wanted = "--query-gpu=memory.total,mig.mode.current"
    try:
        done = subprocess.run(
            ["nvidia-smi", wanted, "--format=csv,noheader,nounits"],
            capture_output=True, text=True, timeout=_SMI_TIMEOUT_S, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return smallest_of(done.stdout)


def smallest_of(table: str) -> int | None:
    """Return the smallest memory in lines of MiB and MIG mode, in bytes; None without any."""
    rows = [line.partition(",") for line in table.splitlines()]
    known = [
        0 if mode.strip() == "Enabled" else int(mib) * 2**20
        for mib, _, mode in rows
        if mib.strip().isdigit()
    ]
    return min(known, default=None)


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _scratch() -> str:
    """Return the folder of Ray's own files on this node, or that of temporary files."""
    try:
        from ray._private import worker  # noqa: PLC0415  (the driver asks itself without Ray)

        return str(worker._global_node.get_session_dir_path())  # type: ignore[attr-defined]
    except (ImportError, AttributeError):
        return tempfile.gettempdir()


def _storage_fault(storage: str, question: Question) -> str | None:
    """Read what the driver wrote and write what it reads; say what does not work."""
    try:
        seen = within(_SEEN_WITHIN_S, lambda: read_probe(storage, DRIVER_FILE))
        if seen is None:
            return "what the driver wrote there is not seen"
        if seen != question["secret"]:
            return "it holds something else than the driver wrote there"
        write_probe(storage, question["name"], question["secret"])
    except Exception as error:  # whatever a file system or pyarrow says is the node's answer
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return None


def _free(storage: str | None) -> int | None:
    return None if storage is None or _is_uri(storage) else shutil.disk_usage(storage).free


def _dataset(path: str | None, digest: str | None) -> str | None:
    """Compare the digest that a dataset folder's manifest states; its arrays are not read."""
    if path is None:
        return None
    try:
        found = json.loads(Path(path, "manifest.json").read_text())["digest"]
    except (OSError, ValueError, LookupError, TypeError):
        return "absent"
    return "same" if found == digest else "other"


def within(seconds: float, ask: Callable[[], str | None]) -> str | None:
    """Ask until there is an answer other than None, or time is over."""
    deadline = time.monotonic() + seconds
    while (answer := ask()) is None and time.monotonic() < deadline:
        time.sleep(0.1)
    return answer


def read_probe(storage: str, name: str) -> str | None:
    """Return the text of a file in a folder or below a URI; None where it is not there."""
    try:
        if _is_uri(storage):
            return str(_opened(storage).get(name).decode())
        return Path(storage, name).read_text()
    except FileNotFoundError:
        return None


def write_probe(storage: str, name: str, text: str) -> None:
    """Write a file into a folder, which has to be there, or below a URI."""
    if _is_uri(storage):
        _opened(storage).put(name, text.encode())
    else:
        Path(storage, name).write_text(text)


def begin_probe(storage: str) -> tuple[str, str]:
    """Make a place for probes within a storage; return it, and the secret that is in it."""
    secret = secrets.token_hex(16)
    name = f"{_PROBE}{secrets.token_hex(8)}"
    if _is_uri(storage):
        path, mark, options = storage.partition("?")
        place = f"{path.rstrip('/')}/{name}{mark}{options}"
    else:
        place = str(Path(storage, name))
        Path(place).mkdir(parents=True)
    write_probe(place, DRIVER_FILE, secret)
    return place, secret


def end_probe(place: str) -> None:
    """Remove a place for probes."""
    if not _is_uri(place):
        shutil.rmtree(place, ignore_errors=True)
        return
    path, mark, options = place.partition("?")
    folder, _, name = path.rpartition("/")
    _opened(folder + mark + options).delete_folder(name)


def end_stale_probes(storage: str) -> None:
    """Remove what a search left that was killed while it asked; its successor alone may do so."""
    if _is_uri(storage):
        objects = _opened(storage)
        for name in objects.folders():
            if name.startswith(_PROBE):
                objects.delete_folder(name)
    else:
        for place in Path(storage).glob(f"{_PROBE}*"):
            shutil.rmtree(place, ignore_errors=True)


def _is_uri(storage: str) -> bool:
    return "://" in storage


def _opened(storage: str) -> Any:  # noqa: ANN401  (its type is not known where dexsearch is not)
    """Return the objects under a URI, as checkpoints are written there."""
    from dexsearch.training.object_storage import SHORT, open_storage  # noqa: PLC0415

    return open_storage(storage, SHORT)

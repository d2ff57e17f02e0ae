"""What `doctor` finds of this machine: versions, device, Ray, disk, environment."""

import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dexsearch.errors import EnvironmentFault
from dexsearch.jobs.checkup import Check, Findings

PYTHON_FLOOR = (3, 11)
FLOORS = {
    "torch": ("2.10", "loads weights only; earlier ones can be made to run code"),
    "ray": ("2.56", "knows tokens; earlier clusters take orders from everybody"),
    "mlflow": ("3.17.2", "refuses pickles; earlier ones run code of models"),
}
"""Library -> the lowest version that is safe, and why (SECURITY.md)."""
EXTRAS = {
    "onnx": ("onnx", "onnxruntime", "onnxscript"),
    "postgresql": ("psycopg2-binary",),
    "auth": ("Flask-WTF",),
    "fast": ("numba",),
}
"""Extra of dexsearch -> what it brings; psycopg2 may also have been built from source."""
SAFE_SETTINGS = {
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "a crafted model could run code when it is loaded",
    "MLFLOW_ALLOW_MODEL_CODE_EXECUTION": "a crafted MLmodel could run code when it is loaded",
}
LITTLE_BYTES, TOO_LITTLE_BYTES = 5e9, 5e8
"""A search of 64 px keeps some tens of MB per trial, one of 512 px a hundred times more."""

_find = Findings("this machine")


def machine_checks(
    workspace: Path, environment: Mapping[str, str], *, address: str | None = None
) -> Iterator[Check]:
    """Check what the work stands on; imports torch, and Ray as it is for a cluster's address."""
    yield _python()
    for library, (floor, why) in FLOORS.items():
        yield _version(library, floor, why)
    yield _extras()
    yield from _device()
    yield _ray(address)
    yield from _disk(workspace)
    yield from environment_checks(environment)


def _python() -> Check:
    found = platform.python_version()
    if tuple(map(int, platform.python_version_tuple()[:2])) < PYTHON_FLOOR:
        return _find.problem("Python", found, "use Python 3.11 or later")
    return _find.ok("Python", found)


def _version(library: str, floor: str, why: str) -> Check:
    try:
        found = version(library)
    except PackageNotFoundError:
        return _find.problem(
            library, "not installed", f"pip install '{library}>={floor}' in this environment"
        )
    if numbers(found) < numbers(floor):
        return _find.problem(
            library, f"{found}, below {floor}, which {why}", f"pip install '{library}>={floor}'"
        )
    return _find.ok(library, f"{found} (at least {floor})")


def numbers(text: str) -> tuple[int, ...]:
    """Return the release numbers of a version, as in `2.13.0+cpu`, for comparison."""
    release = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(map(int, release[0].split("."))) if release else ()


def _extras() -> Check:
    present = [name for name, libraries in EXTRAS.items() if all(map(_is_installed, libraries))]
    absent = [name for name in EXTRAS if name not in present]
    told = f"{', '.join(present) or 'none'} installed"
    if absent:
        told += f"; {', '.join(absent)} not, where wanted: pip install 'dexsearch[{absent[0]}]'"
    return _find.ok("extras", told)


def _is_installed(library: str) -> bool:
    for name in (library, library.removesuffix("-binary")):
        try:
            version(name)
        except PackageNotFoundError:
            continue
        return True
    return False


def _device() -> Iterator[Check]:
    import torch

    from dexsearch.search.machine import this_machine
    from dexsearch.training.device import training_device
    from dexsearch.training.precision import fastest_precision

    device = training_device()
    arithmetic = str(fastest_precision(device).dtype).removeprefix("torch.")
    machine = this_machine()
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        name = torch.cuda.get_device_name(device)
        yield _find.ok(
            "device",
            f"{torch.cuda.device_count()} GPU, {name}, {free / 2**30:.0f} of "
            f"{total / 2**30:.0f} GiB free, trains in {arithmetic}",
        )
    elif machine["gpus"]:
        yield _find.warning(
            "device",
            f"torch {torch.__version__} sees no GPU, nvidia-smi sees {machine['gpus'][0]}",
            "install a torch built for this driver; check CUDA_VISIBLE_DEVICES",
        )
    else:
        told = f"CPU, {machine['processor']}, {machine['cpus']} cores, trains in {arithmetic}"
        yield _find.ok("device", told)


def _ray(address: str | None) -> Check:
    from dexsearch.search.ray_check import importable_ray

    try:
        return _find.ok("Ray", f"{importable_ray(address)} can be imported")
    except EnvironmentFault as error:
        return _find.problem("Ray", str(error), error.hint or "install it again")


def _disk(workspace: Path) -> Iterator[Check]:
    folders = {"disk": workspace.absolute(), "temporary files": Path(tempfile.gettempdir())}
    for name, folder in folders.items():
        there = next(path for path in (folder, *folder.parents) if path.is_dir())
        free = shutil.disk_usage(there).free
        told = f"{free / 1e9:.1f} GB free in {there}"
        if not os.access(there, os.W_OK):
            yield _find.problem(name, f"{there} cannot be written", "correct its permissions")
        elif free < TOO_LITTLE_BYTES:
            yield _find.problem(name, told, "free some: dexsearch gc --keep 3 --dry-run")
        elif free < LITTLE_BYTES:
            yield _find.warning(name, told, "free some: dexsearch gc --keep 3 --dry-run")
        else:
            yield _find.ok(name, told)


def environment_checks(environment: Mapping[str, str]) -> Iterator[Check]:
    """Check the variables that change what MLflow, Ray and torch do."""
    checks = [
        _find.problem(
            name, f"{environment[name]!r}: {danger}", f"unset {name}, or set it to false"
        )
        for name, danger in SAFE_SETTINGS.items()
        if environment.get(name, "false").strip().lower() not in ("false", "0")
    ]
    if environment.get("MLFLOW_TRACKING_URI") and not environment.get("DEXSEARCH_TRACKING_URI"):
        checks.append(
            _find.warning(
                "MLFLOW_TRACKING_URI",
                "dexsearch does not read it",
                "set DEXSEARCH_TRACKING_URI, or give --tracking-uri",
            )
        )
    mode = environment.get("RAY_AUTH_MODE", "")
    if mode.strip() and mode.lower() != "token":
        checks.append(
            _find.warning(
                "RAY_AUTH_MODE",
                f"{mode!r}: a cluster would take orders from everybody who reaches this machine",
                "unset RAY_AUTH_MODE; dexsearch then makes a token for each local cluster",
            )
        )
    for name, most in (
        ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", 5),
        ("MLFLOW_HTTP_REQUEST_TIMEOUT", 60),
    ):
        value = environment.get(name, "0")
        if value.isdecimal() and int(value) > most:
            checks.append(
                _find.warning(name, f"{value}: a dead server is waited for long", f"unset {name}")
            )
    yield from checks or [_find.ok("environment", "no variable that makes MLflow or Ray unsafe")]

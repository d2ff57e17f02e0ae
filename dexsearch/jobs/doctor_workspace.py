"""What `doctor` finds in a workspace: ledgers, studies, packages, aliases, leftovers."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from dexsearch.durable import is_orphan
from dexsearch.errors import DataError, DexSearchError
from dexsearch.inference.package import MANIFEST, open_package
from dexsearch.jobs.checkup import Check, Findings
from dexsearch.jobs.garbage import is_plain, package_garbage
from dexsearch.ledger.log import lock_of, read_events
from dexsearch.ledger.study import LEDGER_NAME, StudyRecord, study_from_events
from dexsearch.location import above, below, is_elsewhere
from dexsearch.locking import is_locked
from dexsearch.registry.record import LOG_NAME, Registration, Registry, read_registry
from dexsearch.registry.store import PACKAGES
from dexsearch.search.lease import is_held
from dexsearch.training.checkpoint_store import checkpoint_store
from dexsearch.wording import workspace_flag

STUDY_DATABASE = "study.db"
Count = Callable[[int, int], None]
_find = Findings("workspace")


def workspace_checks(workspace: Path, *, with_hashes: bool, progress: Count) -> Iterator[Check]:
    """Check what the workspace holds; reads only.

    Args:
        workspace: may be missing, which is no fault before the first search.
        with_hashes: read every byte of every package; otherwise only look whether it is there.
        progress: is given (done, total) packages.
    """
    if not workspace.is_dir():
        yield _find.ok("workspace", f"{workspace} is not there yet; the first search makes it")
        return
    for ledger in sorted(workspace.glob(f"studies/*/{LEDGER_NAME}")):
        yield from _study(ledger.parent)
    try:
        registry = read_registry(workspace)
    except DexSearchError as error:
        yield _find.problem("registry", str(error), error.hint or "put it back from a copy")
        return
    yield _torn(workspace / LOG_NAME, "registry") or _find.ok(
        "registry", f"{len(registry.versions)} versions, {len(registry.aliases)} aliases"
    )
    yield from _packages(registry, with_hashes=with_hashes, progress=progress)
    yield from _aliases(registry)
    yield from _leftovers(workspace, registry)


def _study(folder: Path) -> Iterator[Check]:
    name, ledger = f"study {folder.name}", folder / LEDGER_NAME
    is_live = is_locked(lock_of(ledger)) or is_held(folder)
    try:
        events = read_events(ledger)
        record = study_from_events(events, folder) if events else None
    except (DexSearchError, OSError) as error:
        hint = error.hint if isinstance(error, DexSearchError) else None
        yield _find.problem(name, str(error), hint or "correct its permissions")
        return
    if record is None:
        yield _find.ok(name, "begins just now" if is_live else "nothing was begun")
        return
    torn = None if is_live else _torn(ledger, name)
    unfinished = len(record.in_state("running"))
    told = f"{len(record.trials)} trials"
    if is_live:
        told += ", a search works on it"
    elif unfinished:
        told += f", {unfinished} unfinished; the same dexsearch tune continues them"
    yield torn or _find.ok(name, told)
    if not is_live:
        yield from _study_database(record)
        yield from _checkpoints(record)


def _torn(log: Path, name: str) -> Check | None:
    """Return a warning if the last line of a log is not whole."""
    if not log.is_file() or is_locked(lock_of(log)):
        return None
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 1))
        is_whole = file.read(1) in (b"\n", b"")
    if is_whole:
        return None
    return _find.warning(
        name,
        "its last event was torn by a crash and does not count",
        "nothing to do: the next command that writes cuts it off",
    )


def _study_database(record: StudyRecord) -> Iterator[Check]:
    """Check that the copy for Optuna's dashboard can be read and is not behind."""
    path = record.folder / STUDY_DATABASE
    name = f"study.db of {record.folder.name}"
    fix = "run the same dexsearch tune again, which rebuilds it from the ledger"
    if not path.is_file():
        yield _find.warning(name, "is missing", fix)
        return
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            (count,) = database.execute("SELECT count(*) FROM trials").fetchone()
    except sqlite3.Error as error:
        yield _find.warning(name, f"cannot be read: {error}", fix)
        return
    if count < len(record.trials):
        behind = len(record.trials) - count
        yield _find.warning(name, f"lacks {behind} of {len(record.trials)} trials", fix)


def _checkpoints(record: StudyRecord) -> Iterator[Check]:
    """Check that an unfinished trial can go on from where it was."""
    name = f"study {record.folder.name}"
    named = [t.checkpoint for t in record.trials if t.checkpoint and is_elsewhere(t.checkpoint)]
    storage = above(named[-1], 3) if named else str(record.folder)
    for trial in record.in_state("running"):
        place = below(storage, "trials", str(trial.number))
        try:
            is_there = trial.last_epoch == 0 or bool(checkpoint_store(place).epochs())
        except (OSError, ValueError) as error:
            told = f"the checkpoints of trial {trial.number} cannot be looked at: {error}"
            yield _find.warning(name, told, "continue it once the storage answers")
            return
        if not is_there:
            yield _find.warning(
                name,
                f"trial {trial.number} has no checkpoint in {storage} and begins again at epoch 1",
                "give the --storage that it was begun with, or put that folder back",
            )


def _packages(registry: Registry, *, with_hashes: bool, progress: Count) -> Iterator[Check]:
    checks = []
    for done, version in enumerate(registry.versions, start=1):
        fault = _fault(registry, version, with_hashes=with_hashes)
        if fault is not None:
            name = f"{version.name}/{version.version}"
            checks.append(_find.problem(name, fault, _repair(registry, version)))
        progress(done, len(registry.versions))
    yield from checks
    if registry.versions and not checks:
        what = "every hash agrees" if with_hashes else "present; --quick read no hashes"
        yield _find.ok("packages", f"{len(registry.versions)} registered generators, {what}")


def _fault(registry: Registry, version: Registration, *, with_hashes: bool) -> str | None:
    """Return what is wrong with the files of a version."""
    package = registry.path_of(version)
    if not (package / MANIFEST).is_file():
        return f"its package {package} is missing"
    if not with_hashes:
        return None
    try:
        open_package(package, sha256=version.sha256)
    except (DataError, OSError) as error:
        return str(error)
    return None


def _repair(registry: Registry, version: Registration) -> str:
    """Say how the package comes back: from its checkpoint, else from a copy."""
    study = registry.workspace / "studies" / version.study
    if (study / "trials" / str(version.trial)).is_dir():
        return f"run the dexsearch tune of study {version.study} again, which packs it anew"
    return (
        f"put {registry.path_of(version)} back from a copy; its checkpoint is gone, so otherwise "
        f"only dexsearch reproduce trains it again"
    )


def _aliases(registry: Registry) -> Iterator[Check]:
    known = {(version.name, version.version) for version in registry.versions}
    for (name, alias), number in sorted(registry.aliases.items()):
        if (name, number) not in known:
            yield _find.problem(
                f"{name}@{alias}",
                f"points to version {number}, which is not registered",
                "put registry.jsonl back from a copy, or: dexsearch promote another version",
            )


def _leftovers(workspace: Path, registry: Registry) -> Iterator[Check]:
    """Name what crashes left; `gc` clears it up."""
    fix = f"dexsearch gc --keep 3 --dry-run{workspace_flag(workspace)}"
    found = list(package_garbage(workspace, registry))
    orphans = [item.path.name for item in found if item.kind == "package"]
    if orphans:
        told = f"{len(orphans)} that no registration names: {', '.join(orphans[:3])}"
        yield _find.warning("orphan packages", told, fix)
    partial = [item.path.name for item in found if item.kind == "unfinished"]
    partial += [path.name for path in workspace.glob("studies/*/trials/*/*") if is_orphan(path)]
    if partial:
        told = f"{len(partial)} of processes that died: {', '.join(partial[:3])}"
        yield _find.warning("unfinished folders", told, fix)
    packages = workspace / PACKAGES
    if registry.versions == () and is_plain(packages) and any(packages.glob("*/manifest.json")):
        yield _find.problem(
            "registry",
            f"{LOG_NAME} names no generator, but {packages} holds some",
            f"put {workspace / LOG_NAME} back from a copy, or run dexsearch tune again",
        )
    if not os.access(workspace, os.W_OK):
        yield _find.problem("workspace", f"{workspace} cannot be written", "correct permissions")

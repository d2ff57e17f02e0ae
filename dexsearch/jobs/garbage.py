"""What in a workspace is garbage: nothing that anybody will read again, and why.

    checkpoint   of an ended trial: beyond the best, of a pruned or failed one, or one before the
                 last. Those that registering still needs are none
    mark         who wrote the checkpoints of an ended trial that keeps none
    scratch      Ray's own files of a search that was killed; dexsearch never reads them
    unfinished   what a process of this machine was writing, or deleting, when it died
    package      a generator that no registration names
    artifacts    files of a run that MLflow does not know, with a package that is none any more

Only what dexsearch makes is looked for, by its exact place and name. A path with a symlink in it
is never garbage. Finding changes nothing.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from dexsearch.config.trial import Task
from dexsearch.durable import file_sha256, is_orphan
from dexsearch.errors import DataError
from dexsearch.inference.package import MANIFEST, open_package
from dexsearch.ledger.study import StudyRecord, TrialRecord
from dexsearch.registry.generator_files import FOLDER
from dexsearch.registry.record import Registry
from dexsearch.registry.store import PACKAGES
from dexsearch.registry.tracking import ARTIFACTS
from dexsearch.training.checkpoint_store import WRITER

DEFAULT_REGISTER = 3
"""What a space registers whose ledger does not say."""

_WHY = {
    "complete": "of complete trials not among the best",
    "pruned": "of pruned trials",
    "failed": "of failed trials",
}


@dataclass(frozen=True, slots=True)
class Garbage:
    """A file or folder that nobody will read again."""

    kind: str
    place: str
    """Where it is, for people: a study or a folder of the workspace."""
    path: Path
    why: str
    """Whose it is, to be read after the kind."""


@dataclass(frozen=True, slots=True)
class StudyKeeper:
    """Says which checkpoints of a study somebody may still read."""

    study: StudyRecord
    registry: Registry
    keep: int
    """How many of the best complete trials of each head keep theirs, needed or not."""
    has_checkpoint: Callable[[str], bool]
    """Whether a checkpoint can be used."""

    def kept(self) -> set[int]:
        """Return the numbers of the trials whose last checkpoint stays."""
        by_head: dict[str, list[int]] = {}
        for trial in self.study.ranking():
            by_head.setdefault(_registered_as(trial, self.study), []).append(trial.number)
        best = {number for numbers in by_head.values() for number in numbers[: self.keep]}
        return best | self._needed(by_head.values())

    def _needed(self, heads: Iterable[list[int]]) -> set[int]:
        """Return trials that registering reads: a version's own, and those of the next versions.

        The next ones are counted as registering counts them, passing over what cannot be used.
        """
        ranking = self.study.ranking()
        trials = {trial.number: trial for trial in ranking}
        whole = {trial.number: self._is_packed(trial) for trial in ranking}
        needed = {number for number, is_whole in whole.items() if is_whole is False}
        wanted = int(self.study.space.get("register", DEFAULT_REGISTER))
        groups = [(list(trials), wanted), *((head, 1) for head in heads if wanted > 0)]
        for numbers, count in groups:
            usable = (n for n in numbers if whole[n] or self._is_usable(trials[n]))
            needed |= {number for number in islice(usable, count) if not whole[number]}
        return needed

    def _is_packed(self, trial: TrialRecord) -> bool | None:
        """Return whether the package of a trial's version is whole; None if it has no version."""
        versions = [v for v in self.registry.versions if v.is_of(self.study, trial)]
        if not versions:
            return None
        return all(self._opens(self.registry.path_of(v), v.sha256) for v in versions)

    @staticmethod
    def _opens(package: Path, sha256: str) -> bool:
        try:
            open_package(package, sha256=sha256)
        except (DataError, OSError):
            return False
        return True

    def _is_usable(self, trial: TrialRecord) -> bool:
        location = self.study.checkpoint_location(trial)
        return location is not None and self.has_checkpoint(location)


def study_garbage(keeper: StudyKeeper) -> Iterator[Garbage]:
    """Find what a study that nobody works on does not need; unfinished trials keep everything."""
    study = keeper.study
    folder, place = study.folder, f"study {study.folder.name}"
    if is_plain(folder, "tune"):
        yield Garbage("scratch", place, folder / "tune", "of a search that was killed")
    yield from _orphans(folder, place)
    ended = [trial for trial in study.trials if trial.state != "running"]
    kept = keeper.kept()
    for trial in ended:
        mine = folder / "trials" / str(trial.number)
        if not is_plain(folder, "trials", mine.name):
            continue
        yield from _orphans(mine, place)
        last = study.checkpoint_location(trial) if trial.number in kept else None
        if last is not None and not Path(last).is_dir():
            continue  # the ledger and the disk disagree, which is for a person to look at
        for checkpoint in sorted(path for path in mine.iterdir() if path.name.isdecimal()):
            if is_plain(mine, checkpoint.name) and str(checkpoint) != last:
                why = _WHY[trial.state] if last is None else "before the last of a kept trial"
                yield Garbage("checkpoint", place, checkpoint, why)
        mark = mine / WRITER
        if last is None and mark.is_file() and not mark.is_symlink():
            yield Garbage("mark", place, mark, "of ended trials")


def package_garbage(workspace: Path, registry: Registry) -> Iterator[Garbage]:
    """Find packages that no registration names; none where there is no registration at all."""
    folder, place = workspace / PACKAGES, PACKAGES.as_posix()
    if not is_plain(workspace, *PACKAGES.parts):
        return
    yield from _orphans(folder, place)
    named = {registry.path_of(version).name for version in registry.versions}
    for package in sorted(folder.iterdir()) if named else ():
        is_package = re.fullmatch(r"[0-9a-f]{16}", package.name) and is_plain(folder, package.name)
        if is_package and package.name not in named:
            yield Garbage("package", place, package, "that no registration names")


def artifact_garbage(workspace: Path, registry: Registry, runs: set[str]) -> Iterator[Garbage]:
    """Find the artifacts of runs that MLflow has lost, as after `mlflow.db` was deleted.

    Another MLflow may keep its artifacts here too. So it is certain only where a folder holds a
    package and nothing else, and that package is no registered version's.

    Args:
        workspace: the workspace.
        registry: what is registered.
        runs: ids of every run in the workspace's own `mlflow.db`.
    """
    folder = workspace / ARTIFACTS
    if not is_plain(workspace, ARTIFACTS):
        return
    yield from _orphans(folder, ARTIFACTS)
    registered = {version.sha256 for version in registry.versions}
    for run in sorted(folder.iterdir()):
        if not re.fullmatch(r"[0-9a-f]{32}", run.name) or run.name in runs:
            continue
        manifest = run / "artifacts" / FOLDER / MANIFEST
        holds_more = _names(run) != ["artifacts"] or _names(run / "artifacts") != [FOLDER]
        if holds_more or not manifest.is_file() or file_sha256(manifest) in registered:
            continue
        yield Garbage("artifacts", ARTIFACTS, run, "that no run and no version shows")


def is_plain(folder: Path, *parts: str) -> bool:
    """Return whether `folder/part/..` are folders, and none of the parts is a symlink."""
    for part in parts:
        folder = folder / part
        if folder.is_symlink():
            return False
    return folder.is_dir()


def freed_bytes(garbage: Iterable[Garbage]) -> dict[Path, int]:
    """Return what deleting each gives back; a file with a name elsewhere gives nothing.

    A file all of whose names are garbage counts once, where its last name is.
    """
    seen: dict[tuple[int, int], int] = {}
    freed: dict[Path, int] = {}
    for item in garbage:
        freed[item.path] = 0
        for file in _files(item.path):
            status = file.lstat()
            key = (status.st_dev, status.st_ino)
            seen[key] = seen.get(key, 0) + 1
            if seen[key] == status.st_nlink:
                freed[item.path] += status.st_size
    return freed


def _registered_as(trial: TrialRecord, study: StudyRecord) -> str:
    """Return under which task a trial would be registered; a head not known here is its own."""
    head = str(trial.config.get("task", study.task))
    return Task(head).registered_as.value if head in set(Task) else head


def _orphans(folder: Path, place: str) -> Iterator[Garbage]:
    for path in sorted(folder.iterdir()):
        if is_orphan(path) and not path.is_symlink():
            yield Garbage("unfinished", place, path, "of processes that died")


def _names(folder: Path) -> list[str]:
    return (
        sorted(path.name for path in folder.iterdir())
        if is_plain(folder.parent, folder.name)
        else []
    )


def _files(path: Path) -> Iterator[Path]:
    if path.is_file() or path.is_symlink():
        yield path
        return
    for parent, _, names in os.walk(path):
        yield from (Path(parent, name) for name in names)

"""Register the best generators of a study: its ledger, its dataset and the checkpoints joined."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from dexsearch.config.trial import Task
from dexsearch.errors import DataError
from dexsearch.inference.package import Package, open_package
from dexsearch.jobs.packer import Packer, Unusable, final_checkpoint
from dexsearch.jobs.waiting import Waiting, champion_of, waiting_for_promotion
from dexsearch.ledger.study import StudyRecord, TrialRecord
from dexsearch.registry.packing import while_packing
from dexsearch.registry.record import Registration, Registry, read_registry
from dexsearch.registry.standing import version_label
from dexsearch.registry.store import register
from dexsearch.wording import workspace_flag

if TYPE_CHECKING:
    from dexsearch.data.store import Dataset

Tell = Callable[[str], None]


@while_packing
def register_study(
    workspace: Path, study: StudyRecord, dataset: "Dataset", *, n: int, tell: Tell
) -> tuple[Registration, ...]:
    """Register the `n` best complete trials; what is registered already stays as it is.

    Where the head is searched, the best of each registered name is among them, or is added. A
    trial whose checkpoint cannot be used is told of and passed over for the next best.

    Args:
        workspace: where `registry.jsonl` and the packages are.
        study: what its ledger says; the objective at the final epoch decides.
        dataset: the one that the study was searched on.
        n: how many versions the study should have; fewer if fewer trials are complete, more if
            heads are searched that are not among them.
        tell: is given one line for each trial that was passed over, and for each version that
            scores above its champion.

    Returns:
        The versions, best first.

    Raises:
        DataError: if `dataset` is not the study's.
        EnvironmentFault: if the disk is full; what is packed by then is whole, nothing is
            registered, and the same call continues.
    """
    if dataset.manifest.digest != study.dataset_digest:
        raise DataError(
            f"dataset {str(dataset.path)!r} has digest {dataset.manifest.digest[:12]}, but study "
            f"{study.name!r} was searched on {study.dataset_digest[:12]}",
            hint="put that dataset back, or search again under a new --study name",
        )
    registry = read_registry(workspace)
    packer = Packer(workspace, study, dataset)
    packages: list[Package] = []
    missing = _searched_names(study) if n > 0 else set()
    for trial in study.ranking():
        name = _name(trial)
        if len(packages) >= n and name not in missing:
            continue
        try:
            packages.append(_package(registry, packer, trial))
            missing.discard(name)
        except Unusable as problem:
            tell(f"trial {trial.number} is not registered: {problem}")
    versions = register(workspace, packages) if packages else ()
    for waiting in _waiting(workspace, versions):
        tell(str(waiting))
    return versions


def promotions(workspace: Path, versions: Iterable[Registration]) -> tuple[str, ...]:
    """Return the command for each version that scores above its champion, as far as one waits.

    Args:
        workspace: where the registry is.
        versions: whose names are looked at.
    """
    return tuple(
        f"dexsearch promote {version_label(waiting.version)}{workspace_flag(workspace)}"
        for waiting in _waiting(workspace, versions)
    )


def _waiting(workspace: Path, versions: Iterable[Registration]) -> tuple[Waiting, ...]:
    """Return what waits for `promote` in the groups that versions belong to."""
    registry = read_registry(workspace)
    mine = {(version.name, version.group) for version in versions}
    found = []
    for group in registry.groups():
        champion = champion_of(registry, group)
        if champion is not None and (champion.name, champion.group) in mine:
            waiting = waiting_for_promotion(registry, group, champion)
            if waiting is not None and waiting.may_be_promoted:
                found.append(waiting)
    return tuple(found)


def _searched_names(study: StudyRecord) -> set[str]:
    """Return the names under which complete trials register, where the head is searched."""
    if "task" not in study.space.get("search", {}):
        return set()
    return {_name(trial) for trial in study.ranking()}


def _name(trial: TrialRecord) -> str:
    """Return the task under which a trial's generator competes."""
    return Task(trial.config["task"]).registered_as.value


def _package(registry: Registry, packer: Packer, trial: TrialRecord) -> Package:
    """Return the intact package of a trial; write it where there is none.

    What is registered and intact needs no checkpoint any more, so `trials/` may be deleted.
    """
    known = [version for version in registry.versions if version.is_of(packer.study, trial)]
    for version in known:
        try:
            return open_package(registry.path_of(version), sha256=version.sha256)
        except DataError:
            pass  # it is written again below
    checkpoint = final_checkpoint(packer.study, trial)
    return packer.write(trial, checkpoint, known[0] if known else None)

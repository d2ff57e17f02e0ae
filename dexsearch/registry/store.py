"""Register generator packages, and fetch registered ones with their hashes checked."""

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from dexsearch.errors import StudyBusy
from dexsearch.inference.package import WEIGHTS, Package, open_package
from dexsearch.inference.package_copies import copy_package
from dexsearch.ledger.log import EventLog
from dexsearch.ledger.study import StudyRecord
from dexsearch.registry.challenger import find_challenger
from dexsearch.registry.record import (
    CHALLENGER,
    CHAMPION,
    LOG_NAME,
    Registration,
    Registry,
    read_registry,
    registry_from_events,
)

PACKAGES = Path("mlartifacts", "generators")
PATIENCE_S = 30.0


def registered_name(task: str) -> str:
    """Return the name under which generators of a task are registered."""
    return f"dexsearch-{task}"


def package_folder(workspace: Path, content_hash: str) -> Path:
    """Return where the package of a generator lies."""
    return workspace / PACKAGES / content_hash


def register(workspace: Path, packages: Sequence[Package]) -> tuple[Registration, ...]:
    """Register packages that lie in the workspace, best first; doing it again changes nothing.

    The best of each name becomes its champion, unless the name has one; the best newcomer that
    scores above the champion on validation becomes its challenger.

    Raises:
        StudyBusy: if another process writes the registry for longer than half a minute.
        EnvironmentFault: if the disk is full; what is written by then stays true, and the same
            call completes it.
    """
    done: list[Registration] = []
    with open_log(workspace) as log:
        registry = registry_from_events(log.events_at_opening, workspace)
        for package in packages:
            known = find_registered(
                registry,
                study=package.card.study,
                trial=package.card.trial,
                weights_sha256=package.files[WEIGHTS],
            )
            if known is None or known.sha256 != package.sha256:
                known = _append(log, registry, package, known)
                registry = _with(registry, known)
            if (known.name, CHAMPION) not in registry.aliases:
                move = {"name": known.name, "alias": CHAMPION, "version": known.version}
                log.append({"event": "alias", **move, "reason": "the name had no champion"})
                registry.aliases[known.name, CHAMPION] = known.version
            done.append(known)
        for name in dict.fromkeys(version.name for version in done):
            _challenge(log, registry, name, [v.version for v in done if v.name == name])
    return tuple(done)


def _challenge(log: EventLog, registry: Registry, name: str, newcomers: list[int]) -> None:
    """Point `challenger` to the best newcomer of a name, if it scores above the champion."""
    challenger = find_challenger(registry, name, newcomers)
    if challenger is not None:
        log.append(
            {
                "event": "alias",
                "name": name,
                "alias": CHALLENGER,
                "version": challenger.version,
                "previous": registry.aliases.get((name, CHALLENGER)),
                "reason": "it scores above the champion on validation subjects",
            }
        )


def keep_audit(workspace: Path, study: StudyRecord, audit: dict[str, Any], text: str) -> None:
    """Write what a search has learned about its pruning, unless it is known already.

    Args:
        workspace: where the registry's log is.
        study: what its ledger says.
        audit: numbers, as JSON has them.
        text: the same for people.

    Raises:
        StudyBusy: if another process writes the registry for longer than half a minute.
    """
    event = {
        "study": study.name,
        "begun": study.begun,
        "dataset": study.dataset_digest,
        "metric": study.metric,
        "n_ended": len(study.trials) - len(study.in_state("running")),
        "audit": audit,
        "text": text,
    }
    with open_log(workspace) as log:
        known = registry_from_events(log.events_at_opening, workspace).audits
        mine = [a for a in known if (a.study, a.begun) == (study.name, study.begun)]
        if not mine or {**asdict(mine[-1]), **event} != asdict(mine[-1]):
            log.append({"event": "audit", **event})


def open_registered(workspace: Path, wanted: str) -> Package:
    """Open the package behind `name@alias`, `name/version` or `name`, every hash checked.

    Raises:
        NotRegistered: if the registry holds no such version.
        DataError: if its files are not those that were registered.
    """
    registry = read_registry(workspace)
    version = registry.find(wanted)
    return open_package(registry.path_of(version), sha256=version.sha256)


def download(registry: Registry, version: Registration, target: Path) -> Package:
    """Copy a version's package to a new or empty folder; nothing is left there on failure.

    Raises:
        ConfigurationError: if `target` holds something else.
        DataError: if the files are not those that were registered.
    """
    return copy_package(registry.path_of(version), target, sha256=version.sha256)


def find_registered(
    registry: Registry, *, study: str, trial: int, weights_sha256: str
) -> Registration | None:
    """Return the version that these weights of this trial already are, if they are one."""
    wanted = (study, trial, weights_sha256)
    for version in registry.versions:
        if (version.study, version.trial, version.weights_sha256) == wanted:
            return version
    return None


def _append(
    log: EventLog, registry: Registry, package: Package, before: Registration | None
) -> Registration:
    """Write one registration, as a new version or as that of `before`, and return it."""
    card = package.card
    name = registered_name(card.task)
    versions = [v.version for v in registry.versions if v.name == name]
    version = Registration(
        name=name,
        version=before.version if before else max(versions, default=0) + 1,
        task=card.task,
        study=card.study,
        trial=card.trial,
        dataset=card.dataset,
        metric=card.metric,
        val_ssim=float(card.scores["val_ssim"] or 0.0),
        val_ssim_bone=card.scores.get("val_ssim_bone"),
        val_ssim_tissue=card.scores.get("val_ssim_tissue"),
        baselines=card.baselines,
        params=card.params,
        epochs=card.epochs,
        n_parameters=card.n_parameters,
        package=(PACKAGES / package.path.name).as_posix(),
        weights_sha256=package.files[WEIGHTS],
        sha256=package.sha256,
        time=time.time(),
        head=card.head,
        scores=card.scores,
        intervals=card.intervals,
        n_subjects=card.n_subjects,
        size_bytes=package.weights.stat().st_size,
        latency=card.latency,
        seed=card.trial_config.get("seed"),
        git_commit=card.git_commit,
    )
    event = {key: value for key, value in asdict(version).items() if key != "time"}
    stamped = log.append({"event": "registered", **event})
    return Registration(**{**event, "time": stamped["time"]})


def _with(registry: Registry, version: Registration) -> Registry:
    others = [
        v for v in registry.versions if (v.name, v.version) != (version.name, version.version)
    ]
    return replace(registry, versions=(*others, version))


def open_log(workspace: Path) -> EventLog:
    """Open the registry's log, waiting half a minute for another process that writes it.

    Whoever holds it is alone: what `events_at_opening` says stays true until it is closed.

    Raises:
        StudyBusy: if another process writes the registry for longer than that.
    """
    give_up = time.monotonic() + PATIENCE_S
    while True:
        try:
            return EventLog(workspace / LOG_NAME)
        except StudyBusy:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.1)

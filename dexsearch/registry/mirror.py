"""Bring MLflow up to the ledgers: while a search runs, after it, after an outage.

Training never waits for MLflow. A search has its runs projected by a process of its own
(`flusher`); everything else is projected when a search has ended, or by `dexsearch sync`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dexsearch.ledger.studies import read_studies
from dexsearch.ledger.study import StudyRecord, read_study
from dexsearch.registry.model_mirror import sync_models
from dexsearch.registry.record import Registry, read_registry
from dexsearch.registry.run_mirror import sync_runs, trial_key
from dexsearch.registry.tracking import open_tracking


def _in_silence(text: str) -> None:
    """Tell nobody."""


def _no_beat() -> None:
    """Count nothing."""


@dataclass(frozen=True, slots=True)
class Synced:
    """What MLflow shows now."""

    studies: int
    trials: int
    versions: int


def sync_workspace(
    workspace: Path,
    tell: Callable[[str], None] = _in_silence,
    uri: str | None = None,
    *,
    beat: Callable[[], None] = _no_beat,
) -> Synced:
    """Bring every run, version and alias up to the ledgers; rebuilds a deleted `mlflow.db`.

    The ledgers are read while MLflow is locked, so that of two searches that end together the
    second one writes what both have recorded. The first call of MLflow that fails ends it.

    Args:
        workspace: where the ledgers and `mlflow.db` are.
        tell: is given one line for each study whose ledger cannot be read, which is passed over,
            and for each thing that somebody changed in MLflow by hand.
        uri: address of another store than the workspace's own.
        beat: is called after each run, so that a waiting person sees it going on.

    Raises:
        ConfigurationError: if `uri` is no address of MLflow.
        DataError: if the registry is damaged.
        EnvironmentFault: if MLflow cannot be written; the ledgers still hold everything.
    """
    with open_tracking(workspace, uri, tell) as store:
        studies = sorted(read_studies(workspace, tell), key=lambda study: study.begun)
        registry = read_registry(workspace)
        run_ids: dict[tuple[str, int], str] = {}
        for study in studies:
            runs = sync_runs(store, study, registry, beat=beat)
            run_ids |= _runs_of_versions(registry, study, runs)
        sync_models(store, registry, run_ids)
    n_trials = sum(len(study.trials) for study in studies)
    return Synced(len(studies), n_trials, len(registry.versions))


def sync_study(folder: Path, workspace: Path, uri: str | None = None) -> None:
    """Bring the runs of one study up to its ledger, while a search writes that.

    Args:
        folder: of the study; nothing happens before it has a trial.
        workspace: its workspace.
        uri: address of another store than the workspace's own.

    Raises:
        EnvironmentFault: if MLflow cannot be written.
        DataError: if the ledger is damaged.
    """
    with open_tracking(workspace, uri) as store:
        sync_runs(store, read_study(folder))


def _runs_of_versions(
    registry: Registry, study: StudyRecord, runs: dict[str, str]
) -> dict[tuple[str, int], str]:
    """Return (name, version) -> run id for the generators of a study."""
    return {
        (version.name, version.version): runs[trial_key(study.name, trial.number)]
        for version in registry.versions
        if version.study == study.name
        for trial in study.trials
        if version.is_of(study, trial)
    }

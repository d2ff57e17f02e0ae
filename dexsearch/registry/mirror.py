"""Bring MLflow up to the ledgers: after each search, after an outage, after a deleted database.

Only the driver does this, when trials have been recorded; training never waits for MLflow.
"""

from pathlib import Path

from dexsearch.ledger.log import read_events
from dexsearch.ledger.study import LEDGER_NAME, StudyRecord, list_studies, read_study
from dexsearch.registry.model_mirror import sync_models
from dexsearch.registry.record import read_registry
from dexsearch.registry.run_mirror import sync_runs
from dexsearch.registry.tracking import open_tracking


def sync_study(workspace: Path, study: StudyRecord) -> None:
    """Bring the runs of one study up to its ledger; doing it again changes nothing.

    Raises:
        EnvironmentFault: if MLflow cannot be written; the ledgers still hold everything.
    """
    with open_tracking(workspace) as store:
        sync_runs(store, study)


def sync_workspace(workspace: Path) -> None:
    """Bring every run, version and alias up to the ledgers; rebuilds a deleted `mlflow.db`.

    Raises:
        DataError: if a ledger is damaged.
        EnvironmentFault: if MLflow cannot be written; the ledgers still hold everything.
    """
    studies = [
        read_study(workspace / "studies" / name)
        for name in list_studies(workspace)
        if read_events(workspace / "studies" / name / LEDGER_NAME)  # one that begins has none
    ]
    registry = read_registry(workspace)
    with open_tracking(workspace) as store:
        run_ids: dict[str, str] = {}
        for study in sorted(studies, key=_beginning):
            run_ids |= sync_runs(store, study)
        sync_models(store, registry, run_ids)


def _beginning(study: StudyRecord) -> float:
    return min((trial.started for trial in study.trials), default=0.0)

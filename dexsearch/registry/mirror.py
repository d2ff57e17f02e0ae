"""Bring MLflow up to the ledgers: after each search, after an outage, after a deleted database.

Only the driver does this, when trials have been recorded; training never waits for MLflow.
"""

from collections.abc import Callable
from pathlib import Path

from dexsearch.ledger.study import read_studies
from dexsearch.registry.model_mirror import sync_models
from dexsearch.registry.record import read_registry
from dexsearch.registry.run_mirror import sync_runs, trial_key
from dexsearch.registry.tracking import open_tracking


def _in_silence(text: str) -> None:
    """Tell nobody."""


def sync_workspace(workspace: Path, tell: Callable[[str], None] = _in_silence) -> None:
    """Bring every run, version and alias up to the ledgers; rebuilds a deleted `mlflow.db`.

    The ledgers are read while MLflow is locked, so that of two searches that end together the
    second one writes what both have recorded.

    Args:
        workspace: where the ledgers and `mlflow.db` are.
        tell: is given one line for each study whose ledger cannot be read; it is passed over.

    Raises:
        DataError: if the registry is damaged.
        EnvironmentFault: if MLflow cannot be written; the ledgers still hold everything.
    """
    with open_tracking(workspace) as store:
        studies = read_studies(workspace, tell)
        registry = read_registry(workspace)
        run_ids: dict[tuple[str, int], str] = {}
        for study in sorted(studies, key=lambda study: study.begun):
            runs = sync_runs(store, study, registry.audits)
            for version in registry.versions:
                for trial in study.trials:
                    if version.is_of(study, trial):
                        run_ids[version.name, version.version] = runs[
                            trial_key(study.name, trial.number)
                        ]
        sync_models(store, registry, run_ids)

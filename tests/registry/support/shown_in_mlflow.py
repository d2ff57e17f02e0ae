"""Everything that a person sees in an MLflow store, without names that are drawn at random."""

import json
from pathlib import Path
from typing import Any

from dexsearch.registry.address import check_uri

OF_THE_STORE = ("mlflow.parentRunId", "dexsearch.workspace", "mlflow.user", "mlflow.source.name")
"""Tags that may differ between two stores that show the same ledgers."""


def client_of(uri: str) -> Any:  # noqa: ANN401
    from mlflow import MlflowClient

    address = check_uri(uri)
    return MlflowClient(tracking_uri=address, registry_uri=address)


def runs_of(uri: str) -> list[Any]:
    found = client_of(uri)
    experiment = found.get_experiment_by_name("dexsearch")
    return list(found.search_runs([experiment.experiment_id]))


def shown(uri: str) -> dict[str, Any]:
    """Return runs, registered models, versions and aliases; text with run ids by their names."""
    runs = runs_of(uri)
    names = {run.info.run_id: run.info.run_name for run in runs}
    assert len(set(names.values())) == len(names), "a run is there twice"
    return json.loads(
        _named(json.dumps({"runs": _runs(uri, runs, names), "models": _models(uri)}), names)
    )


def _runs(uri: str, runs: list[Any], names: dict[str, str]) -> dict[str, Any]:
    client = client_of(uri)
    return {
        run.info.run_name: {
            "status": run.info.status,
            "times": [run.info.start_time, run.info.end_time],
            "params": dict(sorted(run.data.params.items())),
            "tags": {k: v for k, v in sorted(run.data.tags.items()) if k not in OF_THE_STORE},
            "parent": names.get(run.data.tags.get("mlflow.parentRunId", "")),
            "curves": {
                key: sorted(
                    (m.step, m.value, m.timestamp)
                    for m in client.get_metric_history(run.info.run_id, key)
                )
                for key in sorted(run.data.metrics)
            },
            "last": dict(sorted(run.data.metrics.items())),
            "data": [item.dataset.digest for item in run.inputs.dataset_inputs],
            "files": sorted(_files(client, run.info.run_id, "generator")),
        }
        for run in sorted(runs, key=lambda run: run.info.run_name)
    }


def _files(client: Any, run_id: str, folder: str) -> list[str]:  # noqa: ANN401
    found = []
    for item in client.list_artifacts(run_id, folder):
        found += _files(client, run_id, item.path) if item.is_dir else [Path(item.path).name]
    return found


def _models(uri: str) -> dict[str, Any]:
    client = client_of(uri)
    return {
        model.name: {
            "aliases": {
                alias: int(number)
                for alias, number in sorted(
                    client.get_registered_model(model.name).aliases.items()
                )
            },
            "text": model.description,
            "tags": dict(sorted(model.tags.items())),
            "versions": {
                int(v.version): [v.run_id, v.description, dict(sorted(v.tags.items())), v.status]
                for v in sorted(
                    client.search_model_versions(f"name = '{model.name}'"),
                    key=lambda v: int(v.version),
                )
            },
        }
        for model in client.search_registered_models()
    }


def _named(text: str, names: dict[str, str]) -> str:
    for identifier, name in names.items():
        text = text.replace(identifier, f"<{name}>")
    return text

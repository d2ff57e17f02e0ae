"""Project a study's ledger on MLflow: one run for the study, one child run per trial.

Runs are found by their tags, and everything sent has a time that follows from the ledger, so
sending it again changes nothing. A study that was deleted and begun anew under its name gets
runs of its own; those of the old one stay as they were. Runs that somebody deleted in MLflow are
restored; those that a slow server made twice, because its first answer was lost, become one.

    ledger      MLflow
    complete    FINISHED
    pruned      KILLED, tag dexsearch.state=PRUNED
    failed      FAILED, tag dexsearch.reason
    running     RUNNING
"""

import json
from collections.abc import Callable
from typing import Any

from dexsearch.ledger.study import State, StudyRecord, TrialRecord
from dexsearch.registry.audit_mirror import send_audits
from dexsearch.registry.points import best_epoch, best_so_far, epoch_points, milliseconds
from dexsearch.registry.record import Registry
from dexsearch.registry.run_store import find_runs, flat, send, set_status, storable, unique_runs
from dexsearch.registry.tracking import TrackingStore

STATUS: dict[State, str] = {
    "complete": "FINISHED",
    "pruned": "KILLED",
    "failed": "FAILED",
    "running": "RUNNING",
}
BEGUN = "dexsearch.study_begun"
TRIAL_KEY, PARENT = "dexsearch.trial_key", "mlflow.parentRunId"
KIND, STUDY, WORKSPACE = "dexsearch.kind", "dexsearch.study", "dexsearch.workspace"
LONGEST_DIGEST = 36


def trial_key(study: str, trial: int) -> str:
    """Return the tag by which a trial's run is found."""
    return f"{study}/{trial}"


def sync_runs(
    store: TrackingStore,
    study: StudyRecord,
    registry: Registry | None = None,
    *,
    beat: Callable[[], None] = lambda: None,
) -> dict[str, str]:
    """Bring the runs of a study up to its ledger; return trial key -> run id.

    Args:
        store: MLflow.
        study: what its ledger says.
        registry: tells the study's audits and replicates; None leaves those as they are.
        beat: is called after each trial.
    """
    known = find_runs(store, f"tags.`{BEGUN}` = '{_begun(study)}'", with_deleted=True)
    mine = [run for run in known if run.data.tags.get(STUDY) == study.name]
    parents = [run for run in mine if run.data.tags.get(KIND) == "study"]
    parent = _sync_parent(store, study, unique_runs(store, parents, lambda _: study.name))
    beat()
    if registry is not None:
        send_audits(store, parent, _audits(registry, study))
    parent_id = str(parent.info.run_id)
    earlier = find_runs(store, f"tags.`{PARENT}` = '{parent_id}'", with_deleted=True)
    children = {run.info.run_id: run for run in (*mine, *earlier) if TRIAL_KEY in run.data.tags}
    runs = unique_runs(store, list(children.values()), lambda run: run.data.tags[TRIAL_KEY])
    told = {} if registry is None else _replicates(registry, study)
    ids = {}
    for trial in study.trials:
        key = trial_key(study.name, trial.number)
        tags = {PARENT: parent_id, **_trial_tags(study, trial), **told.get(trial.number, {})}
        ids[key] = _sync_trial(store, study, trial, tags, runs.get(key))
        beat()
    _set_parent_status(store, study, parent)
    return ids


def _sync_parent(store: TrackingStore, study: StudyRecord, known: dict[str, Any]) -> Any:  # noqa: ANN401
    ranking = study.ranking()
    tags = {
        KIND: "study",
        STUDY: study.name,
        WORKSPACE: str(store.workspace.absolute()),
        "dexsearch.task": study.task,
        "dexsearch.space": json.dumps(study.space, sort_keys=True),
        "dexsearch.trials": ", ".join(f"{len(study.in_state(s))} {s}" for s in STATUS),
        "dexsearch.best_trial": str(ranking[0].number) if ranking else "none",
        **_identity_tags(study),
    }
    run = known.get(study.name)
    if run is None:
        _end_those_begun_before(store, study)
        run = store.client.create_run(
            store.experiment_id,
            start_time=milliseconds(study.begun),
            tags={key: tags[key] for key in (KIND, STUDY, WORKSPACE, BEGUN)},
            run_name=study.name,
        )
    params = {"task": study.task, "objective": study.objective}
    send(store, run, tags=tags, params=params, points=best_so_far(study))
    _describe_dataset(store, run, study)
    return run


def _set_parent_status(store: TrackingStore, study: StudyRecord, parent: Any) -> None:  # noqa: ANN401
    ends = [trial.ended for trial in study.trials if trial.ended]
    unfinished = not ends or study.in_state("running")
    set_status(store, parent, "RUNNING" if unfinished else "FINISHED", max(ends, default=None))


def _end_those_begun_before(store: TrackingStore, study: StudyRecord) -> None:
    """End the run of a study of this workspace that was deleted and begun anew under its name.

    On a shared store the studies of another workspace may have the same name.
    """
    for other in find_runs(store, f"tags.`{KIND}` = 'study'"):
        tags = other.data.tags
        ours = store.database is not None or tags.get(WORKSPACE) == str(store.workspace.absolute())
        if ours and tags.get(STUDY) == study.name and other.info.status == "RUNNING":
            set_status(store, other, "KILLED", None)


def _audits(registry: Registry, study: StudyRecord) -> list[Any]:
    return [a for a in registry.audits if (a.study, a.begun) == (study.name, study.begun)]


def _replicates(registry: Registry, study: StudyRecord) -> dict[int, dict[str, str]]:
    """Return what training again with other seeds has shown, as tags by trial."""
    return {
        one.trial: {
            "dexsearch.replicates": f"{one.mean:.4f}"
            + ("" if one.low is None or one.high is None else f" [{one.low:.4f}, {one.high:.4f}]")
            + f" over {len(one.seeds)} seeds"
        }
        for one in registry.replicated
        if (one.study, one.begun) == (study.name, study.begun)
    }


def _sync_trial(
    store: TrackingStore,
    study: StudyRecord,
    trial: TrialRecord,
    tags: dict[str, str],
    run: Any,  # noqa: ANN401
) -> str:
    """Bring one trial's run up to the ledger and return its id."""
    if run is None:
        run = store.client.create_run(
            store.experiment_id,
            start_time=milliseconds(trial.started),
            tags={key: storable(value) for key, value in tags.items()},
            run_name=f"{study.name}-{trial.number:04d}",
        )
    params = {**flat(trial.config), **{k: str(v) for k, v in trial.params.items()}}
    send(store, run, tags=tags, params=params, points=epoch_points(trial))
    _describe_dataset(store, run, study)
    set_status(store, run, STATUS[trial.state], trial.ended)
    return str(run.info.run_id)


def _trial_tags(study: StudyRecord, trial: TrialRecord) -> dict[str, str]:
    optional = {
        "dexsearch.would_prune_at": trial.would_prune_at,
        "dexsearch.reason": trial.reason,
        "dexsearch.failure": trial.kind,
        "dexsearch.best_epoch": best_epoch(trial, study.objective),
    }
    return {
        TRIAL_KEY: trial_key(study.name, trial.number),
        STUDY: study.name,
        "dexsearch.trial": str(trial.number),
        "dexsearch.state": trial.state.upper(),
        "dexsearch.immune": str(trial.immune).lower(),
        "dexsearch.enqueued": str(trial.enqueued).lower(),
        **{key: str(value) for key, value in optional.items() if value is not None},
        **_identity_tags(study),
    }


def _identity_tags(study: StudyRecord) -> dict[str, str]:
    return {
        BEGUN: _begun(study),
        "dexsearch.dataset_digest": study.dataset_digest,
        "dexsearch.metric_definition": str(study.metric),
        "dexsearch.objective": study.objective,
    }


def _begun(study: StudyRecord) -> str:
    return f"{study.begun:.3f}"


def _describe_dataset(store: TrackingStore, run: Any, study: StudyRecord) -> None:  # noqa: ANN401
    """Attach the dataset as an input, unless it is."""
    from mlflow.entities import Dataset, DatasetInput, InputTag  # noqa: PLC0415

    if run.inputs is not None and run.inputs.dataset_inputs:
        return
    source = json.dumps({"uri": study.dataset})
    name = study.dataset.rstrip("/").rsplit("/", maxsplit=1)[-1] or "dataset"
    dataset = Dataset(name, study.dataset_digest[:LONGEST_DIGEST], "local", source)
    context = InputTag("mlflow.data.context", "training and validation")
    store.client.log_inputs(run.info.run_id, datasets=[DatasetInput(dataset, [context])])

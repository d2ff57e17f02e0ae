"""Project a study's ledger on MLflow: one run for the study, one child run per trial.

Runs are found by their tags, and everything sent has a time that follows from the ledger, so
sending it again changes nothing. A study that was deleted and begun anew under its name gets
runs of its own; those of the old one stay as they were.

    ledger      MLflow
    complete    FINISHED
    pruned      KILLED, tag dexsearch.state=PRUNED
    failed      FAILED, tag dexsearch.reason
    running     RUNNING
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from dexsearch.ledger.study import State, StudyRecord, TrialRecord
from dexsearch.registry.audit_mirror import send_audits
from dexsearch.registry.points import Point, best_epoch, best_so_far, epoch_points, milliseconds
from dexsearch.registry.record import StudyAudit
from dexsearch.registry.tracking import TrackingStore

STATUS: dict[State, str] = {
    "complete": "FINISHED",
    "pruned": "KILLED",
    "failed": "FAILED",
    "running": "RUNNING",
}
BEGUN = "dexsearch.study_begun"
TRIAL_KEY, PARENT, LOGGED = "dexsearch.trial_key", "mlflow.parentRunId", "dexsearch.points_logged"
LARGEST_BATCH = 800
LONGEST_TAG = 5000
LONGEST_DIGEST = 36


def trial_key(study: str, trial: int) -> str:
    """Return the tag by which a trial's run is found."""
    return f"{study}/{trial}"


def sync_runs(
    store: TrackingStore, study: StudyRecord, audits: Sequence[StudyAudit] = ()
) -> dict[str, str]:
    """Bring the runs of a study up to its ledger; return trial key -> run id.

    Args:
        store: MLflow.
        study: what its ledger says.
        audits: of any studies, in the order in which they were written.
    """
    mine = [a for a in audits if (a.study, a.begun) == (study.name, study.begun)]
    parent = _sync_parent(store, study, mine)
    children = {
        run.data.tags.get(TRIAL_KEY): run
        for run in _search(store, f"tags.`{PARENT}` = '{parent.info.run_id}'")
    }
    ids = {}
    for trial in study.trials:
        key = trial_key(study.name, trial.number)
        ids[key] = _sync_trial(store, study, trial, parent.info.run_id, children.get(key))
    return ids


def _sync_parent(store: TrackingStore, study: StudyRecord, audits: list[StudyAudit]) -> Any:  # noqa: ANN401
    begun = _begun(study)
    known = _search(store, "tags.`dexsearch.kind` = 'study'")
    named = [run for run in known if run.data.tags.get("dexsearch.study") == study.name]
    for other in named:
        if other.data.tags.get(BEGUN) != begun and other.info.status == "RUNNING":
            _end(store, other, "KILLED", None)
    found = [run for run in named if run.data.tags.get(BEGUN) == begun]
    run = found[0] if found else store.client.create_run(
        store.experiment_id,
        start_time=milliseconds(study.begun),
        tags={"dexsearch.kind": "study", "dexsearch.study": study.name, BEGUN: begun},
        run_name=study.name,
    )  # fmt: skip
    ranking = study.ranking()
    tags = {
        "dexsearch.task": study.task,
        "dexsearch.space": json.dumps(study.space, sort_keys=True),
        "dexsearch.trials": ", ".join(f"{len(study.in_state(s))} {s}" for s in STATUS),
        "dexsearch.best_trial": str(ranking[0].number) if ranking else "none",
        **_identity_tags(study),
    }
    params = {"task": study.task, "objective": study.objective}
    _send(store, run, tags=tags, params=params, points=best_so_far(study))
    send_audits(store, run, audits)
    _describe_dataset(store, run, study)
    ends = [trial.ended for trial in study.trials if trial.ended]
    unfinished = not ends or study.in_state("running")
    _end(store, run, "RUNNING" if unfinished else "FINISHED", max(ends, default=None))
    return run


def _sync_trial(
    store: TrackingStore,
    study: StudyRecord,
    trial: TrialRecord,
    parent_id: str,
    run: Any,  # noqa: ANN401
) -> str:
    """Bring one trial's run up to the ledger and return its id."""
    if run is None:
        run = store.client.create_run(
            store.experiment_id,
            start_time=milliseconds(trial.started),
            tags={TRIAL_KEY: trial_key(study.name, trial.number), PARENT: parent_id},
            run_name=f"{study.name}-{trial.number:04d}",
        )
    tags = {**_trial_tags(study, trial), **_identity_tags(study)}
    params = {**_flat(trial.config), **{k: str(v) for k, v in trial.params.items()}}
    _send(store, run, tags=tags, params=params, points=epoch_points(trial))
    _describe_dataset(store, run, study)
    _end(store, run, STATUS[trial.state], trial.ended)
    return str(run.info.run_id)


def _trial_tags(study: StudyRecord, trial: TrialRecord) -> dict[str, str]:
    optional = {
        "dexsearch.would_prune_at": trial.would_prune_at,
        "dexsearch.reason": trial.reason,
        "dexsearch.failure": trial.kind,
        "dexsearch.best_epoch": best_epoch(trial, study.objective),
    }
    return {
        "dexsearch.study": study.name,
        "dexsearch.trial": str(trial.number),
        "dexsearch.state": trial.state.upper(),
        "dexsearch.immune": str(trial.immune).lower(),
        "dexsearch.enqueued": str(trial.enqueued).lower(),
        **{key: str(value) for key, value in optional.items() if value is not None},
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


def _send(
    store: TrackingStore,
    run: Any,  # noqa: ANN401
    *,
    tags: Mapping[str, str],
    params: Mapping[str, str],
    points: list[Point],
) -> None:
    """Send what a run lacks. The count of points goes last, so that a crash only repeats some."""
    from mlflow.entities import Metric, Param, RunTag  # noqa: PLC0415

    logged = int(run.data.tags.get(LOGGED, 0))
    news = [Metric(p.key, p.value, p.timestamp_ms, p.step) for p in points[logged:]]
    cut = {key: value[:LONGEST_TAG] for key, value in {**tags, LOGGED: str(len(points))}.items()}
    changed = [RunTag(k, v) for k, v in cut.items() if run.data.tags.get(k) != v]
    missing = [Param(k, v) for k, v in params.items() if k not in run.data.params]
    while len(news) > LARGEST_BATCH:
        store.client.log_batch(run.info.run_id, metrics=news[:LARGEST_BATCH], synchronous=True)
        news = news[LARGEST_BATCH:]
    if news or changed or missing:
        store.client.log_batch(
            run.info.run_id, metrics=news, params=missing, tags=changed, synchronous=True
        )


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


def _end(store: TrackingStore, run: Any, status: str, ended: float | None) -> None:  # noqa: ANN401
    if run.info.status == status:
        return
    if status == "RUNNING":
        store.client.update_run(run.info.run_id, status=status)
    else:
        end_time = None if ended is None else milliseconds(ended)
        store.client.set_terminated(run.info.run_id, status=status, end_time=end_time)


def _search(store: TrackingStore, filter_string: str) -> list[Any]:
    runs: list[Any] = []
    token = None
    while True:
        page = store.client.search_runs(
            [store.experiment_id], filter_string, max_results=1000, page_token=token
        )
        runs += page
        token = page.token
        if not token:
            return runs


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested values by dotted key."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = str(value)
    return flat

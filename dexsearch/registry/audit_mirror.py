"""Project what a search learned about its pruning on its study's MLflow run.

Numbers become metrics `audit.*`, one point per audit with the count of ended trials as its step;
the newest text becomes the tag `dexsearch.audit`. Sending it again changes nothing.
"""

from collections.abc import Sequence
from typing import Any

from dexsearch.registry.record import StudyAudit
from dexsearch.registry.tracking import TrackingStore

TEXT, SENT = "dexsearch.audit", "dexsearch.audits_logged"


def send_audits(store: TrackingStore, run: Any, audits: Sequence[StudyAudit]) -> None:  # noqa: ANN401
    """Send the audits of a study that its run lacks.

    Args:
        store: MLflow.
        run: the study's run.
        audits: every audit of the study, the oldest first.
    """
    from mlflow.entities import Metric, RunTag  # noqa: PLC0415

    sent = int(run.data.tags.get(SENT, 0))
    if len(audits) <= sent:
        return
    points = [
        Metric(f"audit.{name}", value, round(audit.time * 1000), audit.n_ended)
        for audit in audits[sent:]
        for name, value in numbers(audit.audit).items()
    ]
    tags = [RunTag(TEXT, audits[-1].text), RunTag(SENT, str(len(audits)))]
    store.client.log_batch(run.info.run_id, metrics=points, tags=tags, synchronous=True)


def numbers(audit: dict[str, Any]) -> dict[str, float]:
    """Return the numbers of an audit by name; those of a correlation carry its epoch."""
    found = {
        name: float(value)
        for name, value in audit.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    for correlation in audit.get("correlations", ()):
        name = f"correlation_epoch_{correlation['epoch']}"
        found[name] = float(correlation["value"])
        found |= {
            f"{name}_{key}": float(correlation[key])
            for key in ("n", "low", "high")
            if correlation[key] is not None
        }
    return found

"""The numbers of an audit as the tables of a report."""

from typing import Any

from dexsearch.report.contents import Table
from dexsearch.search.audit import Audit
from dexsearch.search.audit_result import MOST_GOOD_STOPPED

_AUDIT_WORDS = {
    "n_complete": "complete trials",
    "n_pruned": "pruned trials",
    "epochs_all": "epochs without pruning",
    "n_immune": "complete immune trials",
    "n_would_be_pruned": "of these, would have been pruned",
    "n_false_prunes": "of these, in the best tenth (false prunes)",
    "n_good": "complete immune trials in the best tenth",
    "trial_hours_saved": "trial-hours saved (wall time of trials, not of devices)",
    "epochs_paid": "epochs that the audit cost",
    "trial_hours_paid": "trial-hours that the audit cost",
    "correlated_over": "trials of the rank correlation",
    "enough": "enough immune trials to judge",
    "false_prune_rate": "false prunes per immune trial",
    "false_prune_rate_low": "lower end of its 95 % interval",
    "false_prune_rate_high": "upper end of its 95 % interval",
    "good_stopped_rate": "false prunes per immune trial in the best tenth",
    "good_stopped_rate_low": "lower end of its 95 % interval",
    "good_stopped_rate_high": "upper end of its 95 % interval",
    "keeps_good": f"surely under {MOST_GOOD_STOPPED:.0%}",
}
"""Plain words for the keys of an audit; a key that is not here stands as it is."""


def audit_tables(found: Audit) -> tuple[Table, Table]:
    """Return the numbers of an audit, and its correlations."""
    values = found.as_json()
    correlations = values.pop("correlations", [])
    numbers = tuple(
        (_AUDIT_WORDS.get(k, k.replace("_", " ")), told_value(v)) for k, v in values.items()
    )
    rows = tuple(
        (f"epoch {one['epoch']}", str(one["n"]), told_value(one["value"]), _interval(one))
        for one in correlations
    )
    return (
        Table(("quantity", "value"), numbers),
        Table(("score at", "trials", "rank correlation with the final score", "95 %"), rows),
    )


def _interval(found: dict[str, Any]) -> str:
    if found["low"] is None:
        return "too few trials"
    return f"{told_value(found['low'])} to {told_value(found['high'])}"


def told_value(value: Any) -> str:  # noqa: ANN401  (any JSON value)
    """Return a value in a few characters."""
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)

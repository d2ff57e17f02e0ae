"""What the plots of a report are drawn from: curves, budget, importances and slices."""

from collections.abc import Sequence

from dexsearch.figures.parameter_plots import Bar, SlicePoint
from dexsearch.figures.study_plots import BudgetPoint, TrialCurve
from dexsearch.ledger.log import Event
from dexsearch.ledger.study import StudyRecord, TrialRecord
from dexsearch.report.contents import ImportanceChart, Slice
from dexsearch.search.importance import Importances, early_importances, final_importances


def curves(record: StudyRecord) -> tuple[TrialCurve, ...]:
    """Return the finite scores of every trial by epoch."""
    found = []
    for trial in record.trials:
        scores = {epoch: score_at(record, trial, epoch) for epoch in sorted(trial.epochs)}
        known = {epoch: score for epoch, score in scores.items() if score is not None}
        found.append(
            TrialCurve(
                trial.number, trial.state, tuple(known), tuple(known.values()),
                trial.would_prune_at,
            )
        )  # fmt: skip
    return tuple(found)


def budget(record: StudyRecord, events: Sequence[Event]) -> tuple[BudgetPoint, ...]:
    """Return the final score of each complete trial and the epochs spent until it ended."""
    ranked = {trial.number: trial for trial in record.ranking()}
    seen: set[tuple[int, int]] = set()
    points: dict[int, BudgetPoint] = {}
    for event in events:
        if event["event"] == "epoch":
            seen.add((event["trial"], event["record"]["epoch"]))
        elif event["event"] == "trial_ended" and event["trial"] in ranked:
            trial = ranked[event["trial"]]
            score = trial.value_at(trial.last_epoch, record.objective)
            points.setdefault(trial.number, BudgetPoint(len(seen), score))
    return tuple(points.values())


def importance_charts(record: StudyRecord) -> tuple[ImportanceChart, ...]:
    """Return what mattered for the final score, and for the early one."""
    return (
        _chart("Of the final score", "complete trials", final_importances(record)),
        _chart("Of the early score", "trials, stopped or not", early_importances(record)),
    )


def _chart(heading: str, whom: str, found: Importances) -> ImportanceChart:
    counted = f" (epoch {found.epoch}, {found.n_trials} {whom})" if found.n_trials else ""
    return ImportanceChart(
        heading + counted,
        tuple(Bar(one.name, one.share, one.chance) for one in found.parameters),
        f"{found.missing[0].upper()}{found.missing[1:]}." if found.missing else None,
    )


def slices(record: StudyRecord, best: TrialRecord | None) -> tuple[Slice, ...]:
    """Return the newest scores against each searched parameter."""
    names = dict.fromkeys(key for trial in record.trials for key in trial.params)
    found = []
    for name in names:
        points = tuple(
            SlicePoint(trial.params[name], score, trial.last_epoch, trial.state, trial is best)
            for trial in record.trials
            if name in trial.params
            and (score := score_at(record, trial, trial.last_epoch)) is not None
        )
        if points:
            log = bool(record.space.get("search", {}).get(name, {}).get("log", False))
            found.append(Slice(name, log, points))
    return tuple(found)


def score_at(record: StudyRecord, trial: TrialRecord, epoch: int) -> float | None:
    """Return the objective at an epoch if it is a finite number."""
    value = trial.epochs.get(epoch, {}).get(record.objective)
    if value is None or value != value or abs(value) == float("inf"):
        return None
    return float(value)

"""A study's ledger, its audit and its gallery -> the typed contents of a report."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from dexsearch.jobs.report_pictures import Baselines, Gallery
from dexsearch.jobs.report_provenance import provenance
from dexsearch.jobs.report_quality import quality_tables
from dexsearch.jobs.report_verdict import judge
from dexsearch.ledger.log import Event
from dexsearch.ledger.study import StudyRecord, TrialRecord
from dexsearch.report.contents import (
    Fact,
    ImportanceChart,
    ReportContents,
    ScoreRow,
    Slice,
    Table,
    TrialRow,
)

if TYPE_CHECKING:
    from dexsearch.figures.study_plots import BudgetPoint, TrialCurve
    from dexsearch.search.audit import Audit
    from dexsearch.search.importance import Importances

_LONGEST_REMARK = 400
_TARGETS = ("bone", "tissue")
_AUDIT_WORDS = {
    "n_complete": "complete trials",
    "n_pruned": "pruned trials",
    "epochs_all": "epochs without pruning",
    "n_immune": "complete immune trials",
    "n_would_be_pruned": "of these, would have been pruned",
    "n_false_prunes": "of these, in the best tenth (false prunes)",
    "epochs_paid": "epochs that the audit cost",
    "trial_hours_paid": "trial-hours that the audit cost",
    "correlated_over": "trials of the rank correlation",
    "enough": "enough immune trials to judge",
    "false_prune_rate": "false prunes per immune trial",
    "false_prune_rate_low": "lower end of its 95 % interval",
    "false_prune_rate_high": "upper end of its 95 % interval",
}
"""Plain words for the keys of an audit; a key that is not here stands as it is."""
LIMITS = (
    "Every score is of validation subjects, and the search chose among trials by these very "
    "scores: the best of many reads a little high. The hold-out was not opened.",
    "A trial was trained once, with one seed: a difference smaller than the spread between seeds "
    "says nothing.",
    "Trials that were stopped have no final score. Importances of final scores are about those "
    "that survived.",
    "SSIM is about structure. It is no measure of whether a tumour can be found.",
    "Research software, not a medical device: nothing here is fit for diagnosis or treatment.",
)


def gather(
    record: StudyRecord,
    events: Sequence[Event],
    gallery: Gallery,
    *,
    workspace: Path,
    made: str,
) -> ReportContents:
    """Join everything that is known about a study.

    Args:
        record: the study.
        events: the ledger that it was read from, in order.
        gallery: what of it is on this machine.
        workspace: the folder whose name paths are given relative to.
        made: date and time of the report.
    """
    from dexsearch.search.audit import audit
    from dexsearch.search.importance import early_importances, final_importances

    found = audit(record)
    ranking = record.ranking()
    best = ranking[0] if ranking else None
    version = gallery.registrations.get(best.number) if best else None
    label = f"{version.name}/{version.version}" if version else None
    audit_table, correlations = _audit_tables(found)
    return ReportContents(
        study=record.name, task=record.task, made=made, counts=_counts(record),
        verdict=judge(record, found, gallery.baselines, label=label),
        score_name=score_name(record), scores=_scores(record, gallery.baselines),
        quality=quality_tables(best.last_record if best else {}),
        curves=_curves(record), best=best.number if best else None,
        budget=_budget(record, events), epochs_spent=sum(len(t.epochs) for t in record.trials),
        importances=(
            _chart("Of the final score", "complete trials", final_importances(record)),
            _chart("Of the early score", "trials, stopped or not,", early_importances(record)),
        ),
        slices=_slices(record, best), audit=str(found), audit_table=audit_table,
        correlations=correlations, pictures=gallery.pictures,
        trials=tuple(_trial_row(trial, record, best) for trial in record.trials),
        limits=LIMITS, provenance=provenance(record, gallery, version, workspace),
    )  # fmt: skip


def score_name(record: StudyRecord) -> str:
    """Return what the objective is called on axes."""
    target = record.objective.removeprefix("val_ssim").lstrip("_")
    return f"masked SSIM, {target}, validation" if target else "masked SSIM, validation"


def _counts(record: StudyRecord) -> tuple[Fact, ...]:
    seconds = sum(float(r.get("seconds") or 0.0) for t in record.trials for r in t.epochs.values())
    states = [
        (state, str(len(record.in_state(state))))
        for state in ("complete", "pruned", "failed", "running")
    ]
    return (
        ("task", record.task),
        ("trials", f"{len(record.trials)} of {record.space.get('trials', '?')}"),
        *states,
        ("epochs", str(sum(len(trial.epochs) for trial in record.trials))),
        ("training time", _duration(seconds)),
    )


def _duration(seconds: float) -> str:
    for size, unit in ((3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _scores(record: StudyRecord, baselines: Baselines) -> tuple[ScoreRow, ...]:
    """Return the two best, then the baselines."""
    rows = []
    for role, trial in zip(("best", "runner-up"), record.ranking(), strict=False):
        last = trial.last_record
        rows.append(
            ScoreRow(
                f"{role}: trial {trial.number}", last.get("val_ssim"),
                last.get("val_ssim_bone"), last.get("val_ssim_tissue"),
            )
        )  # fmt: skip
    if not rows:
        return ()
    for name, scores in baselines.items():
        bone, tissue = (scores.get(target) for target in _TARGETS)
        known = [score for score in (bone, tissue) if score is not None]
        mean = fmean(known) if known else None
        rows.append(ScoreRow(name.replace("_", " "), mean, bone, tissue, is_baseline=True))
    return tuple(rows)


def _curves(record: StudyRecord) -> "tuple[TrialCurve, ...]":
    from dexsearch.figures.study_plots import TrialCurve

    curves = []
    for trial in record.trials:
        known = {e: s for e in sorted(trial.epochs) if (s := _score(record, trial, e)) is not None}
        curves.append(
            TrialCurve(
                trial.number, trial.state, tuple(known), tuple(known.values()),
                trial.would_prune_at,
            )
        )  # fmt: skip
    return tuple(curves)


def _budget(record: StudyRecord, events: Sequence[Event]) -> "tuple[BudgetPoint, ...]":
    """Return the final score of each complete trial and the epochs spent until it ended."""
    from dexsearch.figures.study_plots import BudgetPoint

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


def _chart(heading: str, whom: str, found: "Importances") -> ImportanceChart:
    from dexsearch.figures.parameter_plots import Bar

    return ImportanceChart(
        f"{heading} (epoch {found.epoch}, {found.n_trials} {whom.rstrip(',')})",
        tuple(Bar(one.name, one.share, one.chance) for one in found.parameters),
        f"{found.missing[0].upper()}{found.missing[1:]}." if found.missing else None,
    )


def _slices(record: StudyRecord, best: TrialRecord | None) -> tuple[Slice, ...]:
    from dexsearch.figures.parameter_plots import SlicePoint

    names = dict.fromkeys(key for trial in record.trials for key in trial.params)
    slices = []
    for name in names:
        points = tuple(
            SlicePoint(trial.params[name], score, trial.last_epoch, trial.state, trial is best)
            for trial in record.trials
            if name in trial.params
            and (score := _score(record, trial, trial.last_epoch)) is not None
        )
        if points:
            log = bool(record.space.get("search", {}).get(name, {}).get("log", False))
            slices.append(Slice(name, log, points))
    return tuple(slices)


def _audit_tables(found: "Audit") -> tuple[Table, Table]:
    """Return the numbers of an audit, and its correlations."""
    values = found.as_json()
    correlations = values.pop("correlations", [])
    numbers = tuple(
        (_AUDIT_WORDS.get(k, k.replace("_", " ")), _number(v)) for k, v in values.items()
    )
    rows = tuple(
        (f"epoch {one['epoch']}", str(one["n"]), _number(one["value"]), _interval(one))
        for one in correlations
    )
    return (
        Table(("quantity", "value"), numbers),
        Table(("score at", "trials", "rank correlation with the final score", "95 %"), rows),
    )


def _interval(found: dict[str, Any]) -> str:
    if found["low"] is None:
        return "too few trials"
    return f"{_number(found['low'])} to {_number(found['high'])}"


def _number(value: Any) -> str:  # noqa: ANN401  (any JSON value)
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _trial_row(trial: TrialRecord, record: StudyRecord, best: TrialRecord | None) -> TrialRow:
    last = trial.last_record
    return TrialRow(
        number=trial.number, state=trial.state, epochs=trial.last_epoch,
        score=_score(record, trial, trial.last_epoch), bone=last.get("val_ssim_bone"),
        tissue=last.get("val_ssim_tissue"),
        params=tuple((key, _number(value)) for key, value in trial.params.items()),
        remark=_remark(trial), is_best=trial is best,
    )  # fmt: skip


def _remark(trial: TrialRecord) -> str:
    told = []
    if trial.enqueued:
        told.append("given in the space")
    if trial.immune:
        at = trial.would_prune_at
        told.append("immune" + (f", would have been stopped at epoch {at}" if at else ""))
    reason = " ".join(part for part in (trial.kind, trial.reason) if part)
    if reason:
        told.append(reason[:_LONGEST_REMARK])
    return "; ".join(told)


def _score(record: StudyRecord, trial: TrialRecord, epoch: int) -> float | None:
    """Return the objective at an epoch if it is a finite number."""
    value = trial.epochs.get(epoch, {}).get(record.objective)
    if value is None or value != value or abs(value) == float("inf"):
        return None
    return float(value)

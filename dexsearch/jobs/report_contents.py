"""A study's ledger, its audit and its gallery -> the typed contents of a report."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from dexsearch.jobs.report_audit import audit_tables, told_value
from dexsearch.jobs.report_pictures import Baselines, Gallery
from dexsearch.jobs.report_plots import budget, curves, importance_charts, score_at, slices
from dexsearch.jobs.report_provenance import provenance
from dexsearch.jobs.report_quality import quality_tables
from dexsearch.jobs.report_verdict import judge
from dexsearch.ledger.log import Event
from dexsearch.ledger.study import StudyRecord, TrialRecord
from dexsearch.report.contents import Fact, ReportContents, ScoreRow, TrialRow
from dexsearch.search.audit import audit

_LONGEST_REMARK = 400
_TARGETS = ("bone", "tissue")
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
    found = audit(record)
    ranking = record.ranking()
    best = ranking[0] if ranking else None
    version = gallery.registrations.get(best.number) if best else None
    label = f"{version.name}/{version.version}" if version else None
    audit_table, correlations = audit_tables(found)
    return ReportContents(
        study=record.name, task=record.task, made=made, counts=_counts(record),
        verdict=judge(record, found, gallery.baselines, label=label),
        score_name=score_name(record), scores=_scores(record, gallery.baselines),
        quality=quality_tables(best.last_record if best else {}),
        curves=curves(record), best=best.number if best else None,
        budget=budget(record, events), epochs_spent=sum(len(t.epochs) for t in record.trials),
        importances=importance_charts(record),
        slices=slices(record, best), audit=str(found), audit_table=audit_table,
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
        ("training time, summed over trials", _duration(seconds)),
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


def _trial_row(trial: TrialRecord, record: StudyRecord, best: TrialRecord | None) -> TrialRow:
    last = trial.last_record
    return TrialRow(
        number=trial.number, state=trial.state, epochs=trial.last_epoch,
        score=score_at(record, trial, trial.last_epoch), bone=last.get("val_ssim_bone"),
        tissue=last.get("val_ssim_tissue"),
        params=tuple((key, told_value(value)) for key, value in trial.params.items()),
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

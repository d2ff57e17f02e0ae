"""The two sentences at the top of a report: which generator won, and is the evidence enough?

Nothing here claims more than the search can know: scores are of validation subjects, on which
the search chose, and the hold-out is not opened by a report.
"""

import json
import math
from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from dexsearch.ledger.study import StudyRecord, TrialRecord
from dexsearch.report.contents import Verdict
from dexsearch.search.audit_result import MOST_GOOD_STOPPED

if TYPE_CHECKING:
    from dexsearch.search.audit import Audit

FEWEST_REPEATS = 3
"""Degrees of freedom from which on the spread between seeds is worth a comparison."""
FALSE_ALARMS = 0.05
"""How often two equally good trials may look as if one led clearly: by Student's t, since the
spread itself is an estimate from few repeats."""

Baselines = dict[str, dict[str, float]]
TARGETS = ("bone", "tissue")


@dataclass(frozen=True, slots=True)
class SeedNoise:
    """How much the final score varies between seeds of one configuration."""

    sd: float
    n_repeats: int
    """Degrees of freedom: repeated trials beyond the first of each configuration."""

    @property
    def clear_lead(self) -> float:
        """Difference that two equally good trials exceed in `FALSE_ALARMS` of all cases.

        Source: Biometrika 6(1):1-25 (1908), doi:10.2307/2331554.
        """
        from scipy.special import stdtrit

        return float(stdtrit(self.n_repeats, 1 - FALSE_ALARMS / 2)) * math.sqrt(2) * self.sd


def judge(
    record: StudyRecord, audit: "Audit", baselines: Baselines, *, label: str | None
) -> Verdict:
    """Return the verdict on a study; `label` is how the best is called in the registry."""
    ranking = record.ranking()
    if not ranking:
        return Verdict(
            f"No generator has won yet: no trial of {len(record.trials)} is complete.",
            "So there is nothing to judge; the page shows what there is.",
            is_enough=False,
        )
    winner = _winner(record, ranking[0], baselines, label)
    return Verdict(winner, *_evidence(record, ranking, audit))


def seed_noise(record: StudyRecord) -> SeedNoise | None:
    """Pool the spread of final scores over configurations trained more than once."""
    alike: dict[str, list[float]] = defaultdict(list)
    for trial in record.ranking():
        config = {key: value for key, value in trial.config.items() if key != "seed"}
        score = trial.value_at(trial.last_epoch, record.objective)
        alike[json.dumps(config, sort_keys=True)].append(score)
    groups = [scores for scores in alike.values() if len(scores) > 1]
    n_repeats = sum(len(scores) - 1 for scores in groups)
    if n_repeats < FEWEST_REPEATS:
        return None
    squares = sum((s - fmean(scores)) ** 2 for scores in groups for s in scores)
    return SeedNoise(math.sqrt(squares / n_repeats), n_repeats)


def best_baseline(baselines: Baselines, target: str) -> tuple[str, float] | None:
    """Return name and score of the baseline that is best at one target."""
    known = {name: scores[target] for name, scores in baselines.items() if target in scores}
    return max(known.items(), key=lambda item: item[1]) if known else None


def _winner(
    record: StudyRecord, best: TrialRecord, baselines: Baselines, label: str | None
) -> str:
    last = best.last_record
    scores = {t: float(last[f"val_ssim_{t}"]) for t in TARGETS if _is_known(last, t)}
    told = [
        f"{target} {score:.4f}{_against(baselines, target)}" for target, score in scores.items()
    ]
    called = f" ({label})" if label else ""
    objective = best.value_at(best.last_epoch, record.objective)
    mean = f"{_objective_name(record)} {objective:.4f}"
    beaten = [t for t in scores if (b := best_baseline(baselines, t)) and scores[t] <= b[1]]
    warning = f"; it does not beat doing nothing on {' and '.join(beaten)}" if beaten else ""
    complete = _count(len(record.ranking()), "complete trial")
    return (
        f"Trial {best.number}{called} scored best of {complete} on validation subjects: {mean} "
        f"at epoch {best.last_epoch}, with {', '.join(told) or 'no target on its own'}{warning}."
    )


def _evidence(
    record: StudyRecord, ranking: tuple[TrialRecord, ...], audit: "Audit"
) -> tuple[str, bool]:
    lead, lead_is_clear = _lead(record, ranking)
    pruning, pruning_is_judged = _pruning(audit)
    wanted = int(record.space.get("trials", len(record.trials)))
    ended = len(record.trials) - len(record.in_state("running"))
    is_finished = ended >= wanted
    told = [lead, pruning]
    if not is_finished:
        told.append(f"the search is not finished ({ended} of {wanted} trials have ended)")
    told.append(
        "the hold-out was not looked at, so nothing is claimed beyond these validation subjects"
    )
    is_enough = lead_is_clear and pruning_is_judged and is_finished
    begin = (
        "Within this search the evidence is enough to put it first"
        if is_enough
        else "The evidence is not enough to call it better than the next"
    )
    return f"{begin}: {'; '.join(told)}.", is_enough


def _lead(record: StudyRecord, ranking: tuple[TrialRecord, ...]) -> tuple[str, bool]:
    if len(ranking) < 2:
        return "no second trial is complete", False
    first, second = (t.value_at(t.last_epoch, record.objective) for t in ranking[:2])
    behind = f"the runner-up, trial {ranking[1].number}, is {first - second:.4f} behind"
    noise = seed_noise(record)
    if noise is None:
        return f"{behind}, and how much a score varies between seeds is not known here", False
    needed = noise.clear_lead
    is_clear = first - second > needed
    than = "more" if is_clear else "not more"
    return (
        f"{behind}, {than} than the {needed:.4f} that seeds alone explain (standard deviation "
        f"{noise.sd:.4f} from {noise.n_repeats} repeats)",
        is_clear,
    )


def _pruning(audit: "Audit") -> tuple[str, bool]:
    if audit.pruner == "none":
        return "nothing was pruned", True
    n_immune = audit.n_immune
    if not audit.enough:
        return (
            f"{n_immune} immune trials are too few to judge whether pruning stopped a better one",
            False,
        )
    if audit.n_good == 0:
        return f"none of {n_immune} immune trials was good, which puts pruning to no test", False
    told = (
        f"pruning would have stopped {audit.n_false_prunes} of the {audit.n_good} immune trials "
        f"in the best tenth, up to {audit.good_bounds.high:.0%} of such trials"
    )
    limit = f"{MOST_GOOD_STOPPED:.0%}"
    if audit.keeps_good:
        return f"{told}, under the limit of {limit}", True
    return f"{told}, so it may have stopped a better one (the limit is {limit})", False


def _against(baselines: Baselines, target: str) -> str:
    found = best_baseline(baselines, target)
    if found is None:
        return ""
    return f" against {found[1]:.4f} of the best baseline ({found[0].replace('_', ' ')})"


def _objective_name(record: StudyRecord) -> str:
    target = record.objective.removeprefix("val_ssim").lstrip("_")
    return f"masked SSIM of {target}" if target else "masked SSIM"


def _is_known(record: dict[str, object], target: str) -> bool:
    return record.get(f"val_ssim_{target}") is not None


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"

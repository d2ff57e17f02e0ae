"""Train the best configurations of a study again with new seeds: `tune --replicates S`.

The replicates are a study of their own, `STUDY.replicates`, and so on Ray, in a ledger and in
MLflow, and continued by the same command. Each of its trials is enqueued and none is pruned.
Seeds go round by round through the configurations, so that a search whose time is over has about
as many of each. What has begun stays as it is when more seeds are asked for or the short-list
changes; what has not begun is planned anew.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from pydantic import ValidationError

from dexsearch.config.base import first_problem
from dexsearch.config.space import Choice, IntRange, SearchSpace, extreme_values
from dexsearch.errors import ConfigurationError
from dexsearch.jobs.plan import SearchPlan
from dexsearch.jobs.replication import (
    SEED,
    Replication,
    configurations,
    replication_of,
    without_seed,
)
from dexsearch.ledger.study import LEDGER_NAME, REPLICATES, StudyRecord, TrialRecord, read_study

if TYPE_CHECKING:
    from dexsearch.search.study import StudyOutcome

Tell = Callable[[str], None]
Search = Callable[[SearchPlan], "StudyOutcome"]

FIRST_SEED, LAST_SEED = 2**31, 2**32 - 1
"""Seeds of trials lie below."""


def run_replicates(
    plan: SearchPlan, source: StudyRecord, *, search: Search, tell: Tell
) -> "tuple[StudyOutcome, Replication]":
    """Train the short-list with `plan.replicates` new seeds each, and write down what that says.

    Args:
        plan: of the study, not of its replicates.
        source: the study as it ended.
        search: runs a plan, as for any study.
        tell: is given each line that a waiting person wants to read.

    Returns:
        How the search of replicates ended, and what all replicates of the study say so far.

    Raises:
        ConfigurationError: if `STUDY.replicates` was begun as that of another search.
        StudyBusy: if another process works on it.
    """
    from dexsearch.registry.replicated import keep_replicated

    chosen = short_list(source, plan.space.n_register)
    told = ", ".join(f"{trial.number} ({trial.config['task']})" for trial in chosen)
    tell(f"replicates: trials {told} again with {plan.replicates} new seeds each, never pruned")
    lacking = _heads_of(plan.space) - {str(trial.config["task"]) for trial in chosen}
    if lacking:
        tell(f"not replicated, because no trial is complete: head {', '.join(sorted(lacking))}")
    again = replace(plan, study=plan.study + REPLICATES)
    before = read_study(again.folder) if (again.folder / LEDGER_NAME).exists() else None
    space = replicate_space(plan.space, source, chosen, plan.replicates, before)
    outcome = search(replace(again, space=space))
    replication = replication_of(source, outcome.record)
    keep_replicated(plan.workspace, replication.entries(source))
    return outcome, replication


def short_list(source: StudyRecord, n: int) -> tuple[TrialRecord, ...]:
    """Return the `n` best configurations of a study, and the best of each head that lacks there.

    One at least, so that a study that registers nothing can be replicated too.
    """
    ranking = configurations(source.ranking())
    chosen = {trial.number: trial for trial in ranking[: max(1, n)]}
    heads = {trial.config["task"] for trial in chosen.values()}
    for trial in ranking[max(1, n) :]:
        if trial.config["task"] not in heads:
            heads.add(trial.config["task"])
            chosen[trial.number] = trial
    return tuple(chosen.values())


def _heads_of(space: SearchSpace) -> set[str]:
    """Return the heads that a study searches; its one head where it searches none."""
    heads = space.search.get("task", Choice(choice=(space.constant("task"),)))
    return set(map(str, extreme_values(heads)))


def replicate_space(
    space: SearchSpace,
    source: StudyRecord,
    chosen: Sequence[TrialRecord],
    n_seeds: int,
    before: StudyRecord | None,
) -> SearchSpace:
    """Return the search space of replicates: the source's, with the seed as one more parameter.

    Args:
        space: of the source.
        source: its ledger; no replicate has the seed of one of its trials.
        chosen: the short-list.
        n_seeds: how many replicates each of them should have.
        before: the replicates so far, or None.

    Raises:
        ConfigurationError: if a configuration cannot be enqueued in the source's search space.
    """
    wanted = [
        {**without_seed(trial.params), SEED: seed}
        for seed in islice(_seeds(space, source), n_seeds)
        for trial in chosen
    ]
    begun = _begun(before)
    enqueue = [*begun, *(params for params in wanted if params not in begun)]
    values = space.model_dump(by_alias=True, exclude_none=True)
    values |= {
        "trials": len(enqueue),
        "register": 0,
        "pruner": {"kind": "none"},
        "sampler": {"kind": "random", "seed": space.sampler.seed},
        "limits": {**values["limits"], "latency_ms": None},  # measured anew it could end a trial
        "enqueue": enqueue,
        "search": {**values["search"], SEED: IntRange(int=(FIRST_SEED, LAST_SEED))},
        "fixed": without_seed(space.fixed),
    }
    try:
        return SearchSpace.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError(
            f"study {source.name!r} cannot be replicated: {first_problem(error, SearchSpace)}"
        ) from None


def _begun(before: StudyRecord | None) -> list[dict[str, object]]:
    """Return what was enqueued for the replicates that have begun, finished or not."""
    if before is None:
        return []
    enqueued: list[dict[str, object]] = list(before.space["enqueue"])
    return enqueued[: len(before.trials)]


def _seeds(space: SearchSpace, source: StudyRecord) -> Iterator[int]:
    """Yield the seeds of replicates, always the same ones and none twice."""
    from dexsearch.search.space import derived_seed

    taken = {trial.config.get(SEED) for trial in source.trials}
    number = 0
    while True:
        seed = FIRST_SEED + derived_seed(space.sampler.seed, "replicate", number)
        if seed not in taken:
            taken.add(seed)
            yield seed
        number += 1

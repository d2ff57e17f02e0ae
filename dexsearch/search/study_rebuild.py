"""The Optuna study of a search, replayed from the ledger.

The ledger is written first, so study.db can be missing, behind (killed between the two), ahead
by a trial that was asked for and never handed out, or damaged. In each case the events are
replayed, pruner included, because pruners keep state of their own in the study.

The pruner is asked about an `unjudged` epoch, one whose verdict was not written down before the
process was killed, by the driver alone.
"""

from collections.abc import Mapping, Sequence

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import _filter_study
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from dexsearch.config.space import Scalar, SearchSpace
from dexsearch.ledger.log import Event
from dexsearch.search.algorithms import KEEPS_STATE, build_pruner, build_sampler
from dexsearch.search.limits import excesses
from dexsearch.search.optuna_study import OptunaStudy, end_trial
from dexsearch.search.space import distributions, enqueued_params, suggestion_order


def replayed(name: str, events: Sequence[Event], space: SearchSpace) -> optuna.Study:
    """Replay a ledger into a study in memory, so that pruners find what they stored.

    The pruner is not asked about an epoch without a verdict: that is left to the driver.
    """
    study = empty_study(name, space)
    unjudged = unjudged_trial(events)
    replay = _Replay(OptunaStudy(study, space, unjudged), space)
    for place, event in enumerate(events):
        replay.take(event, is_judged=unjudged is None or place < _last_place(events))
    return study


def unjudged_trial(events: Sequence[Event]) -> int | None:
    """Return the trial whose newest epoch has no verdict, because the process was killed first.

    The driver gives its verdict before it writes anything else, so this can only be the trial of
    the very last event. (Taking a study up writes `study` events, which say nothing of a trial.)
    """
    place = _last_place(events)
    if place < 0 or events[place]["event"] != "epoch":
        return None
    number: int = events[place]["trial"]
    return number


def _last_place(events: Sequence[Event]) -> int:
    """Return the place of the last event that is about a trial; -1 if there is none."""
    places = range(len(events) - 1, -1, -1)
    return next((place for place in places if events[place]["event"] != "study"), -1)


class _Replay:
    """Does to a study, event by event, what the driver did."""

    def __init__(self, study: OptunaStudy, space: SearchSpace) -> None:
        self._study = study
        self._space = space
        self._started: dict[int, Event] = {}
        self._values: dict[int, dict[int, float]] = {}
        self._spared: set[int] = set()
        self._ended: set[int] = set()

    def take(self, event: Event, *, is_judged: bool = True) -> None:
        number = event.get("trial", -1)
        if number in self._ended:
            return
        match event["event"]:
            case "trial_started" if number not in self._started:
                self._start(number, event)
            case "epoch":
                self._epoch(number, event["record"], is_judged=is_judged)
            case "would_prune":
                self._spared.add(number)
                self._study.note(number, "would_prune_at", event["epoch"])
            case "trial_ended":
                self._end(number, event)

    def _start(self, number: int, event: Event) -> None:
        study, params = self._study.study, event["params"]
        all_distributions = distributions(self._space)
        undrawn = list(params)
        if self._space.sampler.kind in KEEPS_STATE:
            undrawn = _before_first_draw(self._space, number, params)
        study.add_trial(
            optuna.create_trial(
                state=TrialState.RUNNING,
                params={key: params[key] for key in undrawn},
                distributions={key: all_distributions[key] for key in undrawn},
            )
        )
        if len(undrawn) < len(params):
            _advance_sampler(study, self._space, number)
            _add_params(study, number, params, all_distributions)
        self._study.attach(number)
        self._study.note(number, "immune", event["immune"])
        self._study.constrain(
            number, excesses(self._space.limits, n_parameters=event.get("parameters"))
        )
        self._started[number] = event
        self._values[number] = {}

    def _epoch(self, number: int, record: Event, *, is_judged: bool) -> None:
        epoch, value = record["epoch"], record[self._space.objective]
        if epoch in self._values[number]:
            return
        self._values[number][epoch] = value
        over: dict[str, float] = {}
        if epoch == 1:
            over = excesses(self._space.limits, latency_ms=record.get("latency_ms"))
            self._study.constrain(number, over)
        if number not in self._spared:
            self._study.report(number, epoch, value)
            # The driver ended what is over a limit without asking the pruner, which remembers
            # whom it was asked about.
            is_over = any(excess > 0 for excess in over.values())
            if is_judged and epoch < self._space.epochs and not is_over:
                self._study.should_prune(number)

    def _end(self, number: int, event: Event) -> None:
        values = self._values[number]
        end_trial(
            self._study, number, event["state"], values,
            failure=event.get("reason"), spared=number in self._spared,
        )  # fmt: skip
        self._ended.add(number)


def _before_first_draw(space: SearchSpace, number: int, params: Mapping[str, Scalar]) -> list[str]:
    """Return the keys that a trial had when it first asked its sampler; all if it never did."""
    enqueued = enqueued_params(space, number) or {}
    all_distributions = distributions(space)
    keys = [key for key in suggestion_order(space) if key in params]
    drawn = (
        place
        for place, key in enumerate(keys)
        if key not in enqueued and not all_distributions[key].single()
    )
    return keys[: next(drawn, len(keys))]


def _advance_sampler(study: optuna.Study, space: SearchSpace, number: int) -> None:
    """Let a sampler store in a rebuilt study what it stored when it proposed a trial.

    That follows from the trials at the time of the draw, and so must find the trial at hand as it
    was then. Hyperband shows a sampler the trials of the same bracket only.
    """
    sampler = build_sampler(space.sampler, number, space)
    frozen = study.get_trials(deepcopy=False)[number]
    seen = _filter_study(study, frozen)
    sampler.sample_relative(seen, frozen, sampler.infer_relative_search_space(seen, frozen))


def _add_params(
    study: optuna.Study, number: int, params: Mapping[str, Scalar],
    known: Mapping[str, BaseDistribution],
) -> None:  # fmt: skip
    """Give a running trial the parameters that it lacks."""
    frozen = study.get_trials(deepcopy=False)[number]
    for key in [key for key in params if key not in frozen.params]:
        value = known[key].to_internal_repr(params[key])
        study._storage.set_trial_param(frozen._trial_id, key, value, known[key])


def empty_study(name: str, space: SearchSpace) -> optuna.Study:
    """Return a study in memory that proposes and prunes as a space says; it has no trial yet."""
    return optuna.create_study(
        storage=InMemoryStorage(),
        study_name=name,
        direction="maximize",
        sampler=build_sampler(space.sampler, 0, space),
        pruner=build_pruner(space.pruner, epochs=space.epochs),
    )

"""The Optuna study of a running search: proposes parameters, hears of epochs, gives verdicts."""

from collections.abc import Callable, Mapping

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from dexsearch.config.space import Scalar, SearchSpace
from dexsearch.ledger.study import State
from dexsearch.search.algorithms import build_sampler
from dexsearch.search.space import suggest

STATES: Mapping[State, TrialState] = {
    "running": TrialState.RUNNING,
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


class OptunaStudy:
    """Asks for parameters, hears about epochs, says when to stop; maximises the objective."""

    def __init__(
        self,
        study: optuna.Study,
        space: SearchSpace,
        unjudged: int | None = None,
        around: Callable[[BaseSampler], BaseSampler] = lambda sampler: sampler,
    ) -> None:
        """`around` wraps each sampler before it proposes: a replay keeps it to recorded rows."""
        self.study = study
        self.unjudged = unjudged
        """The trial, if any, whose newest epoch an earlier process recorded without a verdict."""
        self._space = space
        self._around = around
        self._live: dict[int, optuna.Trial] = {}

    def ask(self, enqueued: Mapping[str, Scalar] | None = None) -> tuple[int, dict[str, Scalar]]:
        """Begin a trial; return its number and parameters, `enqueued` ones as given."""
        n_trials = len(self.study.get_trials(deepcopy=False))
        self.study.sampler = self._around(
            build_sampler(self._space.sampler, n_trials, self._space)
        )
        if enqueued is not None:
            self.study.enqueue_trial(dict(enqueued))
        trial = self.study.ask()
        self._live[trial.number] = trial
        return trial.number, suggest(trial, self._space)

    def attach(self, number: int) -> None:
        """Take up a running trial of an earlier process."""
        frozen = self.study.get_trials(deepcopy=False)[number]
        self._live[number] = attached_trial(self.study, frozen)

    def report(self, number: int, epoch: int, value: float) -> None:
        """Store the objective of one epoch."""
        self._live[number].report(value, epoch)

    def should_prune(self, number: int) -> bool:
        """Ask the pruner about the newest report of a trial."""
        return self._live[number].should_prune()

    def note(self, number: int, key: str, value: str | int | bool) -> None:
        """Store a user attribute of a trial."""
        self._live[number].set_user_attr(key, value)

    def constrain(self, number: int, constraints: Mapping[str, float]) -> None:
        """Store by how much a trial breaks each limit, as a part of it; up to 0 where it holds."""
        for key, excess in constraints.items():
            self._live[number].set_constraint(key, excess)

    def tell(self, number: int, state: State, value: float | None = None) -> None:
        """End a trial; only a complete one has a value."""
        trial = self._live.pop(number)
        self.study.tell(trial, value, state=STATES[state], skip_if_finished=True)


def attached_trial(study: optuna.Study, frozen: FrozenTrial) -> optuna.Trial:
    """Return a trial object for a running trial; the one place that uses Optuna's private id."""
    return optuna.Trial(study, frozen._trial_id)


def end_trial(
    study: OptunaStudy, number: int, state: State, values: Mapping[int, float],
    *, failure: str | None, spared: bool,
) -> None:  # fmt: skip
    """Tell a study how a trial ended: what was kept from the pruner, the reason, the value."""
    if spared:
        frozen = study.study.get_trials(deepcopy=False)[number]
        for epoch in sorted(set(values) - set(frozen.intermediate_values)):
            study.report(number, epoch, values[epoch])
    if state == "failed" and failure:
        study.note(number, "failure", failure[:1000])
    study.tell(number, state, values[max(values)] if state == "complete" else None)

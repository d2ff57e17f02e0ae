"""Every pitfall of a search that was met has a test; those without another home are here.

Where a test is elsewhere, the table names it; `test_every_test_of_the_table_is_there` keeps that
true. The number is that of
the list from which this table was made.

 1 reused actors hang        search/test_ray_backend.py::test_an_actor_is_used_again
 1 reused actors hang        search/test_pitfalls.py::test_a_trial_is_a_class_without_a_thread
 2 the last value is lost    search/test_backends.py::test_a_search_ends_with_every_trial_complete_or_pruned
 3 a seed repeats trials     search/test_optuna_study.py::test_every_sampler_goes_on_as_if_never_interrupted
 4 zombies distort TPE       search/test_pitfalls.py::test_a_continued_search_leaves_no_trial_running
 4 zombies distort TPE       search/test_study.py::test_killed_at_any_event_a_search_ends_as_if_never_killed
 5 retries repeat steps      search/test_ray_backend.py::test_a_lost_trial_process_costs_no_epoch_and_no_other_trial
 6 Tune's snapshots lag      search/test_ray_backend.py::test_a_driver_killed_at_random_moments_ends_as_the_same_search
 6 Tune's snapshots lag      search/test_pitfalls.py::test_tune_keeps_nothing_of_the_driver
 7 pruned at the last epoch  search/test_pitfalls.py::test_every_pruner_waits_and_spares_the_last_epoch
 8 a torn record             ledger/test_log.py::test_every_truncation_of_a_log_is_a_prefix_of_its_events
 9 several objectives        search/test_pitfalls.py::test_a_search_has_one_objective_and_limits_are_constraints
 9 several objectives        search/test_limits.py::test_the_study_has_the_constraints_also_after_a_rebuild
10 pruners that wait forever search/test_pitfalls.py::test_median_and_percentile_wait_for_a_complete_trial
10 pruners that wait forever search/test_pitfalls.py::test_halving_prunes_before_any_trial_is_complete
11 a stop is an exception    search/test_trial.py::test_a_new_assignment_closes_the_trial_at_hand
12 one trial at a time       search/test_ray_backend.py::test_trials_run_side_by_side
13 conditional parameters    search/test_pitfalls.py::test_tpe_proposes_conditional_parameters_together
14 NaN is ranked             search/test_pitfalls.py::test_a_value_that_is_not_finite_never_reaches_a_pruner
15 the pruner asked again    search/test_pitfalls.py::test_an_immune_trial_is_asked_about_once
16 scores that spike         search/test_pitfalls.py::test_the_averaged_generator_does_not_follow_a_spike
16 scores that spike         training/test_moving_average.py::test_weights_and_norm_statistics_are_averaged_by_the_formula
"""  # noqa: E501  (a table)

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
import torch
from invented_curves import failing, rising
from optuna.samplers import TPESampler
from optuna.trial import TrialState
from searching import check_study, optuna_trials, search_here, space_with

from dexsearch.config.space import PrunerConfig
from dexsearch.config.trial import GeneratorConfig
from dexsearch.ledger.study import read_study
from dexsearch.models.generator import build_generator
from dexsearch.search.algorithms import build_pruner
from dexsearch.search.optuna_study import OptunaStudy
from dexsearch.search.space import suggest
from dexsearch.search.trial import Assignment, Record
from dexsearch.training.moving_average import MovingAverage

PRUNERS = ["median", "percentile", "successive_halving", "hyperband", "none"]
MIN_EPOCHS = 3


def cliff(assignment: Assignment) -> Iterator[Record]:
    """Scores that differ by trial and rise, and a last epoch that is worse than everything."""
    height = (assignment.number * 7 % 11) / 20
    for epoch in range(1, assignment.epochs + 1):
        value = height + epoch / 100 if epoch < assignment.epochs else -1.0
        yield {"epoch": epoch, "val_ssim": value, "seconds": 0.0}


def test_every_test_of_the_table_is_there() -> None:
    rows = [line.split()[-1] for line in (__doc__ or "").splitlines() if "::" in line]
    assert len(rows) > 18
    for row in rows:
        file, _, name = row.partition("::")
        text = (Path(__file__).parents[1] / file).read_text()
        assert f"def {name}(" in text, row


@pytest.mark.parametrize("kind", PRUNERS)
def test_every_pruner_waits_and_spares_the_last_epoch(kind: str, tmp_path: Path) -> None:
    pruner = {"kind": kind, "min_epochs": MIN_EPOCHS, "immune_every": 4}
    search_here(tmp_path / "s", cliff, trials=30, pruner=pruner)
    record = check_study(tmp_path / "s", trials=30, epochs=9)
    pruned = record.in_state("pruned")
    assert bool(pruned) == (kind != "none")
    assert all(MIN_EPOCHS <= trial.last_epoch < 9 for trial in pruned)
    if kind != "none":
        assert min(trial.last_epoch for trial in pruned) == MIN_EPOCHS
    for trial in record.trials:
        assert not (trial.immune and trial.state == "pruned")
        assert trial.would_prune_at is None or MIN_EPOCHS <= trial.would_prune_at < 9


@pytest.mark.parametrize("kind", [kind for kind in PRUNERS if kind != "none"])
def test_an_immune_trial_is_asked_about_once(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the verdict neither a question nor a later value reaches the pruner's rungs."""
    asked, ask = Counter[int](), OptunaStudy.should_prune
    wanted: dict[int, int] = {}

    def counted(self: OptunaStudy, number: int) -> bool:
        assert number not in wanted, "asked again after it wanted the trial stopped"
        asked[number] += 1
        if ask(self, number):
            wanted[number] = asked[number]
        return number in wanted

    monkeypatch.setattr(OptunaStudy, "should_prune", counted)
    pruner = {"kind": kind, "min_epochs": MIN_EPOCHS, "immune_every": 2}
    search_here(tmp_path / "s", cliff, trials=30, pruner=pruner)
    record = read_study(tmp_path / "s")
    spared = [trial for trial in record.trials if trial.would_prune_at is not None]
    assert spared
    for trial in spared:
        assert (trial.state, trial.last_epoch) == ("complete", 9)
        assert wanted[trial.number] == trial.would_prune_at
        attributes = optuna_trials(tmp_path / "s")[trial.number].system_attrs
        rungs = [key for key in attributes if "completed_rung" in key]
        reached = MIN_EPOCHS * 3 ** max(0, len(rungs) - 1)
        assert reached <= trial.would_prune_at, "promoted after the verdict"


def test_a_value_that_is_not_finite_never_reaches_a_pruner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = OptunaStudy.report

    def checked(self: OptunaStudy, number: int, epoch: int, value: float) -> None:
        assert math.isfinite(value)
        told(self, number, epoch, value)

    monkeypatch.setattr(OptunaStudy, "report", checked)
    search_here(tmp_path / "s", failing, trials=8)
    record = read_study(tmp_path / "s")
    spoilt = [trial for trial in record.trials if trial.kind == "numeric"]
    assert [trial.number for trial in spoilt] == [2, 6]
    for trial in spoilt:
        assert trial.state == "failed"
        assert "val_ssim is nan at epoch 2" in (trial.reason or "")
        assert optuna_trials(tmp_path / "s")[trial.number].state == TrialState.FAIL


@pytest.mark.parametrize("kind", ["median", "percentile"])
def test_median_and_percentile_wait_for_a_complete_trial(kind: str, tmp_path: Path) -> None:
    """The first wave is never pruned; a space that wants that takes a halving pruner."""
    pruner = {"kind": kind, "min_epochs": 1, "immune_every": 0}
    search_here(tmp_path / "s", cliff, trials=6, slots=6, pruner=pruner)
    assert len(read_study(tmp_path / "s").in_state("complete")) == 6
    search_here(tmp_path / "s", cliff, trials=12, slots=6, pruner=pruner)
    assert read_study(tmp_path / "s").in_state("pruned"), "the second wave is"


@pytest.mark.parametrize("kind", ["successive_halving", "hyperband"])
def test_halving_prunes_before_any_trial_is_complete(kind: str) -> None:
    """Hyperband would not with `max_resource="auto"`, which waits for a complete trial."""
    config = PrunerConfig.model_validate({"kind": kind, "min_epochs": 1})
    study = optuna.create_study(
        study_name="s", direction="maximize", pruner=build_pruner(config, epochs=9)
    )
    stopped = 0
    for number in range(30):
        trial = study.ask()
        trial.report(1 - number / 100, 1)
        if trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            stopped += 1
    assert stopped
    assert not study.get_trials(states=(TrialState.COMPLETE,))


def test_a_continued_search_leaves_no_trial_running(tmp_path: Path) -> None:
    """What was running is taken up under its number and parameters, not asked for anew."""

    def interrupted(assignment: Assignment) -> Iterator[Record]:
        for record in rising(assignment):
            if assignment.number == 2 and record["epoch"] == 4:
                raise KeyboardInterrupt
            yield record

    outcome = search_here(tmp_path / "s", interrupted, trials=6)
    before = outcome.record.in_state("running")
    assert before
    search_here(tmp_path / "s", rising, trials=6)
    after = check_study(tmp_path / "s", trials=6, epochs=9).trials
    assert all(after[trial.number].params == trial.params for trial in before)
    assert all(trial.state.is_finished() for trial in optuna_trials(tmp_path / "s"))


def test_a_search_has_one_objective_and_limits_are_constraints(tmp_path: Path) -> None:
    """Optuna refuses to prune where there are several objectives."""
    search_here(tmp_path / "s", rising, trials=1, limits={"parameters": 10**9})
    (trial,) = optuna_trials(tmp_path / "s")
    assert trial.values is not None
    assert len(trial.values) == 1
    assert trial.constraints["parameters"] < 0
    several = optuna.create_study(directions=["maximize", "minimize"])
    with pytest.raises(NotImplementedError):
        several.ask().should_prune()


@pytest.mark.parametrize("group", [True, False])
def test_tpe_proposes_conditional_parameters_together(
    group: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours groups them; without that they fall back to a draw by itself, which is the pitfall."""
    space = space_with()
    alone, draw = Counter[str](), TPESampler.sample_independent

    def counted(
        self: TPESampler, study: object, trial: object, name: str, values: object
    ) -> object:
        alone[name] += 1
        return draw(self, study, trial, name, values)  # type: ignore[arg-type]

    monkeypatch.setattr(TPESampler, "sample_independent", counted)
    ours = OptunaStudy(optuna.create_study(direction="maximize"), space)
    for number in range(40):
        if number == 20:
            alone.clear()
        if group:
            given, params = ours.ask()
            ours.tell(given, "complete", float(params["optimizer.learning_rate"]))
        else:
            ours.study.sampler = TPESampler(multivariate=True, seed=number)
            trial = ours.study.ask()
            ours.study.tell(trial, float(suggest(trial, space)["optimizer.learning_rate"]))
    assert bool(alone["discriminator.patch_px"]) == (not group)


def test_a_trial_is_a_class_without_a_thread() -> None:
    """A function trainable runs in a thread, which a stop reaches as SystemExit."""
    tune = pytest.importorskip("ray.tune")
    from dexsearch.search.actor import TrialActor

    assert issubclass(TrialActor, tune.Trainable)
    assert "reset_config" in vars(TrialActor), "so that Tune may give it the next trial"


def test_tune_keeps_nothing_of_the_driver() -> None:
    """What Tune writes of searcher, scheduler and callback every few seconds is empty."""
    from dexsearch.search.bridge import Bridge
    from dexsearch.search.tune_hooks import SearchCallback, StudyScheduler, StudySearcher

    bridge = Bridge.__new__(Bridge)
    for kept in (StudySearcher(bridge), StudyScheduler(bridge), SearchCallback(bridge)):
        assert kept.__getstate__() == {}


def test_the_averaged_generator_does_not_follow_a_spike() -> None:
    """One step that throws weights and norm statistics off moves what is scored by a 200th."""
    network = build_generator(GeneratorConfig(depth=2, width=2), n_targets=1)
    average = MovingAverage(network, decay=0.995)
    for step in range(2000, 2010):
        average.update(step)
    before = {name: value.clone() for name, value in average.network.state_dict().items()}
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                value.add_(10.0)
                assert name in before
    average.update(2010)
    for name, value in average.network.state_dict().items():
        if value.is_floating_point():
            moved = (value - before[name]).abs().max().item()
            assert moved == pytest.approx(10.0 * 0.005, rel=0.05)

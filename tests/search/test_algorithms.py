import optuna
import pytest
from optuna.trial import TrialState
from searching import space_with

from dexsearch.config.space import PrunerConfig, SamplerConfig
from dexsearch.search.algorithms import build_pruner, build_sampler, sampler_note, together
from dexsearch.search.space import suggest

KINDS = ["median", "percentile", "successive_halving", "hyperband"]


def verdicts(config: PrunerConfig, *, n_better: int, epochs: int = 9) -> list[int]:
    """Epochs at which a bad trial would be stopped, after `n_better` better ones."""
    study = optuna.create_study(
        study_name="s", direction="maximize", pruner=build_pruner(config, epochs=epochs)
    )
    for better in range(n_better):
        trial = study.ask()
        for epoch in range(1, epochs + 1):
            trial.report(0.8 + better / 100, epoch)
            trial.should_prune()
        study.tell(trial, 0.8)
    bad = study.ask()
    stopped = []
    for epoch in range(1, epochs + 1):
        bad.report(0.1, epoch)
        if bad.should_prune():
            stopped.append(epoch)
    return stopped


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("min_epochs", [1, 3])
def test_a_bad_trial_is_stopped_and_not_before_min_epochs(kind: str, min_epochs: int) -> None:
    config = PrunerConfig.model_validate({"kind": kind, "min_epochs": min_epochs})
    # Hyperband puts a trial into a bracket by its number, and some brackets begin later.
    stopped = [e for n in range(6, 12) for e in verdicts(config, n_better=n)]
    assert min(stopped) == min_epochs


def test_none_stops_nothing() -> None:
    assert verdicts(PrunerConfig(kind="none"), n_better=10) == []


def test_percentile_stops_what_lies_below_it() -> None:
    """Of 10 complete trials the bad one is below every percentile, the best one below none."""
    for percentile, stopped in ((1.0, True), (99.0, True)):
        config = PrunerConfig(kind="percentile", min_epochs=2, percentile=percentile)
        assert bool(verdicts(config, n_better=10)) == stopped
    study = optuna.create_study(
        direction="maximize",
        pruner=build_pruner(
            PrunerConfig(kind="percentile", min_epochs=1, percentile=20), epochs=9
        ),
    )
    for height in range(10):
        trial = study.ask()
        trial.report(height / 10, 1)
        study.tell(trial, height / 10)
    decisions = []
    for value in (0.05, 0.15, 0.25, 0.55):
        trial = study.ask()
        trial.report(value, 1)
        decisions.append(trial.should_prune())
        study.tell(trial, state=TrialState.FAIL)
    assert decisions == [True, True, False, False]


@pytest.mark.parametrize("kind", ["tpe", "random", "gp", "cmaes"])
def test_a_sampler_proposes_the_same_for_a_number_and_something_else_for_another(
    kind: str,
) -> None:
    config = SamplerConfig.model_validate({"kind": kind})

    def first(n_trials: int) -> dict[str, object]:
        study = optuna.create_study(sampler=build_sampler(config, n_trials))
        return dict(suggest(study.ask(), space_with()))

    assert first(0) == first(0)
    assert first(0) != first(1)


def test_what_a_sampler_cannot_do_is_told_once_and_by_name() -> None:
    """The rest is drawn by itself; qmc has a coordinate for every key."""
    notes = {
        kind: sampler_note(space_with(sampler={"kind": kind}))
        for kind in ("tpe", "random", "qmc", "gp", "cmaes")
    }
    assert [kind for kind, note in notes.items() if note] == ["gp", "cmaes"]
    gp, cmaes = notes["gp"] or "", notes["cmaes"] or ""
    assert "drawn by TPE, each key by itself: discriminator.patch_px; it learns" in gp
    assert "each key by itself: loss.adversarial, discriminator.patch_px; it learns" in cmaes
    plain = {"generator.depth": {"int": [2, 4]}, "generator.width": {"int": [4, 8]}}
    for kind in ("gp", "cmaes"):
        space = space_with(sampler={"kind": kind}, search=plain, pruner={"kind": "none"})
        assert sampler_note(space) is None


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("qmc", ["discriminator.patch_px", "generator.depth", "loss.adversarial",
                 "optimizer.learning_rate"]),
        ("gp", ["generator.depth", "loss.adversarial", "optimizer.learning_rate"]),
        ("cmaes", ["generator.depth", "optimizer.learning_rate"]),
    ],
)  # fmt: skip
def test_what_is_proposed_together_follows_from_the_space_and_not_from_its_trials(
    kind: str, found: list[str]
) -> None:
    assert list(together(space_with(sampler={"kind": kind}))) == found


def test_cma_es_without_two_ranges_in_every_trial_is_refused() -> None:
    search = {
        "generator.depth": {"int": [2, 4]},
        "loss.adversarial": {"choice": ["lsgan", "none"]},
        "optimizer.discriminator_ratio": {"float": [0.5, 2]},
    }
    with pytest.raises(
        ValueError, match=r"needs two of them, got generator\.depth; search another"
    ):
        space_with(search=search, sampler={"kind": "cmaes"})

"""Expected lengths of trials against counts by hand, and against Optuna's own brackets."""

import itertools
import random
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from dexsearch.config.space import PrunerConfig
from dexsearch.jobs.pruning_model import ExpectedLength, expected_length, lengths, rungs
from dexsearch.search.algorithms import build_pruner


def pruner(**values: object) -> PrunerConfig:
    return PrunerConfig.model_validate({"immune_every": 0, **values})


def test_successive_halving_keeps_one_in_three_at_each_rung() -> None:
    """27 trials: 27 train 10 epochs, 9 of them 20 more (to 30), 3 of those 30 more (to 60)."""
    found = expected_length(pruner(min_epochs=10, reduction=3), epochs=60, trials=27)
    assert found.epochs * 27 == pytest.approx(27 * 10 + 9 * 20 + 3 * 30)
    assert found.model == "one trial in 3 survives each rung (epochs 10, 30)"


def test_a_rung_at_the_last_epoch_decides_nothing() -> None:
    assert rungs(pruner(reduction=3), 27, first=3) == (3, 9)
    assert rungs(pruner(reduction=3), 28, first=3) == (3, 9, 27)


def test_without_a_pruner_every_trial_trains_to_the_end() -> None:
    found = expected_length(pruner(kind="none", immune_every=8), epochs=60, trials=9)
    assert found == ExpectedLength(60.0, "nothing is pruned")


def played_by_optuna(config: PrunerConfig, epochs: int, qualities: list[float]) -> list[int]:
    """Return the epochs of each trial in a study with the pruner of a search."""
    study = optuna.create_study(direction="maximize", pruner=build_pruner(config, epochs=epochs))
    found = []
    for number, quality in enumerate(qualities):
        immune = config.immune_every > 0 and (number + 1) % config.immune_every == 0
        trial, epoch, pruned = study.ask(), 0, False
        while epoch < epochs and not pruned:
            epoch += 1
            trial.report(quality + epoch / 10, epoch)
            pruned = trial.should_prune() and not immune
        value = None if pruned else quality
        study.tell(trial, value, TrialState.PRUNED if pruned else TrialState.COMPLETE)
        found.append(epoch)
    return found


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "median"},
        {"kind": "median", "immune_every": 8},
        {"kind": "percentile", "percentile": 25.0},
        {"kind": "percentile", "percentile": 90.0, "immune_every": 3},
    ],
)
def test_every_trial_is_as_long_as_under_optunas_own_pruner(values: dict[str, Any]) -> None:
    config = pruner(min_epochs=3, **values)
    rng = random.Random(7)
    qualities = [rng.random() for _ in range(60)]
    assert list(lengths(config, 9, qualities)) == played_by_optuna(config, 9, qualities)


def test_survivors_raise_the_median_so_ever_fewer_trials_survive() -> None:
    """The median of the survivors is far above that of all trials: not half of them survive."""
    config = pruner(kind="median", min_epochs=3)
    few, many = (expected_length(config, epochs=27, trials=n).epochs for n in (20, 150))
    assert 7.0 < many < 10.0 < few < 0.5 * (3 + 27) + 3
    kept_by_chance = expected_length(
        pruner(kind="median", min_epochs=3, immune_every=8), epochs=27, trials=150
    )
    assert many < kept_by_chance.epochs < 15.0
    assert kept_by_chance.model.endswith("; one in 8 is immune")


def test_a_search_of_few_trials_is_not_pruned_at_all() -> None:
    assert expected_length(pruner(kind="median"), epochs=60, trials=5).epochs == 60.0


@pytest.mark.parametrize("epochs", [5, 9, 10, 27, 60, 81])
def test_hyperband_has_the_brackets_of_optuna(epochs: int) -> None:
    """Its mean lies between no pruning and the halving of its first bracket."""
    config = pruner(kind="hyperband", min_epochs=3, reduction=3)
    study = optuna.create_study(pruner=optuna.pruners.HyperbandPruner(3, epochs, 3), storage=None)
    trial = study.ask()
    trial.report(0.5, 3)
    trial.should_prune()
    n_brackets = study.pruner._n_brackets  # type: ignore[attr-defined]
    shares = study.pruner._trial_allocation_budgets  # type: ignore[attr-defined]
    by_hand = 0.0
    for bracket in range(n_brackets):
        stops = (0, *rungs(config, epochs, first=3 * 3**bracket), epochs)
        length = sum((b - a) / 3**i for i, (a, b) in enumerate(itertools.pairwise(stops)))
        by_hand += length * shares[bracket] / sum(shares)
    assert expected_length(config, epochs=epochs, trials=9).epochs == pytest.approx(by_hand)
    assert f"({n_brackets} brackets)" in expected_length(config, epochs=epochs, trials=9).model

"""Expected lengths of trials against counts by hand, and against Optuna's own brackets."""

import itertools
from typing import Any

import optuna
import pytest

from dexsearch.config.space import PrunerConfig
from dexsearch.jobs.pruning_model import expected_length, rungs


def pruner(**values: object) -> PrunerConfig:
    return PrunerConfig.model_validate({"immune_every": 0, **values})


def test_successive_halving_keeps_one_in_three_at_each_rung() -> None:
    """27 trials: 27 train 10 epochs, 9 of them 20 more (to 30), 3 of those 30 more (to 60)."""
    found = expected_length(pruner(min_epochs=10, reduction=3), epochs=60)
    assert found.epochs * 27 == pytest.approx(27 * 10 + 9 * 20 + 3 * 30)
    assert found.model == "one trial in 3 survives each rung (epochs 10, 30)"


def test_a_rung_at_the_last_epoch_decides_nothing() -> None:
    assert rungs(pruner(reduction=3), 27, first=3) == (3, 9)
    assert rungs(pruner(reduction=3), 28, first=3) == (3, 9, 27)


@pytest.mark.parametrize(
    ("values", "epochs"),
    [
        ({"kind": "none"}, 60.0),
        ({"kind": "median", "min_epochs": 20}, 40.0),
        ({"kind": "percentile", "percentile": 25.0, "min_epochs": 20}, 50.0),
        ({"kind": "median", "min_epochs": 20, "immune_every": 4}, 0.25 * 60 + 0.75 * 40),
    ],
)
def test_the_other_pruners_by_hand(values: dict[str, Any], epochs: float) -> None:
    assert expected_length(pruner(**values), epochs=60).epochs == pytest.approx(epochs)


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
    assert expected_length(config, epochs=epochs).epochs == pytest.approx(by_hand)
    assert f"({n_brackets} brackets)" in expected_length(config, epochs=epochs).model

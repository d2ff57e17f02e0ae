"""Laws of the step sizes: closed forms, and no state."""

import math

import pytest

from dexsearch.config.trial import OptimizerConfig
from dexsearch.training.schedule import check_length, length_that_matters, rate_factor


def factors(config: OptimizerConfig, *, steps_per_epoch: int, epochs: int) -> list[float]:
    return [
        rate_factor(config, step, steps_per_epoch=steps_per_epoch, epochs=epochs)
        for step in range(steps_per_epoch * epochs)
    ]


def test_constant_without_warm_up_is_exactly_one() -> None:
    assert factors(OptimizerConfig(), steps_per_epoch=7, epochs=3) == [1.0] * 21


def test_warm_up_rises_evenly_from_nothing_and_reaches_the_peak_at_its_end() -> None:
    config = OptimizerConfig(warmup_epochs=2)
    found = factors(config, steps_per_epoch=4, epochs=3)
    assert found == pytest.approx([(step + 1) / 8 for step in range(8)] + [1.0] * 4)


def test_cosine_is_the_closed_form_and_its_last_step_still_counts() -> None:
    found = factors(OptimizerConfig(schedule="cosine"), steps_per_epoch=5, epochs=4)
    assert found == pytest.approx([0.5 + 0.5 * math.cos(math.pi * s / 20) for s in range(20)])
    assert found[10] == pytest.approx(0.5)
    assert 0 < found[-1] < 0.01


def test_cosine_begins_at_the_end_of_the_warm_up() -> None:
    config = OptimizerConfig(schedule="cosine", warmup_epochs=1)
    found = factors(config, steps_per_epoch=4, epochs=3)
    assert found[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert found[8] == pytest.approx(0.5)
    assert found == sorted(found[:4]) + sorted(found[4:], reverse=True)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize("warmup_epochs", [0, 0.01, 0.3, 1.7])
def test_every_factor_is_above_nothing_and_at_most_one(
    schedule: str, warmup_epochs: float
) -> None:
    config = OptimizerConfig(schedule=schedule, warmup_epochs=warmup_epochs)  # type: ignore[arg-type]
    for n in (1, 3, 12):
        assert all(0 < factor <= 1 for factor in factors(config, steps_per_epoch=n, epochs=2))


def test_the_length_matters_to_cosine_alone() -> None:
    assert length_that_matters(OptimizerConfig(warmup_epochs=1), 9) is None
    assert length_that_matters(OptimizerConfig(schedule="cosine"), 9) == 9


@pytest.mark.parametrize(
    ("schedule", "warmup_epochs", "fits"),
    [
        ("constant", 3, True),
        ("constant", 3.5, False),
        ("cosine", 2.9, True),
        ("cosine", 3, False),
    ],
)
def test_a_warm_up_that_outlasts_the_run_is_refused(
    schedule: str, warmup_epochs: float, fits: bool
) -> None:
    config = OptimizerConfig(schedule=schedule, warmup_epochs=warmup_epochs)  # type: ignore[arg-type]
    if fits:
        check_length(config, 3)
    else:
        with pytest.raises(ValueError, match=r"warmup_epochs=3.* run of 3 epochs.*; lower"):
            check_length(config, 3)

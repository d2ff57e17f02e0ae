"""Configurations counted by hand and by listing them."""

import pytest

from dexsearch.config.space import SearchSpace
from dexsearch.config.yaml_file import parse_space
from dexsearch.errors import ConfigurationError
from dexsearch.jobs.space_size import (
    alike,
    continuous_keys,
    decisions,
    draw_configurations,
    n_configurations,
)
from dexsearch.models.counting import n_generator_parameters

HEAD = "task: joint\ndata:\n  phantom: {subjects: 6, poses: 4, size_px: 64}\n"
CONDITIONAL = """\
search:
  generator.depth: {int: [2, 4]}
  loss.adversarial: {choice: [none, lsgan, hinge]}
  discriminator.patch_px: {choice: [1, 16]}
  discriminator.width: {choice: [8, 16], when: discriminator.patch_px != 1}
"""


def space(text: str) -> SearchSpace:
    return parse_space(HEAD + text, name="s.yaml")


def test_a_key_that_is_not_drawn_makes_no_more_configurations() -> None:
    """Without a discriminator 1, with PixelGAN 1, with patches 2 widths; for each of 3 depths."""
    assert n_configurations(space(CONDITIONAL)) == 3 * (1 + 2 * (1 + 2))


def test_every_counted_configuration_is_drawn_and_no_other() -> None:
    conditional = space(CONDITIONAL)
    drawn = draw_configurations(conditional, 2000, seed=0)
    assert len({config.model_dump_json() for config in drawn}) == n_configurations(conditional)


def test_decisions_are_listed_once_as_far_as_they_are_drawn() -> None:
    assert list(decisions(space(CONDITIONAL))) == [
        {"loss.adversarial": "none"},
        {"loss.adversarial": "lsgan", "discriminator.patch_px": 1},
        {"loss.adversarial": "lsgan", "discriminator.patch_px": 16},
    ]
    assert alike(space(CONDITIONAL), "loss.adversarial", "lsgan") == ("lsgan", "hinge")
    assert list(decisions(space("search: {generator.depth: {int: [2, 4]}}"))) == [{}]


def test_a_long_range_that_decides_is_split_at_the_values_that_are_asked_for() -> None:
    """256 x 256 combinations decide in 2 x 3 ways; counted by hand, with the ways' sizes."""
    ranges = space(
        "search:\n  generator.width: {int: [1, 256]}\n  discriminator.width: {int: [1, 256]}\n"
        "  ema_decay: {choice: [0.9, 0.99, 0.999], when: generator.width == 64}\n"
        "  optimizer.schedule: {choice: [constant, cosine], when: discriminator.width == 8}\n"
        "  batch_size: {choice: [4, 8], when: discriminator.width != 16}\n"
    )
    found = list(decisions(ranges))
    assert len(found) == 2 * 3
    assert {(d["generator.width"], d["discriminator.width"]) for d in found} == {
        (width, other) for width in (1, 64) for other in (1, 8, 16)
    }
    assert n_configurations(ranges) == (255 + 3) * (254 * 2 + 2 * 2 + 1)


def test_truth_and_one_are_told_apart() -> None:
    mixed = space(
        "search:\n  exposure.resample: {choice: [true, false]}\n"
        "  batch_size: {choice: [2, 4], when: exposure.resample == true}\n"
    )
    assert [d["exposure.resample"] for d in decisions(mixed)] == [True, False]
    assert n_configurations(mixed) == 2 + 1


LIMITED = """search:
  generator.depth: {int: [2, 4]}
  generator.width: {choice: [8, 64]}
limits: {parameters: MOST}
"""


def test_generators_over_the_limit_are_never_drawn() -> None:
    everything = draw_configurations(space(LIMITED.partition("limits")[0]), 200, seed=0)
    counts = sorted({n_generator_parameters(config) for config in everything})
    limited = space(LIMITED.replace("MOST", str(counts[2])))
    drawn = draw_configurations(limited, 200, seed=0)
    assert sorted({n_generator_parameters(config) for config in drawn}) == counts[:3]
    assert n_configurations(limited) == 6, "the limit takes part in no count"


def test_a_limit_that_leaves_nothing_is_told_with_the_smallest_generator() -> None:
    with pytest.raises(ConfigurationError, match=r"is 100, and the smallest .* has \d,\d{3}; rai"):
        draw_configurations(space(LIMITED.replace("MOST", "100")), 50, seed=0)


def test_a_continuous_key_makes_a_space_endless() -> None:
    endless = space("search:\n  optimizer.learning_rate: {float: [1e-4, 1e-2], log: true}\n")
    assert n_configurations(endless) is None
    assert continuous_keys(endless) == ("optimizer.learning_rate",)
    rates = [c.optimizer.learning_rate for c in draw_configurations(endless, 999, seed=1)]
    assert 1e-4 <= min(rates) < 1.1e-4
    assert 0.9e-2 < max(rates) <= 1e-2
    assert 0.8e-3 < sorted(rates)[499] < 1.25e-3, "half of them below the middle of the logarithm"


def test_drawing_repeats_and_a_space_without_keys_has_one_configuration() -> None:
    conditional = space(CONDITIONAL)
    again = draw_configurations(conditional, 5, seed=3)
    assert draw_configurations(conditional, 5, seed=3) == again
    assert n_configurations(space("")) == 1


def test_what_no_trial_could_run_is_left_out() -> None:
    text = (
        "search:\n  loss.adversarial: {choice: [none, lsgan]}\n"
        "  loss.l1_weight: {choice: [0, 100]}\n"
    )
    drawn = draw_configurations(space(text), 400, seed=0)
    found = {(config.loss.adversarial, config.loss.l1_weight) for config in drawn}
    assert found == {("none", 100), ("lsgan", 0), ("lsgan", 100)}

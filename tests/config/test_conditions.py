"""`when` draws a key exactly where it says, and a senseless one is refused with its line."""

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dexsearch.config.conditions import Condition, Scalar, parse_condition
from dexsearch.config.dependencies import drawing_order
from dexsearch.config.space import SearchSpace
from dexsearch.config.yaml_file import parse_space
from dexsearch.errors import ConfigurationError
from dexsearch.search.space import suggest, suggestion_order

HEAD = """\
task: joint
data: {path: datasets/x}
search:
"""
SEARCH = """\
  optimizer.warmup_epochs: {float: [0, 3], when: optimizer.schedule == cosine}
  discriminator.patch_px: {choice: [1, 16]}
  discriminator.norm: {choice: [batch, none], when: discriminator.patch_px != 1}
  loss.adversarial: {choice: [lsgan, none]}
  optimizer.schedule: {choice: [constant, cosine]}
  generator.depth: {int: [2, 4]}
  generator.kernel_px: {choice: [3, 4], when: generator.depth == 3}
  exposure.resample: {choice: [false, true]}
  exposure.dose_jitter: {float: [0.1, 0.7], when: exposure.resample == true}
"""


def space_of(lines: str, rest: str = "") -> SearchSpace:
    return parse_space(HEAD + lines + rest, name="s.yaml")


def drawn(space: SearchSpace, n: int = 80) -> list[dict[str, object]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [dict(suggest(study.ask(), space)) for _ in range(n)]


def test_a_key_is_drawn_exactly_where_its_condition_holds() -> None:
    for params in drawn(space_of(SEARCH)):
        adversarial = params["loss.adversarial"] != "none"
        assert ("optimizer.warmup_epochs" in params) == (params["optimizer.schedule"] == "cosine")
        assert ("generator.kernel_px" in params) == (params["generator.depth"] == 3)
        assert ("exposure.dose_jitter" in params) == (params["exposure.resample"] is True)
        assert ("discriminator.patch_px" in params) == adversarial
        # A parent that was not drawn decides against, although it is "not 1" either.
        expected = adversarial and params["discriminator.patch_px"] != 1
        assert ("discriminator.norm" in params) == expected


def test_every_drawn_configuration_can_be_built_and_is_told_in_the_order_of_the_file() -> None:
    space = space_of(SEARCH)
    for params in drawn(space, 20):
        space.config_for(params, seed=0)  # type: ignore[arg-type]
        assert list(params) == [key for key in space.search if key in params]


def test_each_key_is_drawn_after_those_that_decide_on_it_and_else_in_the_order_of_the_file() -> (
    None
):
    assert suggestion_order(space_of(SEARCH)) == [
        "optimizer.schedule", "optimizer.warmup_epochs", "loss.adversarial",
        "discriminator.patch_px", "discriminator.norm", "generator.depth", "generator.kernel_px",
        "exposure.resample", "exposure.dose_jitter",
    ]  # fmt: skip
    plain = space_of("  generator.width: {choice: [8]}\n  generator.depth: {int: [2, 3]}\n")
    assert drawing_order(plain.search) == ["generator.width", "generator.depth"]


def test_the_implied_condition_may_also_be_written() -> None:
    said = SEARCH.replace("[1, 16]}", "[1, 16], when: loss.adversarial != none}")
    assert drawn(space_of(said)) == drawn(space_of(SEARCH))


def test_without_an_adversarial_loss_nothing_of_a_discriminator_is_drawn() -> None:
    lines = "  discriminator.patch_px: {choice: [1, 16]}\n"
    lines += "  optimizer.discriminator_ratio: {float: [0.5, 2]}\n"
    assert drawn(space_of(lines, "fixed: {loss.adversarial: none}\n"), 3) == [{}] * 3
    assert len(drawn(space_of(lines), 1)[0]) == 2, "the default loss has a discriminator"


def test_conditions_survive_json_in_one_spelling() -> None:
    space = space_of(SEARCH.replace("generator.depth == 3", " generator.depth==3 "))
    assert space.search["generator.kernel_px"].when == "generator.depth == 3"
    assert SearchSpace.model_validate_json(space.model_dump_json(by_alias=True)) == space


@pytest.mark.parametrize(
    ("text", "value"),
    [("a.b == true", True), ("a.b != 4", 4), ("a.b == 1e-3", 1e-3), ("a.b == 'x'", "x"),
     ("a.b == '4'", "4"), ('a.b == "true"', "true"), ("a.b == 'it''s so'", "it's so")],
)  # fmt: skip
def test_a_value_is_read_as_yaml_reads_it(text: str, value: object) -> None:
    found = parse_condition(text).value
    assert (found, type(found)) == (value, type(value))


@given(
    equal=st.booleans(),
    value=st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
    | st.sampled_from(["4", "-1_0", "true", "1e-3", "inf", "", "'x'", '"', "a b", "none"]),
)  # fmt: skip
def test_a_condition_reads_as_it_was_written(equal: bool, value: Scalar) -> None:
    condition = Condition("loss.adversarial", equal=equal, value=value)
    found = parse_condition(str(condition))
    assert found == condition
    assert type(found.value) is type(value)


def test_a_number_in_quotes_stays_a_text_when_a_space_is_stored() -> None:
    lines = "  generator.depth: {int: [2, 4]}\n  generator.kernel_px: {choice: [3, 4], when: "
    with pytest.raises(ConfigurationError, match="never takes; allowed are 2, 3, 4"):
        space_of(lines + "\"generator.depth == '3'\"}\n")


def test_one_is_not_true() -> None:
    assert not parse_condition("a == true").holds_for(1)
    assert parse_condition("a != true").holds_for(1)


@pytest.mark.parametrize(
    ("when", "told"),
    [
        ("loss.adversarial", "is not a condition; write KEY == VALUE or KEY != VALUE"),
        ("loss.adversarial = none", "is not a condition"),
        ("loss.adversarial == none or x", "is not a condition"),
        ("loss.adversrial == none", "did you mean 'loss.adversarial'?"),
        ("loss.adversarial == nope", "never takes; allowed are lsgan, none"),
        ("generator.depth != 7", "never takes; allowed are 2, 3, 4"),
        ("generator.depth == true", "never takes; allowed are 2, 3, 4"),
        ("optimizer.learning_rate == 0.001", "continuous range"),
        ("batch_size == 8", "always holds, because batch_size is not searched and always 8"),
        ("batch_size != 8", "never holds, because batch_size is not searched and always 8"),
        ("optimizer.schedule == cosine", "optimizer.schedule is not searched and always constant"),
        ("task == joint", "always holds, because task is not searched and always joint"),
        ("generator.width == 8", "always holds, because generator.width has one value"),
        ("generator.width != 8", "never holds, because generator.width has one value"),
        ("discriminator.norm == batch", "goes round in a circle"),
        ("discriminator.patch_px == 16", "goes round in a circle"),
        ("loss.adversarial == none", "can never hold together with"),
    ],
)
def test_a_senseless_condition_is_refused_with_its_line(when: str, told: str) -> None:
    lines = f"""\
  loss.adversarial: {{choice: [lsgan, none]}}
  generator.depth: {{int: [2, 4]}}
  generator.width: {{choice: [8]}}
  optimizer.learning_rate: {{float: [1e-4, 1e-2], log: true}}
  discriminator.norm: {{choice: [batch, none], when: {when}}}
  discriminator.patch_px: {{choice: [1, 16], when: discriminator.norm == batch}}
fixed: {{batch_size: 8}}
"""
    with pytest.raises(ConfigurationError) as refused:
        space_of(lines)
    text = str(refused.value)
    assert told in text
    assert text.startswith(("s.yaml:8: ", "s.yaml:9: ") if "circle" in told else "s.yaml:8: ")
    assert "\n" not in text


@pytest.mark.parametrize(
    ("enqueued", "told"),
    [
        ("{loss.adversarial: none, discriminator.patch_px: 1}", "leave it out of this"),
        ("{discriminator.patch_px: 1}", "enqueue loss.adversarial too"),
        ("{loss.adversarial: lsgan, discriminator.patch_px: 1, discriminator.norm: batch}",
         "not drawn where discriminator.patch_px is 1"),
        ("{generator.kernel_px: 3}", "enqueue generator.depth too"),
        ("{exposure.resample: false, exposure.dose_jitter: 0.5}",
         "not drawn where exposure.resample is false"),
    ],
)  # fmt: skip
def test_an_enqueued_value_that_would_not_be_used_is_refused(enqueued: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=r"s\.yaml:\d+: '[\w.]+' is enqueued") as refused:
        space_of(SEARCH, f"enqueue:\n  - {enqueued}\n")
    assert told in str(refused.value)


def test_an_enqueued_configuration_that_settles_its_conditions_is_welcome() -> None:
    enqueued = "{loss.adversarial: lsgan, discriminator.patch_px: 16, discriminator.norm: none}"
    assert len(space_of(SEARCH, f"enqueue:\n  - {enqueued}\n").enqueue) == 1

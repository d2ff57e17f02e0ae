"""A space is read exactly, or refused in one line with the line number and what is allowed."""

from pathlib import Path

import pytest

from dexsearch.config.space import FloatRange
from dexsearch.config.trial import Task, known_trial_keys, trial_config
from dexsearch.config.yaml_file import load_space, parse_space, shipped_spaces
from dexsearch.errors import ConfigurationError

SPACE = """\
task: joint
data:
  phantom: {subjects: 32, poses: 40, size_px: 64, seed: 0}
trials: 64
epochs: 60
pruner: {kind: successive_halving, min_epochs: 20, reduction: 3}
search:
  generator.depth: {int: [3, 5]}
  loss.adversarial: {choice: [vanilla, none]}
  optimizer.learning_rate: {float: [1e-5, 1e-2], log: true}
fixed:
  batch_size: 16
"""


def test_exponents_without_a_point_are_numbers() -> None:
    space = parse_space(SPACE, name="s.yaml")
    assert space.search["optimizer.learning_rate"] == FloatRange(float=(1e-5, 1e-2), log=True)


def test_searched_values_override_fixed_ones_and_defaults() -> None:
    config = parse_space(SPACE, name="s.yaml").config_for({"generator.depth": 5}, seed=7)
    assert (config.generator.depth, config.batch_size, config.seed) == (5, 16, 7)
    assert config.task is Task.JOINT


def test_a_space_survives_json() -> None:
    space = parse_space(SPACE, name="s.yaml")
    again = type(space).model_validate_json(space.model_dump_json(by_alias=True))
    assert again == space


@pytest.mark.parametrize("name", sorted(shipped_spaces()))
def test_every_shipped_space_is_valid_and_opens_with_its_reason(name: str) -> None:
    assert shipped_spaces()[name].read_text().startswith("# ")
    space = load_space(name)
    assert space.resources.gpus == "auto"
    assert load_space(name.removesuffix(".yaml")) == space


def test_the_five_spaces_are_shipped() -> None:
    wanted = {"quickstart.yaml", "bone.yaml", "tissue.yaml", "joint.yaml", "heads.yaml"}
    assert set(shipped_spaces()) == wanted


@pytest.mark.parametrize(
    ("given", "written", "line", "told"),
    [
        ("epochs: 60", "epoch: 60", 5, "unknown key 'epoch'; known keys: task, data"),
        ("epochs: 60", "epoch: 60", 5, "did you mean 'epochs'?"),
        ("generator.depth", "generator.dpeth", 8, "did you mean 'generator.depth'?"),
        ("[3, 5]", "[3, 12]", 8, "generator.depth: got 12; input should be less than or equal"),
        ("[3, 5]", "[5, 3]", 8, "range [5, 3] is empty"),
        ("[1e-5, 1e-2]", "[0, 1e-2]", 10, "cannot be logarithmic"),
        ("batch_size: 16", "batch_size: many", 12, "batch_size: got 'many'"),
        ("{int: [3, 5]}", "5", 8, "expected {int: [a, b]}"),
        ("{int: [3, 5]}", "{int: [3, 5], lgo: true}", 8, "did you mean 'log'?"),
        ("min_epochs: 20", "min_epochs: 70", 6, "never lets a trial be pruned"),
        ("seed: 0", "sed: 0", 3, "did you mean 'seed'?"),
        ("vanilla, none", "vanilla, nope", 9, "got 'nope'; input should be 'vanilla'"),
        ("vanilla, none", "none, none", 9, "names a value twice"),
        ("task: joint", "task: bones", 1, "input should be 'bone', 'tissue', 'joint' or 'derive'"),
        ("batch_size: 16", "generator.depth: 4", 12, "both searched and fixed"),
        ("batch_size: 16", "{batch_size: 16", 13, "not valid YAML"),
        ("trials: 64", "trials: 64\ntrials: 65", 5, "key 'trials' stands twice"),
        ("trials: 64", "trials: .nan", 4, "trials: got nan"),
    ],
)
def test_a_wrong_space_is_refused_with_its_line(
    given: str, written: str, line: int, told: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse_space(SPACE.replace(given, written, 1), name="s.yaml")
    assert str(refused.value).startswith(f"s.yaml:{line}: ")
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "? [a, b]\n: 1",
        "a: " + "[" * 3000,
        "trials: " + "9" * 5000,
        "task: !!python/object/apply:os.system [true]",
        "a: &a [1]\nb: [*a, *a]",
        "[1, 2]",
        "",
    ],
)
def test_tags_aliases_and_other_documents_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_space(text, name="s.yaml")


def test_both_data_sources_or_none_are_refused() -> None:
    both = SPACE.replace("data:\n", "data:\n  path: datasets/x\n")
    with pytest.raises(ConfigurationError, match="exactly one of 'phantom' and 'path'"):
        parse_space(both, name="s.yaml")


def test_an_unknown_space_lists_the_shipped_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"bone.yaml, heads.yaml") as refused:
        load_space("jiont.yaml")
    assert refused.value.hint == "did you mean 'joint.yaml'?"


def test_an_enqueued_key_must_be_searched() -> None:
    with pytest.raises(ConfigurationError, match="enqueued but not searched"):
        parse_space(SPACE + "enqueue:\n  - {generator.width: 16}\n", name="s.yaml")


@pytest.mark.parametrize(
    ("key", "value", "drawn"),
    [
        ("generator.depth", 4, True),
        ("generator.depth", 6, False),
        ("generator.depth", 4.0, False),
        ("optimizer.learning_rate", 1e-2, True),
        ("optimizer.learning_rate", 5.0, False),
        ("loss.adversarial", "none", True),
        ("loss.adversarial", "hinge", False),
    ],
)
def test_an_enqueued_value_must_be_in_its_range(key: str, value: object, drawn: bool) -> None:
    text = SPACE + f"enqueue:\n  - {{{key}: {value}}}\n"
    if drawn:
        assert parse_space(text, name="s.yaml").enqueue
    else:
        with pytest.raises(ConfigurationError, match="does not contain"):
            parse_space(text, name="s.yaml")


@pytest.mark.parametrize(
    ("head", "allowed"),
    [
        ("task: tissue", False),
        ("task: bone", True),
        ("task: joint", True),
        ("task: joint\nfixed: {task: tissue}", False),
        ("task: joint\nsearch: {task: {choice: [joint, tissue]}}", False),
        ("task: joint\nsearch: {task: {choice: [joint, bone]}}", True),
    ],
)
def test_every_head_must_have_the_objective(head: str, allowed: bool) -> None:
    text = f"{head}\nobjective: val_ssim_bone\ndata: {{phantom: {{subjects: 6}}}}\n"
    if allowed:
        assert parse_space(text, name="s.yaml").objective == "val_ssim_bone"
    else:
        with pytest.raises(ConfigurationError, match="needs a head that predicts bone"):
            parse_space(text, name="s.yaml")


@pytest.mark.parametrize(
    ("heads", "told"),
    [
        ("bone, joint", "bone, joint have different ones, .* set objective to val_ssim_bone"),
        ("tissue, derive", "set objective to val_ssim_tissue, which all of them have"),
        ("bone, tissue", "search these heads in studies of their own"),
        ("bone, joint, tissue", "search these heads in studies of their own"),
        ("joint, derive", None),
        ("bone", None),
    ],
)
def test_the_mean_over_targets_compares_heads_of_the_same_targets_only(
    heads: str, told: str | None
) -> None:
    """A joint head's mean holds the easy tissue, a bone head's does not."""
    text = f"task: joint\nsearch: {{task: {{choice: [{heads}]}}}}\ndata: {{path: x}}\n"
    if told is None:
        assert parse_space(text, name="s.yaml").objective == "val_ssim"
    else:
        with pytest.raises(ConfigurationError, match=told):
            parse_space(text, name="s.yaml")


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_bytes("task: joint # Röntgen".encode("latin-1"))
    with pytest.raises(ConfigurationError, match="UTF-8"):
        load_space(str(tmp_path / "s.yaml"))


def test_nothing_to_learn_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="nothing to learn"):
        trial_config({"loss.adversarial": "none", "loss.l1_weight": 0})


def test_every_known_key_can_be_set() -> None:
    assert "generator.depth" in known_trial_keys()
    assert trial_config({"generator.depth": 6}).generator.depth == 6


@pytest.mark.parametrize("name", sorted(shipped_spaces()))
def test_the_first_trial_of_every_shipped_space_is_that_of_xray_gan(name: str) -> None:
    """It trained on L1 alone: the discriminator's verdict reached no weight of its generator."""
    space = load_space(name)
    first = space.config_for(dict(space.enqueue[0]), seed=0)
    assert (first.loss.adversarial, first.loss.l1_weight, first.loss.ssim_weight) == (
        "none",
        100,
        0,
    )
    assert (first.optimizer.learning_rate, first.optimizer.beta1) == (2e-4, 0.5)
    assert (first.generator.norm, first.generator.kernel_px) == ("batch", 4)
    settled = {key for key in space.search if space.is_drawn(key, space.enqueue[0])}
    assert set(space.enqueue[0]) == settled, "nothing of it is left to the sampler"
    if "generator.output" in space.search:
        assert (first.generator.output, first.generator.input_normalization) == (
            "plain", "per_image",
        )  # fmt: skip


def test_the_recorded_curves_search_what_the_joint_search_does() -> None:
    recorded = Path(__file__).parents[2] / "benchmarks" / "curves" / "space.yaml"
    table, joint = load_space(str(recorded)), load_space("joint.yaml")
    assert set(table.search) == set(joint.search)
    assert (table.trials, table.epochs, table.pruner.kind, table.enqueue) == (150, 27, "none", ())


@pytest.mark.parametrize(
    ("epochs", "pruner", "first"),
    [("epochs: 27", "", 3), ("epochs: 4", "", 1), ("", "", 7), ("epochs: 60", "", 7),
     ("epochs: 27", "pruner: {kind: median}", 3), ("epochs: 27", "pruner: {min_epochs: 5}", 5)],
)  # fmt: skip
def test_the_first_decision_is_at_a_ninth_unless_the_file_says_otherwise(
    epochs: str, pruner: str, first: int
) -> None:
    text = f"task: bone\ndata: {{path: x}}\n{epochs}\n{pruner}\n"
    assert parse_space(text, name="mine.yaml").pruner.min_epochs == first

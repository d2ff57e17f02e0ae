"""A jitter is refused where some trial could draw it without a fresh exposure, and only there."""

from pathlib import Path

import pytest

from dexsearch.config.yaml_file import parse_space
from dexsearch.errors import ConfigurationError
from dexsearch.jobs.plan import plan_search
from dexsearch.jobs.refusals import refuse_unbuildable, refuse_unexposable

HEAD = "task: joint\ndata:\n  phantom: {subjects: 6, poses: 4, size_px: 64}\n"
RESAMPLE = "  exposure.resample: {choice: [true, false]}\n"


def check(text: str) -> None:
    refuse_unexposable(parse_space(HEAD + text, name="s.yaml"), Path("made"), None)


def test_a_jitter_that_is_drawn_with_fresh_exposures_only_is_planned(tmp_path: Path) -> None:
    jitter = "  exposure.dose_jitter: {float: [0.1, 0.7], when: exposure.resample == true}\n"
    (tmp_path / "mine.yaml").write_text(f"{HEAD}search:\n{RESAMPLE}{jitter}")
    assert plan_search(str(tmp_path / "mine.yaml"), workspace=tmp_path)
    wrong = jitter.replace("== true", "!= true")
    (tmp_path / "mine.yaml").write_text(f"{HEAD}search:\n{RESAMPLE}{wrong}")
    with pytest.raises(ConfigurationError, match=r"search it with 'when: exposure.resample == tr"):
        plan_search(str(tmp_path / "mine.yaml"), workspace=tmp_path)


@pytest.mark.parametrize(
    ("text", "is_refused"),
    [
        # decided by a third key, under which both are drawn, or only one of them
        (
            "search:\n  loss.adversarial: {choice: [none, lsgan]}\n"
            "  exposure.resample: {choice: [true], when: loss.adversarial == none}\n"
            "  exposure.kvp_jitter: {choice: [5, 9], when: loss.adversarial == none}\n",
            False,
        ),
        (
            "search:\n  loss.adversarial: {choice: [none, lsgan]}\n"
            "  exposure.resample: {choice: [true], when: loss.adversarial == none}\n"
            "  exposure.kvp_jitter: {choice: [5, 9]}\n",
            True,
        ),
        (
            "search:\n  loss.adversarial: {choice: [none, lsgan]}\n"
            "  exposure.kvp_jitter: {choice: [5, 9], when: loss.adversarial == none}\n"
            "fixed: {exposure.resample: true}\n",
            False,
        ),
        # the jitter itself decides: without fresh exposures it is 0, or it may be 0.5
        (
            "search:\n  exposure.dose_jitter: {choice: [0, 0.2, 0.5]}\n"
            "  exposure.resample: {choice: [true], when: exposure.dose_jitter != 0}\n",
            False,
        ),
        (
            "search:\n  exposure.dose_jitter: {choice: [0, 0.2, 0.5]}\n"
            "  exposure.resample: {choice: [true], when: exposure.dose_jitter == 0.2}\n",
            True,
        ),
        (f"search:\n{RESAMPLE}fixed: {{exposure.dose_jitter: 0.5}}\n", True),
    ],
)
def test_only_a_trial_that_exists_can_be_refused(text: str, is_refused: bool) -> None:
    if not is_refused:
        return check(text)
    with pytest.raises(ConfigurationError, match="would change nothing"):
        check(text)
    return None


def test_sizes_that_decide_are_built_at_every_value() -> None:
    text = (
        "search:\n  generator.depth: {int: [2, 6]}\n"
        "  optimizer.beta1: {float: [0.5, 0.9], when: generator.depth == 2}\n"
    )
    with pytest.raises(ConfigurationError, match=r"generator\.depth=6"):
        refuse_unbuildable(parse_space(HEAD + text, name="s.yaml"), (64, 64))

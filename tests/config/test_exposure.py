"""Fresh exposures are asked for as a whole or refused in one line."""

import pytest

from dexsearch.config.trial import known_trial_keys, trial_config
from dexsearch.config.yaml_file import parse_space
from dexsearch.errors import ConfigurationError

HEAD = "task: joint\ndata:\n  phantom: {subjects: 6, poses: 4, size_px: 64}\n"
KEYS = ("exposure.resample", "exposure.dose_jitter", "exposure.kvp_jitter")


def test_every_key_can_be_searched() -> None:
    assert set(KEYS) <= set(known_trial_keys())
    text = HEAD + (
        "search:\n  exposure.resample: {choice: [true, false]}\n"
        "  exposure.dose_jitter: {float: [0, 1]}\n  exposure.kvp_jitter: {choice: [0, 20]}\n"
        "enqueue:\n  - {exposure.resample: true}\n"
    )
    space = parse_space(text, name="s.yaml")
    config = space.config_for(dict(zip(KEYS, (True, 0.5, 20), strict=True)), seed=0)
    assert config.exposure.resample is True
    assert config.exposure.kvp_jitter == 20.0


def test_stored_exposures_are_the_default() -> None:
    assert trial_config({}).exposure.resample is False


@pytest.mark.parametrize("key", KEYS[1:])
def test_jitter_without_a_fresh_exposure_is_refused(key: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{key}=0.5 changes nothing while"):
        trial_config({key: 0.5})


@pytest.mark.parametrize(
    ("key", "value"),
    [(KEYS[0], "sometimes"), (KEYS[1], -0.1), (KEYS[2], -1), (KEYS[2], 200), (KEYS[1], "nan")],
)
def test_a_value_out_of_range_is_refused_with_its_key(key: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=key):
        trial_config({"exposure.resample": True, key: value})

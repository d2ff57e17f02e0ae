"""Laws of a trial's configuration: what a key allows and what its absence means."""

import pytest

from dexsearch.config.trial import TrialConfig, known_trial_keys, trial_config
from dexsearch.errors import ConfigurationError

NEW = {
    "discriminator.spectral_norm": True,
    "loss.ssim_weight": 10.0,
    "optimizer.discriminator_ratio": 4.0,
    "optimizer.schedule": "cosine",
    "optimizer.warmup_epochs": 0.5,
}


def without(config: TrialConfig, dotted: dict[str, object]) -> dict[str, object]:
    """Return the configuration as it was stored before some keys existed."""
    values = config.model_dump(mode="json")
    for key in dotted:
        part, name = key.split(".")
        del values[part][name]
    return values


def test_a_configuration_stored_before_a_key_existed_is_read_and_means_what_it_meant() -> None:
    assert TrialConfig.model_validate(without(TrialConfig(), NEW)) == TrialConfig()
    config = TrialConfig()
    assert not config.discriminator.spectral_norm
    assert config.loss.ssim_weight == 0
    assert config.optimizer.discriminator_ratio == 1
    assert config.optimizer.schedule == "constant"
    assert config.optimizer.warmup_epochs == 0


def test_every_key_can_be_searched_and_survives_its_stored_form() -> None:
    assert set(NEW) <= set(known_trial_keys())
    config = trial_config(NEW)
    assert TrialConfig.model_validate(config.model_dump(mode="json")) == config
    assert config != TrialConfig()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("loss.ssim_weight", -1.0, "ssim_weight"),
        ("loss.ssim_weight", float("nan"), "ssim_weight"),
        ("loss.ssim_weight", float("inf"), "ssim_weight"),
        ("optimizer.discriminator_ratio", 0.0, "discriminator_ratio"),
        ("optimizer.discriminator_ratio", -4.0, "discriminator_ratio"),
        ("optimizer.discriminator_ratio", float("nan"), "discriminator_ratio"),
        ("optimizer.schedule", "linear", "schedule"),
        ("optimizer.warmup_epochs", -0.5, "warmup_epochs"),
        ("optimizer.warmup_epochs", float("nan"), "warmup_epochs"),
        ("discriminator.spectral_norm", "perhaps", "spectral_norm"),
        ("discriminator.spectral_normal", True, "spectral_normal"),
    ],
)
def test_a_value_out_of_range_is_refused_by_its_key(key: str, value: object, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        trial_config({key: value})


def test_similarity_alone_is_something_to_learn_and_no_loss_at_all_is_not() -> None:
    alone = {"loss.adversarial": "none", "loss.l1_weight": 0.0}
    assert trial_config(alone | {"loss.ssim_weight": 1.0}).loss.ssim_weight == 1
    with pytest.raises(ConfigurationError, match="leaves nothing to learn; raise a weight"):
        trial_config(alone)


def test_options_of_an_absent_discriminator_are_harmless() -> None:
    config = trial_config(
        {
            "loss.adversarial": "none",
            "discriminator.spectral_norm": True,
            "optimizer.discriminator_ratio": 4.0,
        }
    )
    assert config.discriminator.spectral_norm

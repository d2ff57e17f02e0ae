import pytest
from torch.utils.flop_counter import FlopCounterMode

from dexsearch.config.trial import trial_config
from dexsearch.models.cost import step_multiply_adds
from dexsearch.models.discriminator import build_discriminator
from dexsearch.models.generator import build_generator


@pytest.mark.parametrize("patch_px", [1, 16, 34])
@pytest.mark.parametrize("kernel_px", [3, 4])
def test_a_step_costs_what_torch_counts_in_its_passes(patch_px: int, kernel_px: int) -> None:
    import torch

    config = trial_config(
        {"generator.width": 4, "generator.depth": 2, "generator.kernel_px": kernel_px,
         "discriminator.width": 4, "discriminator.patch_px": patch_px}
    )  # fmt: skip
    generator = build_generator(config.generator, n_targets=2).to("meta")
    discriminator = build_discriminator(config.discriminator, n_targets=2).to("meta")
    x, y = torch.empty(1, 1, 32, 48, device="meta"), torch.empty(1, 2, 32, 48, device="meta")
    with FlopCounterMode(display=False) as counted:
        generator(x)
    with FlopCounterMode(display=False) as counted_too:
        discriminator(x, y)
    flops = 3 * counted.get_total_flops() + 8 * counted_too.get_total_flops()
    assert step_multiply_adds(config, (32, 48)) == flops / 2


def test_without_an_adversarial_loss_there_is_no_discriminator_to_pay() -> None:
    plain = trial_config({"loss.adversarial": "none", "discriminator.patch_px": 286})
    both = trial_config({})
    assert 0 < step_multiply_adds(plain, (64, 64)) < step_multiply_adds(both, (64, 64))


def test_cost_grows_with_the_padded_image() -> None:
    config = trial_config({"generator.depth": 4})
    assert step_multiply_adds(config, (49, 64)) == step_multiply_adds(config, (64, 64))
    assert step_multiply_adds(config, (128, 64)) > step_multiply_adds(config, (64, 64))

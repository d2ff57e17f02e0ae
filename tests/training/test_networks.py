"""Laws of one training step, against the plain way of writing it."""

import copy

import pytest
import torch

from dexsearch.config.trial import TrialConfig, trial_config
from dexsearch.models.losses import adversarial_loss, discriminator_loss, l1_loss
from dexsearch.training.networks import Networks
from dexsearch.training.precision import Precision, exact_float32, fastest_precision

CPU = torch.device("cpu")


def networks_of(**dotted: object) -> tuple[TrialConfig, Networks]:
    values: dict[str, object] = {"generator.depth": 2, "generator.width": 4}
    values |= {"discriminator.patch_px": 16, "discriminator.width": 4}
    config = trial_config(values | {k.replace("__", "."): v for k, v in dotted.items()})
    networks = Networks(config, device=CPU)
    networks.precision = Precision("cpu", torch.float32)
    return config, networks


@pytest.mark.parametrize("kind", ["vanilla", "lsgan", "hinge"])
def test_adversarial_gradients_reach_the_generator(kind: str) -> None:
    _, networks = networks_of(loss__adversarial=kind, loss__l1_weight=0)
    before = [p.detach().clone() for p in networks.generator.parameters()]
    x, y = torch.randn(4, 1, 32, 32), torch.randn(4, 2, 32, 32)
    networks.train_step(x, y)
    gradient = networks.generator.last.weight.grad
    assert gradient is not None
    assert float(gradient.abs().sum()) > 0
    networks.train_step(x, y)
    assert all(
        not torch.equal(a, b) for a, b in zip(before, networks.generator.parameters(), strict=True)
    )


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
def test_the_step_equals_two_plain_separate_steps(norm: str) -> None:
    config, networks = networks_of(generator__norm=norm, discriminator__norm=norm)
    generator = copy.deepcopy(networks.generator)
    assert networks.adversary is not None
    discriminator = copy.deepcopy(networks.adversary.discriminator)
    rate, betas = config.optimizer.learning_rate, (config.optimizer.beta1, 0.999)
    adam_g = torch.optim.Adam(generator.parameters(), lr=rate, betas=betas)
    adam_d = torch.optim.Adam(discriminator.parameters(), lr=rate, betas=betas)
    for seed in range(3):
        rng = torch.Generator().manual_seed(seed)
        x, y = torch.randn(4, 1, 32, 32, generator=rng), torch.randn(4, 2, 32, 32, generator=rng)
        ours = networks.train_step(x, y)
        fake = generator(x)
        adam_d.zero_grad()
        loss_d = discriminator_loss("lsgan", discriminator(x, y), discriminator(x, fake.detach()))
        loss_d.backward()
        adam_d.step()
        adam_g.zero_grad()
        l1 = l1_loss(fake, y)
        loss_g = 100 * l1 + adversarial_loss("lsgan", discriminator(x, fake))
        loss_g.backward()
        adam_g.step()
        plain = torch.stack((l1, loss_g, loss_d)).detach()
        torch.testing.assert_close(ours, plain, rtol=2e-4, atol=1e-4)


def test_precision_follows_the_hardware() -> None:
    chosen = fastest_precision(CPU)
    capabilities = torch.cpu.get_capabilities()
    native = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
    assert chosen.dtype is (torch.bfloat16 if native else torch.float32)


def test_scores_are_computed_without_tf32_and_the_setting_is_put_back() -> None:
    convolutions = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before = convolutions.fp32_precision
    with exact_float32():
        assert convolutions.fp32_precision == "ieee"
    assert convolutions.fp32_precision == before


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
def test_bfloat16_takes_a_similar_step(norm: str) -> None:
    x, y = torch.randn(4, 1, 32, 32), torch.randn(4, 2, 32, 32)
    losses = []
    for dtype in (torch.float32, torch.bfloat16):
        _, networks = networks_of(generator__norm=norm, discriminator__norm=norm)
        networks.precision = Precision("cpu", dtype)
        losses.append(networks.train_step(x, y))
        assert all(p.dtype is torch.float32 for p in networks.generator.parameters())
    torch.testing.assert_close(losses[1], losses[0], rtol=0.05, atol=0.05)

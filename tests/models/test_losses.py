"""Laws of the losses."""

import pytest
import torch
from torch.nn import functional

from dexsearch.models.losses import Adversarial, adversarial_loss, discriminator_loss, l1_loss

KINDS: tuple[Adversarial, ...] = ("vanilla", "lsgan", "hinge")


def logits(value: float) -> torch.Tensor:
    return torch.full((2, 1, 3, 3), float(value))


def test_vanilla_is_cross_entropy() -> None:
    real, fake = torch.randn(2, 1, 3, 3), torch.randn(2, 1, 3, 3)
    cross_entropy = functional.binary_cross_entropy_with_logits
    expected = 0.5 * (
        cross_entropy(real, torch.ones_like(real)) + cross_entropy(fake, torch.zeros_like(fake))
    )
    torch.testing.assert_close(discriminator_loss("vanilla", real, fake), expected)
    torch.testing.assert_close(
        adversarial_loss("vanilla", fake), cross_entropy(fake, torch.ones_like(fake))
    )


def test_known_values() -> None:
    assert float(discriminator_loss("lsgan", logits(1), logits(0))) == 0
    assert float(discriminator_loss("lsgan", logits(0), logits(1))) == 1
    assert float(discriminator_loss("hinge", logits(1), logits(-1))) == 0
    assert float(discriminator_loss("hinge", logits(0), logits(0))) == 1
    assert float(adversarial_loss("lsgan", logits(1))) == 0
    assert float(adversarial_loss("hinge", logits(2))) == -2
    assert float(l1_loss(torch.ones(1, 2, 3, 3), -torch.ones(1, 2, 3, 3))) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_generator_and_discriminator_pull_in_opposite_directions(kind: Adversarial) -> None:
    fake = logits(0.3).requires_grad_()
    (up,) = torch.autograd.grad(adversarial_loss(kind, fake), fake)
    (down,) = torch.autograd.grad(discriminator_loss(kind, logits(0.0), fake), fake)
    assert bool((up < 0).all())
    assert bool((down > 0).all())


@pytest.mark.parametrize("kind", KINDS)
def test_large_logits_stay_finite(kind: Adversarial) -> None:
    assert discriminator_loss(kind, logits(-1e4), logits(1e4)).isfinite()
    assert adversarial_loss(kind, logits(-1e4)).isfinite()

"""Adversarial and reconstruction losses, pure functions of logits and images.

`vanilla`  cross-entropy, the generator maximising log D (arXiv:1406.2661).
`lsgan`    squared distance to 1 (real) and 0 (predicted) (arXiv:1611.04076).
`hinge`    margins of 1 for the discriminator, the bare logit for the generator (1705.02894).
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Adversarial = Literal["vanilla", "lsgan", "hinge"]


def discriminator_loss(
    kind: Adversarial, real: Float[Tensor, "B 1 h w"], fake: Float[Tensor, "B 1 h w"]
) -> Float[Tensor, ""]:
    """Return the mean of the losses on real and on predicted images.

    Args:
        kind: which adversarial loss.
        real: logits of (input, truth).
        fake: logits of (input, prediction).
    """
    real, fake = real.float(), fake.float()
    if kind == "vanilla":
        total = functional.softplus(-real).mean() + functional.softplus(fake).mean()
    elif kind == "lsgan":
        total = (real - 1).square().mean() + fake.square().mean()
    else:
        total = functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()
    return 0.5 * total


def adversarial_loss(kind: Adversarial, fake: Float[Tensor, "B 1 h w"]) -> Float[Tensor, ""]:
    """Return what the generator pays for logits that give its images away."""
    fake = fake.float()
    if kind == "vanilla":
        return functional.softplus(-fake).mean()
    if kind == "lsgan":
        return (fake - 1).square().mean()
    return -fake.mean()


def l1_loss(
    prediction: Float[Tensor, "B C H W"], truth: Float[Tensor, "B C H W"]
) -> Float[Tensor, ""]:
    """Return the mean absolute error over all pixels, in units of the data ranges."""
    return torch.mean(torch.abs(prediction.float() - truth))

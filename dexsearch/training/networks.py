"""Everything that training changes: two networks, their optimisers, the moving average.

`train_step` is one step of pix2pix. It computes each thing once: the generator's forward pass
serves both networks' steps, and the generator's step asks for no weight gradients of the
discriminator.
"""

from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dexsearch.config.trial import TrialConfig
from dexsearch.models.discriminator import Discriminator, build_discriminator
from dexsearch.models.generator import Generator, build_generator
from dexsearch.models.layout import weights_channels_last
from dexsearch.models.losses import Adversarial, adversarial_loss, discriminator_loss, l1_loss
from dexsearch.training.metrics import ssim_map
from dexsearch.training.moving_average import MovingAverage
from dexsearch.training.precision import Precision, fastest_precision

_BETA2 = 0.999
NetworkT = TypeVar("NetworkT", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Adversary:
    """The discriminator, what it is taught with, and the loss that both networks share."""

    kind: Adversarial
    discriminator: Discriminator
    adam: torch.optim.Adam


class Networks:
    """The state of one training run; all of it is in a checkpoint."""

    def __init__(
        self, config: TrialConfig, *, device: torch.device, precision: Precision | None = None
    ) -> None:
        """Build the networks; without `precision` they run in the fastest one of the device."""
        rng = torch.Generator().manual_seed(config.seed % 2**63)
        n_targets = len(config.task.predicted)
        self.l1_weight = config.loss.l1_weight
        self.ssim_weight = config.loss.ssim_weight
        self.optimizer = config.optimizer
        self.precision = precision or fastest_precision(device)
        generator = build_generator(config.generator, n_targets=n_targets, rng=rng)
        self.generator: Generator = _on_device(generator, device)
        self.generator_adam = _adam(self.generator, config.optimizer.beta1)
        self.average = MovingAverage(self.generator, decay=config.ema_decay)
        self.adversary: Adversary | None = None
        if config.loss.adversarial != "none":
            discriminator = build_discriminator(config.discriminator, n_targets=n_targets, rng=rng)
            discriminator = _on_device(discriminator, device)
            adam = _adam(discriminator, config.optimizer.beta1)
            self.adversary = Adversary(config.loss.adversarial, discriminator, adam)
        self.step = 0
        self.set_rates(1.0)

    def set_rates(self, factor: float) -> None:
        """Set both step sizes to `factor` times the configured ones; see schedule.py."""
        rate = self.optimizer.learning_rate * factor
        self.generator_adam.param_groups[0]["lr"] = rate
        if self.adversary is not None:
            ratio = self.optimizer.discriminator_ratio
            self.adversary.adam.param_groups[0]["lr"] = rate * ratio

    def train_step(
        self, x: Float[Tensor, "B 1 H W"], y: Float[Tensor, "B C H W"]
    ) -> Float[Tensor, "3"]:
        """Update both networks on one batch.

        Args:
            x: normalised inputs.
            y: targets in units of their data ranges.

        Returns:
            L1 error, generator loss and discriminator loss (0 without one), on the device.
        """
        self.generator_adam.zero_grad(set_to_none=True)
        with self.precision.autocast():
            prediction = self.generator(x)
        loss_discriminator = x.new_zeros(())
        if self.adversary is not None:
            loss_discriminator = self._teach(self.adversary, x, y, prediction.detach())
        l1 = l1_loss(prediction, y)
        loss = self.l1_weight * l1
        if self.ssim_weight > 0:
            loss = loss + self.ssim_weight * dissimilarity(prediction, y)
        if self.adversary is not None:
            self.adversary.discriminator.requires_grad_(False)
            with self.precision.autocast():
                verdict = self.adversary.discriminator(x, prediction)
            loss = loss + adversarial_loss(self.adversary.kind, verdict)
        loss.backward()  # type: ignore[no-untyped-call]
        self.generator_adam.step()
        self.step += 1
        self.average.update(self.step)
        return torch.stack((l1.detach(), loss.detach(), loss_discriminator))

    def _teach(self, adversary: Adversary, x: Tensor, y: Tensor, prediction: Tensor) -> Tensor:
        """Teach the discriminator to tell predictions from truth; return its loss."""
        adversary.discriminator.requires_grad_(True)
        adversary.adam.zero_grad(set_to_none=True)
        with self.precision.autocast():
            real, fake = self._verdicts(adversary.discriminator, x, y, prediction)
        loss = discriminator_loss(adversary.kind, real, fake)
        loss.backward()  # type: ignore[no-untyped-call]
        adversary.adam.step()
        return loss.detach()

    @staticmethod
    def _verdicts(
        discriminator: Discriminator, x: Tensor, y: Tensor, prediction: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Judge truth and prediction, in one pass where images do not affect each other."""
        if discriminator.mixes_images:
            return discriminator(x, y), discriminator(x, prediction.to(y.dtype))
        both = torch.cat((y, prediction.to(y.dtype)))
        real, fake = discriminator(torch.cat((x, x)), both).chunk(2)
        return real, fake


def _on_device(network: NetworkT, device: torch.device) -> NetworkT:
    """Move to the device, channels last: convolutions are faster there on CPU and GPU."""
    network.train().to(device)
    weights_channels_last(network)
    return network


def _adam(network: nn.Module, beta1: float) -> torch.optim.Adam:
    return torch.optim.Adam(network.parameters(), betas=(beta1, _BETA2), fused=True)


def dissimilarity(
    prediction: Float[Tensor, "B C H W"], truth: Float[Tensor, "B C H W"]
) -> Float[Tensor, ""]:
    """Return 1 - SSIM, averaged over images, targets and pixels: 0 at the truth, below 2.

    The map is that of the validation score (`metrics.ssim_map`: Gaussian window of 11 pixels,
    images mirrored at their edges), differentiated as it stands. Unlike the score it is averaged
    over all pixels of the padded training images, background included, as the L1 term is. Both
    images are in units of the data ranges, so the data range is 1.
    """
    return 1 - ssim_map(prediction, truth, data_range=1.0).mean()

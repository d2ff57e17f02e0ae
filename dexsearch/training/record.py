"""What one epoch of training reports, and how a run that went numerically wrong says so."""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """Validation scores of the generator's moving average, and the losses of one epoch."""

    epoch: int
    """Counted from 1."""

    val_ssim: float
    """Mean of the targets' masked SSIM: the objective."""

    val_ssim_bone: float | None
    """Masked SSIM of the bone image; None where the head lacks it."""

    val_ssim_tissue: float | None
    """Masked SSIM of the tissue image; None where the head lacks it."""

    val_ssim_whole: float
    """Mean SSIM over whole images."""

    val_psnr: float
    """Mean peak signal-to-noise ratio in the body mask, dB."""

    val_mae: float
    """Mean absolute error in the body mask, in the targets' unit."""

    loss_l1: float
    """Mean absolute training error over whole images, in units of the data ranges."""

    loss_generator: float
    """What the generator minimised: adversarial loss plus weighted L1 and 1 - SSIM."""

    loss_discriminator: float | None
    """What the discriminator minimised; None without one."""

    seconds: float
    """Wall-clock time of training and validating this epoch."""

    quality: dict[str, float] | None = None
    """Scores of the final epoch, see `training.quality`; None in every other."""

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values; `from_dict` takes them back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "EpochRecord":
        """Rebuild from `as_dict`; records of earlier versions have no `quality`."""
        known = {f.name for f in fields(cls) if f.name in values or f.default is MISSING}
        return cls(**{name: values[name] for name in known})


class TrainingDiverged(ValueError):
    """A loss or a score is no longer a finite number; the run cannot be ranked."""

    def __init__(self, epoch: int, reason: str) -> None:
        super().__init__(epoch, reason)
        self.epoch = epoch
        self.reason = reason

    def __str__(self) -> str:
        """Say when and what."""
        return f"training diverged in epoch {self.epoch}: {self.reason}"

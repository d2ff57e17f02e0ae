"""Between the units of a dataset and those of the networks; part of a generator's record.

The trainer, the validation scores and `predict` all go through `Normalization`, so that a
stored generator sees a new image exactly as it saw its training images.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

_SMALLEST_DEVIATION = 1e-6


@dataclass(frozen=True, slots=True)
class Normalization:
    """How inputs enter a generator and how its outputs become physical again."""

    mode: Literal["absolute", "per_image"]
    """`absolute` uses `mean` and `std`, `per_image` the z-score over all pixels of an image."""

    mean: float
    """Mean input of the training pixels, in the unit of the input (log units)."""

    std: float
    """Standard deviation of the training pixels, in the unit of the input."""

    data_ranges: tuple[float, ...]
    """One constant per target, in its unit (cm); outputs are in units of it."""

    def __post_init__(self) -> None:
        """Refuse constants that would divide by zero."""
        constants = (self.std, *self.data_ranges)
        if not all(math.isfinite(value) and value > 0 for value in constants):
            raise ValueError(
                f"got std={self.std!r} and data_ranges={self.data_ranges!r}; all must be above 0, "
                "so a dataset of constant images cannot be trained on"
            )

    def normalize_input(self, image: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B 1 H W"]:
        """Return what the generator takes, before any padding; dimensionless."""
        if self.mode == "absolute":
            return (image - self.mean) / self.std
        mean = image.mean(dim=(-2, -1), keepdim=True)
        deviation = image.std(dim=(-2, -1), keepdim=True, unbiased=False)
        return (image - mean) / deviation.clamp_min(_SMALLEST_DEVIATION)

    def to_physical(self, output: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Return a generator's output in the targets' units (cm); C may be the first of them."""
        return output * self._ranges(output)

    def from_physical(self, target: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Return targets in units of their data ranges, as the generator predicts them.

        C may be the first of the targets alone, where a head does not predict the others.
        """
        return target / self._ranges(target)

    def _ranges(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "C 1 1"]:
        return images.new_tensor(self.data_ranges[: images.shape[1]]).view(-1, 1, 1)

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values; `from_dict` takes them back."""
        return {**asdict(self), "data_ranges": list(self.data_ranges)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Normalization":
        """Rebuild from `as_dict`."""
        return cls(
            mode=values["mode"],
            mean=float(values["mean"]),
            std=float(values["std"]),
            data_ranges=tuple(float(value) for value in values["data_ranges"]),
        )

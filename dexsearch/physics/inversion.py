"""Exposure and bone in, soft tissue out: the exposure model of `physics.detector`, inverted.

Behind known bone the log signal of a beam grows with the soft tissue alone, so it determines it:

    soft = polynomial(ln(1 + p / 2), ln(1 + bone / 1 cm)),    p = -ln(I / I0)

Beams harden, fast in the first centimetres and slowly later, which the two logarithms straighten:
a polynomial of total order 7 then errs by 1e-4 cm where a cubic in p and bone errs by 0.3 cm.

What is not part of the inverted model, and the RMS error that it leaves in the tissue of a known
bone, in phantom bodies at 120 kVp (360 mm wide; masked SSIM in brackets):

                                          32 px            64 px             128 px
    the fit, lengths stored as float16    0.003 cm (1.0000)
    quantum noise at 0.1 mAs              0.007 cm         0.015 cm (.9999)  0.029 cm (.9992)
    edges within a pixel                  0.15 cm (.9995)  0.05 cm (.9999)   one ray a pixel: none
    detector blur of 2 mm                                  0.035 cm

Noise passes on, about 4.5 cm per log unit, without bias. Where an edge crosses a pixel of several
rays its signal is lower (see training/augmentation.py), so tissue is missing there: 0.02 cm in the
mean at 64 px, 0.8 cm at the worst. Scatter depends on the whole image and is refused.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

SIGNAL_BEND = 2.0
BONE_BEND_CM = 1.0


@dataclass(frozen=True, slots=True)
class ExposureInversion:
    """Soft tissue behind known bone under one beam; `inversion_fit` makes it."""

    kvp: float
    """Tube voltage of the exposure."""
    filters_mm: tuple[tuple[str, float], ...]
    """Its added filtration."""
    largest_signal: float
    """The log signal behind the thickest body of the fit."""
    largest_bone_cm: float
    coefficients: tuple[tuple[float, ...], ...]
    """In cm, by power of the scaled signal and of the scaled bone."""
    residual_cm: float
    """Largest noise-free error over 0..45 cm of soft tissue and 0..6 cm of bone."""

    def soft_cm(
        self, signal: Float[Tensor, "*shape"], bone_cm: Float[Tensor, "*shape"]
    ) -> Float[Tensor, "*shape"]:
        """Return the thickness of soft tissue that makes `signal` out of `bone_cm`.

        Computed in the type and on the device of `signal`, pixel by pixel. Beyond the range of
        the fit it goes on as the mirror image of what lies inside, so it is smooth and bounded;
        it is negative where the signal is less than that of the bone alone.

        Args:
            signal: `-ln(I / I0)` under the beam of the fit, without scatter.
            bone_cm: thickness of cortical bone; slightly negative where a network predicts it.
        """
        inside = signal.clamp(0.0, self.largest_signal), bone_cm.clamp(0.0, self.largest_bone_cm)
        mirrored = (
            (2.0 * inside[0] - signal).clamp(0.0, self.largest_signal),
            (2.0 * inside[1] - bone_cm).clamp(0.0, self.largest_bone_cm),
        )
        return 2.0 * self._polynomial(*inside) - self._polynomial(*mirrored)

    def _polynomial(self, signal: Tensor, bone_cm: Tensor) -> Tensor:
        """Evaluate by Horner's rule in both variables."""
        x = scaled(signal, SIGNAL_BEND, self.largest_signal)
        y = scaled(bone_cm, BONE_BEND_CM, self.largest_bone_cm)
        total = torch.zeros_like(x)
        for power, row in reversed(tuple(enumerate(self.coefficients))):
            by_bone = torch.zeros_like(y)
            for coefficient in reversed(row[: len(self.coefficients) - power]):
                by_bone.mul_(y).add_(coefficient)
            total.mul_(x).add_(by_bone)
        return total

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values; `from_dict` takes them back."""
        return {
            "kvp": self.kvp,
            "filters_mm": [list(layer) for layer in self.filters_mm],
            "largest_signal": self.largest_signal,
            "largest_bone_cm": self.largest_bone_cm,
            "coefficients": [list(row) for row in self.coefficients],
            "residual_cm": self.residual_cm,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ExposureInversion":
        """Rebuild from `as_dict`.

        Raises:
            ValueError: if the numbers are no inversion.
            KeyError: if one is missing.
        """
        rows = tuple(tuple(map(float, row)) for row in values["coefficients"])
        limits = (float(values["largest_signal"]), float(values["largest_bone_cm"]))
        numbers = [*limits, *(value for row in rows for value in row)]
        if (
            not all(map(math.isfinite, numbers))
            or min(limits) <= 0
            or {len(rows)} != set(map(len, rows))
        ):
            raise ValueError(
                "got an inversion whose coefficients are no square of finite numbers, or whose "
                "range is empty; the package was written by another program"
            )
        return cls(
            kvp=float(values["kvp"]),
            filters_mm=tuple((str(name), float(mm)) for name, mm in values["filters_mm"]),
            largest_signal=limits[0],
            largest_bone_cm=limits[1],
            coefficients=rows,
            residual_cm=float(values["residual_cm"]),
        )


def scaled(values: Tensor, bend: float, largest: float) -> Tensor:
    """Bend by the logarithm and bring 0..largest to -1..1, where powers stay well conditioned."""
    return torch.log1p(values / bend) * (2.0 / math.log1p(largest / bend)) - 1.0

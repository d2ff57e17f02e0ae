"""Dual energy: two log projections in, one material image or both thicknesses out.

    soft image  p_H - w_b p_L    (bone cancelled)     bone image  w_s p_L - p_H    (soft cancelled)

Symbols  log_low p_L, log_high p_H: -ln(I / I0) at the low and the high tube voltage.
         w_b, w_s: ratio of the slopes dp_H/dt and dp_L/dt for bone and for soft tissue.
Under a tube spectrum a fixed weight is exact at one thickness only, since beams harden;
`fit_decomposition` is right at all.

Source   Lehmann et al., Med. Phys. 8(5):659-667 (1981), doi:10.1118/1.595025;
         Brody et al., Med. Phys. 8(3):353-357 (1981), doi:10.1118/1.594957.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dexsearch.physics.attenuation import (
    DetectedBeam,
    Material,
    absorbed_beam,
    linear_attenuation_per_cm,
)
from dexsearch.physics.detector import beam_of
from dexsearch.physics.exposure import Exposure

SOFT_RANGE_CM = (0.0, 30.0)
BONE_RANGE_CM = (0.0, 5.0)
START_MARGIN = 0.4
FIT_POINTS = 40
PIXELS_PER_CHUNK = 65536


@dataclass(frozen=True, slots=True)
class Weights:
    """Factors of the low-energy log projection; `cancelling_weights` computes them."""

    bone_cancelling: float
    """w_b, for `soft_image`."""
    soft_cancelling: float
    """w_s, for `bone_image`."""


def cancelling_weights(
    low: Exposure,
    high: Exposure,
    *,
    soft_cm: float = 14.0,
    bone_cm: float = 0.5,
    soft: Material = "soft_tissue",
    bone: Material = "cortical_bone",
) -> Weights:
    """Return the weights that cancel a thin layer of either material behind a reference body.

    Args:
        low: the exposure at the lower tube voltage; its dose, scatter and noise play no part.
        high: the exposure at the higher one.
        soft_cm: thickness of `soft` in the reference body.
        bone_cm: thickness of `bone` in the reference body.
        soft: what the soft image shows.
        bone: what the bone image shows.

    Raises:
        ValueError: if the beams are swapped or alike, or a thickness is negative.
    """
    if not (0 <= soft_cm < np.inf and 0 <= bone_cm < np.inf):
        raise ValueError(f"got a body of {soft_cm} cm and {bone_cm} cm; thicknesses are 0 or more")
    (soft_low, bone_low), (soft_high, bone_high) = (
        _slopes_per_cm(exposure, {soft: soft_cm, bone: bone_cm}) for exposure in (low, high)
    )
    weights = Weights(bone_cancelling=bone_high / bone_low, soft_cancelling=soft_high / soft_low)
    if not 0 < weights.bone_cancelling < weights.soft_cancelling < 1:
        raise ValueError(
            f"got {low.kvp:g} kVp as the low and {high.kvp:g} kVp as the high tube voltage with "
            f"weights {weights.bone_cancelling:.3f} and {weights.soft_cancelling:.3f}; {bone} has "
            f"to lose more attenuation than {soft}, so swap the beams or move them apart"
        )
    return weights


def soft_image(
    log_low: Float[Tensor, "*shape"], log_high: Float[Tensor, "*shape"], weight: float
) -> Float[Tensor, "*shape"]:
    """Cancel bone: `log_high - weight * log_low`, the weight being `bone_cancelling`."""
    return log_high - weight * log_low


def bone_image(
    log_low: Float[Tensor, "*shape"], log_high: Float[Tensor, "*shape"], weight: float
) -> Float[Tensor, "*shape"]:
    """Cancel soft tissue: `weight * log_low - log_high`, the weight being `soft_cancelling`.

    Bone is positive; negative values are kept, because clipping is a display choice.
    """
    return weight * log_low - log_high


@dataclass(frozen=True, slots=True)
class Decomposition:
    """The thicknesses behind two log projections; `fit_decomposition` makes it."""

    low: DetectedBeam
    high: DetectedBeam
    order: int
    from_logs: Float[Tensor, "2 2"]
    """Takes (log_low, log_high) to about 0..1 each, so that powers stay well conditioned."""
    coefficients: Float[Tensor, "terms 2"]
    """Of soft tissue and bone in cm, a row for each monomial."""

    def thickness_cm(
        self, log_low: Float[Tensor, "*shape"], log_high: Float[Tensor, "*shape"]
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
        """Return the thickness of soft tissue and of cortical bone in cm.

        Computed in float64, returned in the type of `log_low`. Noise-free error at most 5e-4 cm
        (0..30 cm of soft tissue, 0..5 cm of bone, pairs like 60/120 or 80/140 kVp). Beyond that
        range the result is carried on smoothly; noise may make it negative. The logs must hold no
        scatter.
        """
        logs = torch.stack((log_low.reshape(-1), log_high.reshape(-1))).double()
        parts = [
            self._thickness_cm(logs[:, first : first + PIXELS_PER_CHUNK])
            for first in range(0, logs.shape[1], PIXELS_PER_CHUNK)
        ]
        soft_cm, bone_cm = torch.cat(parts, dim=1).to(log_low.dtype).reshape(2, *log_low.shape)
        return soft_cm, bone_cm

    def _thickness_cm(self, logs: Float[Tensor, "2 N"]) -> Float[Tensor, "2 N"]:
        """Start from the polynomial and take one Newton step on the simulator itself.

        The polynomial alone errs by up to 0.05 cm of soft tissue and 0.01 cm of bone; higher
        orders err less but run away in dark, noisy pixels. So does a start far outside the range.
        """
        terms = _monomials(self.from_logs.to(logs.device) @ logs, self.order)
        start = self.coefficients.to(logs.device).T @ terms
        for row, (least, most) in zip(start, (SOFT_RANGE_CM, BONE_RANGE_CM), strict=True):
            margin = START_MARGIN * (most - least)
            row.clamp_(least - margin, most + margin)
        (low, low_soft, low_bone), (high, high_soft, high_bone) = (
            _log_and_slopes(beam, start) for beam in (self.low, self.high)
        )
        left_low, left_high = logs[0] - low, logs[1] - high
        determinant = low_soft * high_bone - low_bone * high_soft
        soft_step = (high_bone * left_low - low_bone * left_high) / determinant
        bone_step = (low_soft * left_high - high_soft * left_low) / determinant
        return start + torch.stack((soft_step, bone_step))


def fit_decomposition(low: Exposure, high: Exposure, *, order: int = 4) -> Decomposition:
    """Fit a polynomial in both log projections to thicknesses that the simulator exposed.

    Least squares at Chebyshev points (dense towards the rim, so that the error is even) over
    0..30 cm of soft tissue and 0..5 cm of bone.

    Args:
        low: the exposure at the lower tube voltage; its dose, scatter and noise play no part.
        high: the exposure at the higher one.
        order: the polynomial's total order, 1..6.

    Raises:
        ValueError: if the beams are swapped or alike, or the order is out of range.
    """
    cancelling_weights(low, high)
    if not 1 <= order <= 6:
        raise ValueError(f"got order={order!r}; a polynomial of order 1 to 6 is fitted")
    thickness_cm = torch.cartesian_prod(
        *(_chebyshev_points(*range_cm) for range_cm in (SOFT_RANGE_CM, BONE_RANGE_CM))
    ).T
    beams = beam_of(low), beam_of(high)
    logs = torch.stack([_log_and_slopes(beam, thickness_cm)[0] for beam in beams])
    most_cm = torch.tensor([SOFT_RANGE_CM[1], BONE_RANGE_CM[1]], dtype=torch.float64)
    from_logs = torch.linalg.lstsq(logs.T, thickness_cm.T / most_cm).solution.T
    terms = _monomials(from_logs @ logs, order)
    return Decomposition(
        low=beams[0],
        high=beams[1],
        order=order,
        from_logs=from_logs,
        coefficients=torch.linalg.lstsq(terms.T, thickness_cm.T).solution,
    )


def _log_and_slopes(
    beam: DetectedBeam, thickness_cm: Float[Tensor, "2 N"]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return p of both thicknesses, and its slopes by soft tissue and by bone."""
    energy, mu_soft, mu_bone = (
        torch.tensor(values, device=thickness_cm.device)
        for values in (
            beam.quanta_per_cm2_mas * beam.energy_kev,
            beam.mu_soft_per_cm,
            beam.mu_bone_per_cm,
        )
    )
    mu = torch.stack((mu_soft, mu_bone))
    weight = (energy / energy.sum())[:, None] * torch.exp(-mu.T @ thickness_cm)
    passed = weight.sum(dim=0)
    soft, bone = (mu @ weight) / passed
    return -passed.log(), soft, bone


def _monomials(scaled: Float[Tensor, "2 N"], order: int) -> Float[Tensor, "terms N"]:
    """Return every product of powers up to a total order, the range -1..1 in both variables."""
    powers = [torch.ones_like(scaled)]
    for _ in range(order):
        powers.append(powers[-1] * (2.0 * scaled - 1.0))
    pairs = [(i, j) for i in range(order + 1) for j in range(order + 1 - i)]
    return torch.stack([powers[i][0] * powers[j][1] for i, j in pairs])


def _chebyshev_points(least: float, most: float) -> Float[Tensor, " points"]:
    angle = (torch.arange(FIT_POINTS, dtype=torch.float64) + 0.5) * (torch.pi / FIT_POINTS)
    return 0.5 * (least + most) - 0.5 * (most - least) * angle.cos()


def _slopes_per_cm(exposure: Exposure, body_cm: dict[Material, float]) -> tuple[float, float]:
    """Return dp/dt behind a body for each of its two materials."""
    beam = absorbed_beam(exposure.kvp, filters_mm=dict(exposure.filters_mm))
    mu = {material: linear_attenuation_per_cm(material, beam.energy_kev) for material in body_cm}
    length = sum(thickness * mu[material] for material, thickness in body_cm.items())
    passed = beam.quanta_per_cm2_mas * beam.energy_kev * np.exp(-np.asarray(length))
    first, second = (float(np.average(values, weights=passed)) for values in mu.values())
    return first, second

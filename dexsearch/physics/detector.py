"""Path lengths to noisy log projections: spectrum, blur, scatter, quantum and electronic noise.

    I = sum_E N(E) E exp(-mu_soft t_soft - mu_bone t_bone) + scatter,    p = -ln(I / I0)

N(E) are the absorbed quanta of a pixel, I the energy they leave behind. Their number is Poisson
and they differ in energy (compound Poisson), so the variance of I is sum_E N(E) E^2 exp(-...).
It is drawn as equal quanta, Poisson in number, of the same mean and variance: dark pixels so
indeed, the others as the Gaussian that has its skewness too. Pixels are drawn independently.
A pixel adds up the energies of its rays, not their lengths: where an edge crosses a pixel, the
two differ (exponential edge gradient).
Scatter is a blurred copy of the primary P that met matter, P (1 - P / I0), times the ratio: the
open field makes none, and behind a chest P / I0 is a few percent.
Lengths on the image are measured at the isocentre, 100 cm from the focus, where the tabulated
fluence holds; so parallel and cone beams with the same pixel get the same quanta.

Axes     B views, R C rays (rows, columns), H W pixels. Energies are relative to the open field.
Source   Whiting et al., Med. Phys. 33(9):3290-3303 (2006), doi:10.1118/1.2230762 (compound
         Poisson).
"""

import itertools
import math

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from dexsearch.physics.attenuation import DetectedBeam
from dexsearch.physics.blurring import blurred
from dexsearch.physics.exposure import Exposure
from dexsearch.physics.geometry import Detector
from dexsearch.physics.quadrature import detected_beam

SCATTER_SIGMA_MM = 25.0
"""Standard deviation of the scatter's blur on the detector."""
POISSON_BELOW_QUANTA = 10.0
"""Pixels with fewer effective quanta than this are drawn from a Poisson distribution."""
RAYS_PER_CHUNK = {"cpu": 2**15, "cuda": 2**22}
"""Rays handled at a time: as many as stay in a processor's cache, or fill a GPU."""
OVERSHOOT = 0.25
"""Share of the longest length that one may lie below 0: turned splines reach 8 % beside a bone."""
LENGTH_ROUNDING_CM = 1e-3


def beam_of(exposure: Exposure) -> DetectedBeam:
    """Return the few energies that stand for an exposure's beam, see `detected_beam`."""
    return detected_beam(exposure.kvp, filters_mm=dict(exposure.filters_mm))


@torch.no_grad()
def log_projections(
    soft_cm: Float[Tensor, "B R C"],
    bone_cm: Float[Tensor, "B R C"],
    exposure: Exposure,
    *,
    detector: Detector,
    rays_per_pixel: int,
    rng: torch.Generator | None,
    dose_factor: Float[Tensor, " B"] | None = None,
) -> Float[Tensor, "B H W"]:
    """Expose views on the device that holds them and return `-ln(I / I0)` as float32.

    The same formula on every device; only the random numbers differ between devices. On a CPU the
    number of threads changes no bit.

    Args:
        soft_cm: length through soft tissue of every ray, `rays_per_pixel` a side of a pixel;
            slightly negative ones, as splines leave them beside a body, count as 0.
        bone_cm: the same through cortical bone.
        exposure: tube and detector settings.
        detector: the size of its pixels and its magnification; a view may have another shape.
        rays_per_pixel: rays a side of a pixel, 1 or more.
        rng: source of the noise, on the same device; the same state and the same lengths give
            the same image. None: no noise.
        dose_factor: what each view's dose is multiplied by; above 0. None: 1.

    Returns:
        The log projections. I0 is the unscattered open field of the view's own dose, so scatter
        lowers the result; noisy signals below half a mean quantum are held there, so that it
        stays finite. Without gradients.

    Raises:
        ValueError: if shapes, rays per pixel or devices do not fit, a length is not finite or
            clearly negative, or a dose factor is not positive.
    """
    _check(soft_cm, bone_cm, rays_per_pixel, rng, dose_factor)
    soft_cm, bone_cm = _not_negative(soft_cm, "soft tissue"), _not_negative(bone_cm, "bone")
    beam, pixel_cm2 = beam_of(exposure), (detector.pixel_mm / 10.0) ** 2
    quanta = beam.quanta_per_cm2_mas * (exposure.dose_mas * pixel_cm2)
    open_kev = float(quanta @ beam.energy_kev)
    # Mean energy, and variance of the energy at the exposure's own dose, in one array.
    moments = _moments(soft_cm, bone_cm, beam, quanta, rays_per_pixel)
    if exposure.blur_mm > 0:
        moments = blurred(moments, exposure.blur_mm / detector.pixel_mm)
    if exposure.scatter_to_primary > 0:
        sigma_px = SCATTER_SIGMA_MM / (detector.pixel_mm * detector.magnification)
        # The open field makes none: what scatters is what meets matter.
        met = moments * (1.0 - moments[0].clamp(max=1.0))
        moments = moments + exposure.scatter_to_primary * blurred(met, sigma_px)
    energy, variance = moments
    dose = torch.ones_like(energy[:, 0, 0]) if dose_factor is None else dose_factor.float()
    dose = dose[:, None, None]
    if rng is not None:
        electronic = exposure.electronic_noise_kev / (open_kev * dose)
        energy = _drawn(energy, variance / dose, electronic, rng)
        half_quantum = 0.5 / (float(quanta.sum()) * dose)
        energy = torch.maximum(energy, half_quantum)
    return torch.clamp(energy, min=torch.finfo(energy.dtype).tiny).log_().neg_()


def _moments(
    soft_cm: Tensor,
    bone_cm: Tensor,
    beam: DetectedBeam,
    quanta: NDArray[np.float64],
    per_pixel: int,
) -> Float[Tensor, "2 B H W"]:
    """Return mean and variance of the pixels' energy, over that of the open field."""
    energy = quanta * beam.energy_kev / (quanta @ beam.energy_kev)
    variance = energy * beam.energy_kev / (quanta @ beam.energy_kev)
    by_energy = np.stack((energy, variance, -beam.mu_soft_per_cm, -beam.mu_bone_per_cm)).T.tolist()
    soft, bone = soft_cm.float().reshape(-1), bone_cm.float().reshape(-1)
    moments = soft.new_zeros(2, soft.numel())
    n_chunk = RAYS_PER_CHUNK.get(soft.device.type, RAYS_PER_CHUNK["cpu"])
    for first in range(0, soft.numel(), n_chunk):
        chunk = slice(first, first + n_chunk)
        soft_part, bone_part = soft[chunk], bone[chunk]
        (energy_part, variance_part), passed = moments[:, chunk], torch.empty_like(soft_part)
        # A matrix product would add up in an order that depends on the number of threads.
        for energy_step, variance_step, minus_mu_soft, minus_mu_bone in by_energy:
            torch.mul(soft_part, minus_mu_soft, out=passed)
            passed.add_(bone_part, alpha=minus_mu_bone).exp_()
            energy_part.add_(passed, alpha=energy_step)
            variance_part.add_(passed, alpha=variance_step)
    moments = moments.reshape(2, *soft_cm.shape)
    return moments if per_pixel == 1 else _pixel_means(moments, per_pixel)


def _pixel_means(rays: Float[Tensor, "2 B R C"], per_pixel: int) -> Float[Tensor, "2 B H W"]:
    """Average over a pixel's rays, in one order."""
    total = rays[..., ::per_pixel, ::per_pixel].clone()
    for row, column in itertools.product(range(per_pixel), repeat=2):
        if row or column:
            total += rays[..., row::per_pixel, column::per_pixel]
    return total.div_(per_pixel**2)


def _drawn(
    energy: Tensor, variance: Tensor, electronic: Tensor, rng: torch.Generator
) -> Float[Tensor, "B H W"]:
    """Draw every pixel's energy; all in units of the open field.

    n quanta of size q are n + sqrt(n) z + (z^2 - 1) / 6 times q, z being normal (the first terms
    of Cornish and Fisher's expansion, doi:10.2307/1400905).
    """
    normal = torch.randn(energy.shape, generator=rng, device=energy.device)
    quantum = variance / energy  # not a number where all is absorbed, and then not dark either
    total = variance + electronic**2
    skew = (variance * quantum).div_(total).mul_(1.0 / 6.0).nan_to_num_(nan=0.0)
    drawn = torch.addcmul(energy, total.sqrt(), normal).addcmul_(skew, normal.square().sub_(1.0))
    dark = energy < POISSON_BELOW_QUANTA * quantum
    if dark.any():
        size = quantum[dark]
        count = torch.poisson(energy[dark] / size, generator=rng)
        drawn[dark] = count * size + (electronic * normal)[dark]
    return drawn


def _check(
    soft_cm: Tensor,
    bone_cm: Tensor,
    rays_per_pixel: int,
    rng: torch.Generator | None,
    dose_factor: Tensor | None,
) -> None:
    views, rows, columns = soft_cm.shape
    if bone_cm.shape != soft_cm.shape:
        raise ValueError(
            f"got soft_cm of {tuple(soft_cm.shape)} and bone_cm of {tuple(bone_cm.shape)}; "
            "both lengths belong to the same rays"
        )
    if rays_per_pixel < 1 or rows % rays_per_pixel or columns % rays_per_pixel:
        raise ValueError(
            f"got {rays_per_pixel} rays per pixel for {rows} x {columns} rays; both sides are "
            "multiples of it"
        )
    if rng is not None and rng.device.type != soft_cm.device.type:
        raise ValueError(
            f"got a generator on {rng.device} for lengths on {soft_cm.device}; make it with "
            f"torch.Generator({soft_cm.device.type!r})"
        )
    if dose_factor is not None and not (
        dose_factor.shape == (views,)
        and bool(((dose_factor > 0) & (dose_factor < math.inf)).all())
    ):
        raise ValueError(
            f"got dose factors {dose_factor.tolist()} for {views} views; one a view, above 0"
        )


def _not_negative(lengths_cm: Float[Tensor, "B R C"], material: str) -> Float[Tensor, "B R C"]:
    """Return the lengths with what splines left below 0 set to 0.

    Raises:
        ValueError: on a length that is not finite, or too negative for a spline.
    """
    if not lengths_cm.numel():
        return lengths_cm
    least, most = torch.stack(lengths_cm.aminmax()).tolist()
    allowed = -LENGTH_ROUNDING_CM - OVERSHOOT * max(most, 0.0)
    if not (allowed <= least and most < math.inf):  # nor not a number
        raise ValueError(
            f"got path lengths through {material} of {least:g} to {most:g} cm; lengths are finite "
            "and 0 or more, so check the volumes for NaN and negative fractions"
        )
    return lengths_cm.clamp_min(0.0) if least < 0 else lengths_cm

"""Path lengths to a noisy log projection: spectrum, scatter, blur, quantum noise.

    I = sum_E N(E) E exp(-mu_soft t_soft - mu_bone t_bone) + scatter,    p = -ln(I / I0)

N(E) are the absorbed quanta of a pixel, I the energy they leave behind. Their number is Poisson
and they differ in energy (compound Poisson), so the variance of I is sum_E N(E) E^2 exp(-...).
The noise is Gaussian with this compound-Poisson variance, independent between pixels.
A pixel adds up the energies of its rays, not their lengths: where an edge crosses a pixel, the
two differ (exponential edge gradient).
Lengths on the image are measured at the isocentre, 100 cm from the focus, where the tabulated
fluence holds; so parallel and cone beams with the same pixel get the same quanta.

Source   Niklason et al., Med. Phys. 8(5):677-681 (1981), doi:10.1118/1.594836 (scatter ratios).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from dexsearch.physics.attenuation import Beam, detected_beam
from dexsearch.physics.projection import Detector, pixel_means

SCATTER_SIGMA_MM = 25.0
"""Standard deviation of the scatter's blur on the detector."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """One setting of tube and detector."""

    kvp: float = 120.0
    """Tube voltage, 60..140."""
    dose_mas: float = 0.1
    """Tube current times time."""
    scatter_to_primary: float = 0.0
    """0 none, 0.5 with a grid, 2 without one."""
    blur_mm: float = 0.0
    """Standard deviation of the detector's blur at the isocentre, applied before the noise."""
    electronic_noise_kev: float = 0.0
    """Standard deviation per pixel, in absorbed energy."""

    def __post_init__(self) -> None:
        """Refuse settings that no tube has."""
        detected_beam(self.kvp)
        if not self.dose_mas > 0:
            raise ValueError(f"got dose_mas={self.dose_mas!r}; a dose is above 0 mAs")
        if not self.scatter_to_primary >= 0:
            raise ValueError(
                f"got scatter_to_primary={self.scatter_to_primary!r}; the ratio is 0 or more"
            )
        for name in ("blur_mm", "electronic_noise_kev"):
            if not getattr(self, name) >= 0:
                raise ValueError(
                    f"got {name}={getattr(self, name)!r}; a standard deviation is 0 or more"
                )


def log_projection(
    soft_cm: Float[np.ndarray, "rows columns"],
    bone_cm: Float[np.ndarray, "rows columns"],
    exposure: Exposure,
    *,
    detector: Detector,
    rng: np.random.Generator | None,
) -> Float[np.ndarray, "H W"]:
    """Expose one view and return `-ln(I / I0)` as float32.

    Args:
        soft_cm: length through soft tissue of every ray, `detector.supersample` a side of a pixel.
        bone_cm: the same through cortical bone.
        exposure: tube and detector settings.
        detector: its pixels and geometry.
        rng: source of the noise; the same state gives the same image. None: no noise.

    Returns:
        The log projection. I0 is the unscattered open field, so scatter lowers the result;
        signals below half a mean quantum are held there, so that it stays finite.
    """
    beam, pixel_mm = detected_beam(exposure.kvp), detector.pixel_mm
    quanta = beam.quanta_per_cm2_mas * (exposure.dose_mas * (pixel_mm / 10.0) ** 2)
    energy, variance = (
        pixel_means(rays, detector.supersample)
        for rays in _absorbed(soft_cm, bone_cm, beam, quanta)
    )
    if exposure.blur_mm > 0:
        energy = _gaussian(energy, exposure.blur_mm / pixel_mm)
        variance = _gaussian(variance, exposure.blur_mm / pixel_mm)
    if exposure.scatter_to_primary > 0:
        sigma_px = SCATTER_SIGMA_MM / (pixel_mm * detector.magnification)
        energy = energy + exposure.scatter_to_primary * _gaussian(energy, sigma_px)
        variance = variance + exposure.scatter_to_primary * _gaussian(variance, sigma_px)
    if rng is not None:
        sigma = np.sqrt(variance + exposure.electronic_noise_kev**2)
        energy = energy + sigma * rng.standard_normal(energy.shape)
    open_field = float(quanta @ beam.energy_kev)
    half_quantum = 0.5 * open_field / float(quanta.sum())
    log_image: NDArray[Any] = -np.log(np.maximum(energy, half_quantum) / open_field)
    return log_image.astype(np.float32)


def _absorbed(
    soft_cm: NDArray[Any], bone_cm: NDArray[Any], beam: Beam, quanta: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and variance of the absorbed energy in keV and keV^2, bin by bin."""
    energy = np.zeros(soft_cm.shape)
    variance = np.zeros(soft_cm.shape)
    for kev, count, mu_soft, mu_bone in zip(
        beam.energy_kev, quanta, beam.mu_soft_per_cm, beam.mu_bone_per_cm, strict=True
    ):
        absorbed = np.exp(-(mu_soft * soft_cm + mu_bone * bone_cm)) * (count * kev)
        energy += absorbed
        variance += absorbed * kev
    return energy, variance


def _gaussian(image: NDArray[np.float64], sigma_px: float) -> NDArray[np.float64]:
    return np.asarray(gaussian_filter(image, sigma_px, mode="nearest"))

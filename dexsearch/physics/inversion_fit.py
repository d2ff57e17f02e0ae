"""Fit the inverse of an exposure to what the simulator gives; `physics.inversion` applies it."""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from dexsearch.physics.attenuation import DetectedBeam
from dexsearch.physics.detector import beam_of
from dexsearch.physics.exposure import Exposure
from dexsearch.physics.inversion import BONE_BEND_CM, SIGNAL_BEND, ExposureInversion, scaled

SOFT_RANGE_CM = (0.0, 45.0)
"""Shoulder to shoulder of a large adult."""
BONE_RANGE_CM = (0.0, 6.0)
ORDER = 7
FIT_POINTS = (60, 40)
"""Of soft tissue and of bone."""
CHECK_POINTS = (181, 61)
_POWERS = tuple((i, j) for i in range(ORDER + 1) for j in range(ORDER + 1 - i))


def fit_inversion(exposure: Exposure) -> ExposureInversion:
    """Fit the inverse of an exposure by least squares, in float64, to what the simulator gives.

    Dose, noise and blur play no part.

    Raises:
        ValueError: if the exposure has scatter.
    """
    if exposure.scatter_to_primary > 0:
        raise ValueError(
            f"got scatter_to_primary={exposure.scatter_to_primary!r}; scatter comes from the "
            "whole body, so that a pixel's signal no longer determines its tissue: only "
            "exposures without scatter are inverted"
        )
    beam = beam_of(exposure)
    soft, bone = _grid(
        _chebyshev_points(SOFT_RANGE_CM, FIT_POINTS[0]),
        _chebyshev_points(BONE_RANGE_CM, FIT_POINTS[1]),
    )
    signal = _log_signal(beam, soft, bone)
    largest = float(signal.max())
    terms = _terms(signal, bone, largest)
    solution = np.linalg.lstsq(terms, soft, rcond=None)[0]
    check_soft, check_bone = _grid(
        np.linspace(*SOFT_RANGE_CM, CHECK_POINTS[0]), np.linspace(*BONE_RANGE_CM, CHECK_POINTS[1])
    )
    check = _terms(_log_signal(beam, check_soft, check_bone), check_bone, largest) @ solution
    coefficients = np.zeros((ORDER + 1, ORDER + 1))
    coefficients[*np.array(_POWERS).T] = solution
    return ExposureInversion(
        kvp=exposure.kvp,
        filters_mm=exposure.filters_mm,
        largest_signal=largest,
        largest_bone_cm=BONE_RANGE_CM[1],
        coefficients=tuple(map(tuple, coefficients.tolist())),
        residual_cm=float(np.abs(check - check_soft).max()),
    )


def _terms(
    signal: NDArray[np.float64], bone_cm: NDArray[np.float64], largest_signal: float
) -> NDArray[np.float64]:
    """Return every product of powers up to the total order, points x terms."""
    x = scaled(torch.from_numpy(signal), SIGNAL_BEND, largest_signal).numpy()
    y = scaled(torch.from_numpy(bone_cm), BONE_BEND_CM, BONE_RANGE_CM[1]).numpy()
    return np.stack([x**i * y**j for i, j in _POWERS], axis=1)


def _log_signal(
    beam: DetectedBeam, soft_cm: NDArray[np.float64], bone_cm: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the clean log signal of rays, as `log_projections` computes it, in float64."""
    energy = beam.quanta_per_cm2_mas * beam.energy_kev
    lengths = np.outer(soft_cm, beam.mu_soft_per_cm) + np.outer(bone_cm, beam.mu_bone_per_cm)
    passed: NDArray[np.float64] = np.exp(-lengths) @ (energy / energy.sum())
    return -np.log(passed)


def _grid(soft: NDArray[np.float64], bone: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    return tuple(axis.ravel() for axis in np.meshgrid(soft, bone, indexing="ij"))


def _chebyshev_points(ends: tuple[float, float], n_points: int) -> NDArray[np.float64]:
    """Return points dense towards both ends, so that the error of a fit is even."""
    angle = (np.arange(n_points) + 0.5) * (math.pi / n_points)
    middle, half = (ends[0] + ends[1]) / 2.0, (ends[1] - ends[0]) / 2.0
    points: NDArray[np.float64] = middle - half * np.cos(angle)
    return points

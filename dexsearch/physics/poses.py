"""Which views a dataset holds: lists of poses (x, y, z) in degrees, see `geometry`."""

import numpy as np

from dexsearch.physics.geometry import Pose
from dexsearch.physics.xray_gan import xray_gan_poses

__all__ = ["cohort_poses", "sweep_poses", "xray_gan_poses"]

COHORT_TURN_DEG = 40.0
COHORT_NOD_DEG = 10.0
COHORT_LEAN_DEG = 8.0
SWEEP_TILT_DEG = 5.0


def cohort_poses(n_poses: int, rng: np.random.Generator) -> tuple[Pose, ...]:
    """Draw near-frontal and turned views of one subject.

    The turn about the body's axis is stratified over -40..40 degrees, so that every subject has
    near-frontal views; nodding stays within 10 degrees and leaning within 8.

    Raises:
        ValueError: if there are no poses to draw.
    """
    _check(n_poses)
    strata = (rng.permutation(n_poses) + rng.uniform(size=n_poses)) / n_poses
    turns = COHORT_TURN_DEG * (2.0 * strata - 1.0)
    nods = rng.uniform(-COHORT_NOD_DEG, COHORT_NOD_DEG, n_poses)
    leans = rng.uniform(-COHORT_LEAN_DEG, COHORT_LEAN_DEG, n_poses)
    return _rounded(nods, leans, turns)


def sweep_poses(n_poses: int, rng: np.random.Generator) -> tuple[Pose, ...]:
    """Return views of one volume at equal turns over 0..175 degrees, tilted by up to 5.

    Raises:
        ValueError: if there are no poses to draw.
    """
    _check(n_poses)
    turns = np.linspace(0.0, 175.0, n_poses)
    nods = rng.uniform(-SWEEP_TILT_DEG, SWEEP_TILT_DEG, n_poses)
    leans = rng.uniform(-SWEEP_TILT_DEG, SWEEP_TILT_DEG, n_poses)
    return _rounded(nods, leans, turns)


def _check(n_poses: int) -> None:
    if n_poses < 1:
        raise ValueError(f"got {n_poses} poses; ask for at least 1")


def _rounded(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> tuple[Pose, ...]:
    columns = zip(np.round(x, 2), np.round(y, 2), np.round(z, 2), strict=True)
    return tuple((float(a), float(b), float(c)) for a, b, c in columns)

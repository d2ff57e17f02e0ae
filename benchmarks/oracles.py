"""What the physics is checked against, and how far it is off: one line for each oracle.

    python benchmarks/oracles.py

The same laws are tests (tests/physics); this prints the errors instead of judging them.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from dexsearch.physics.attenuation import mass_attenuation_cm2_per_g
from dexsearch.physics.detector import log_projections
from dexsearch.physics.dual_energy import cancelling_weights, fit_decomposition
from dexsearch.physics.exposure import Exposure
from dexsearch.physics.geometry import Detector, Pose, detector_rays
from dexsearch.physics.projection import ProjectorKind, build_projector
from dexsearch.physics.xray_gan import xray_gan_poses

VOXEL_MM = 2.0
SIDE = 96
POSE: Pose = (20.0, -10.0, 35.0)
RADII_MM = {"sphere": (60.0, 60.0, 60.0), "ellipsoid": (70.0, 40.0, 55.0)}
CUBE_MM = 100.0
NIST_CM2_PER_G = {"water": 0.2059, "cortical_bone": 0.3148}
WEIGHTS = {(80.0, 140.0): (0.74, 0.89), (60.0, 120.0): (0.59, 0.815)}


def main() -> None:
    """Print the table."""
    for name in ("water", "cortical_bone"):
        found = mass_attenuation_cm2_per_g(name, np.array([60.0]))[0]  # type: ignore[arg-type]
        print(f"NIST mu/rho {name} at 60 keV: {found:.4f} cm2/g, expected {NIST_CM2_PER_G[name]}")
    for kind in ("fast", "torch"):
        for geometry in ("parallel", "cone"):
            for shape in (*RADII_MM, "cube"):
                print_lengths(kind, geometry, shape)
    for pair, expected in WEIGHTS.items():
        weights = cancelling_weights(Exposure(kvp=pair[0]), Exposure(kvp=pair[1]))
        print(
            f"weights {pair[0]:g}/{pair[1]:g} kVp: bone {weights.bone_cancelling:.3f} (expected "
            f"{expected[0]}), soft {weights.soft_cancelling:.3f} (expected {expected[1]})"
        )
        print_thickness_error(*pair)
    print_parity()


def print_lengths(kind: ProjectorKind, geometry: str, shape: str) -> None:
    """Compare path lengths with chords known in closed form, over all rays of one view."""
    volume = cube() if shape == "cube" else ellipsoid(RADII_MM[shape])
    detector = Detector(80, 2.0, geometry)  # type: ignore[arg-type]
    projector = build_projector(volume, 0 * volume, voxel_mm=VOXEL_MM, kind=kind)
    found, _ = projector.ray_lengths_cm(POSE, detector)
    rays = detector_rays(detector, POSE)
    origin, direction = np.asarray(rays.origin_mm), np.asarray(rays.direction)
    if shape == "cube":
        exact = cube_chords_cm(origin, direction)
    else:
        exact = ellipsoid_chords_cm(origin, direction, RADII_MM[shape])
    error = np.abs(found - exact)[exact > 0]
    print(
        f"{shape}, {geometry}, {kind}: median error {np.median(error):.4f} cm, mean "
        f"{error.mean():.4f}, sum {100 * (found.sum() / exact.sum() - 1):+.3f} %"
    )


def ellipsoid(radii_mm: tuple[float, ...]) -> NDArray[np.float32]:
    """Return the share of each voxel inside an ellipsoid."""
    axis = (np.arange(SIDE) - (SIDE - 1) / 2) * VOXEL_MM
    points = np.meshgrid(axis, axis, axis, indexing="ij")
    radius = np.sqrt(sum((x / r) ** 2 for x, r in zip(points, radii_mm, strict=True)))
    steepness = np.sqrt(sum((x / r**2) ** 2 for x, r in zip(points, radii_mm, strict=True)))
    distance = (1 - radius) * radius / np.maximum(steepness, 1e-9)
    return np.clip(0.5 + distance / VOXEL_MM, 0, 1).astype(np.float32)


def cube() -> NDArray[np.float32]:
    """Return a uniform cube whose faces lie between voxels."""
    volume = np.zeros((SIDE, SIDE, SIDE), np.float32)
    inside = slice(
        (SIDE - round(CUBE_MM / VOXEL_MM)) // 2, (SIDE + round(CUBE_MM / VOXEL_MM)) // 2
    )
    volume[inside, inside, inside] = 1
    return volume


def ellipsoid_chords_cm(
    origin: NDArray[np.float64], direction: NDArray[np.float64], radii_mm: tuple[float, ...]
) -> NDArray[np.float64]:
    """Solve the quadratic of a ray and an ellipsoid."""
    o, d = origin / radii_mm, direction / radii_mm
    a, b, c = (d * d).sum(-1), (o * d).sum(-1), (o * o).sum(-1) - 1
    return np.asarray(0.2 * np.sqrt(np.maximum(b * b - a * c, 0)) / a)


def cube_chords_cm(
    origin: NDArray[np.float64], direction: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Cut a ray with the three pairs of faces."""
    ends = (np.array([-1, 1])[:, None, None, None] * CUBE_MM / 2 - origin) / direction
    length = ends.max(axis=0).min(-1) - ends.min(axis=0).max(-1)
    return 0.1 * np.maximum(length, 0)


def print_thickness_error(low_kvp: float, high_kvp: float) -> None:
    """Expose known thicknesses without noise and decompose them again."""
    soft, bone = torch.meshgrid(torch.linspace(0, 30, 61), torch.linspace(0, 5, 41), indexing="ij")
    exposures = Exposure(kvp=low_kvp), Exposure(kvp=high_kvp)
    logs = [
        log_projections(
            soft[None],
            bone[None],
            exposure,
            detector=Detector(41, 1.0),
            rays_per_pixel=1,
            rng=None,
        )[0]
        for exposure in exposures
    ]
    found = fit_decomposition(*exposures).thickness_cm(*logs)
    errors = [
        (one - true).abs().max().item() for one, true in zip(found, (soft, bone), strict=True)
    ]
    print(
        f"decomposition {low_kvp:g}/{high_kvp:g} kVp, 0..30 cm soft, 0..5 cm bone: largest error "
        f"soft {errors[0]:.4f} cm, bone {errors[1]:.4f} cm (required .003)"
    )


def print_parity() -> None:
    """Compare one composed turn with xray_GAN's three, on a smooth volume, at ten random poses."""
    axis = np.arange(72) - 35.5
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    volume = np.exp(-((z / 13) ** 2) - ((y - 3) / 9) ** 2 - ((x + 4) / 11) ** 2) + 0.6 * np.exp(
        -(((z - 8) / 6) ** 2) - ((y + 4) / 6) ** 2 - ((x - 9) / 6) ** 2
    )
    volume = volume.astype(np.float32)
    projector = build_projector(volume, 0 * volume, voxel_mm=10.0)
    poses = np.random.default_rng(0).choice(900, 10, replace=False)
    errors = []
    for pose in (xray_gan_poses()[index] for index in poses):
        turned = volume
        for degrees, axes in zip(pose, ((0, 1), (0, 2), (1, 2)), strict=True):
            turned = ndimage.rotate(turned, degrees, axes=axes, mode="constant", cval=0.0)
        theirs = turned.sum(axis=1)
        size = max(theirs.shape) + max(theirs.shape) % 2
        ours, _ = projector.path_lengths_cm(pose, Detector(size, 10.0))
        errors.append(relative_rms(ours, theirs))
    listed = ", ".join(f"{100 * error:.2f}" for error in errors)
    print(f"parity with three scipy rotations, 10 random poses: relative RMS {listed} %")


def relative_rms(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    """Compare two images about the same centre, the smaller one shifted by half pixels."""
    shift = [(n - m) / 2 for n, m in zip(theirs.shape, ours.shape, strict=True)]
    grid = np.meshgrid(
        *(np.arange(m) + s for m, s in zip(ours.shape, shift, strict=True)), indexing="ij"
    )
    theirs_there = ndimage.map_coordinates(theirs, grid, order=3, mode="constant")
    return float(np.sqrt(np.mean((ours - theirs_there) ** 2) / np.mean(theirs_there**2)))


if __name__ == "__main__":
    main()

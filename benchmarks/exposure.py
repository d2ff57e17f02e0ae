"""How long the exposure of one view takes, beside a plain NumPy loop over the energy bins.

    python benchmarks/exposure.py [--size 256] [--threads 1 2] [--repeats 15]

Both expose the same path lengths at 120 kVp. The loop is what one writes first: float64, an
exponential per 1 keV bin, Gaussian noise of the summed variance, and `gaussian_filter` for blur
and scatter; it uses one thread. Prints the smallest time of each, the ratio, and how far the two
noise-free images are apart. The rounds alternate, so that a busy machine slows both.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from dexsearch.physics.attenuation import absorbed_beam
from dexsearch.physics.detector import SCATTER_SIGMA_MM, log_projections
from dexsearch.physics.exposure import Exposure
from dexsearch.physics.geometry import Detector

Lengths = NDArray[np.float32]
CASES = {
    "no noise": (Exposure(), False),
    "quantum noise": (Exposure(dose_mas=1.0), True),
    "the same, 0.1 mAs": (Exposure(dose_mas=0.1), True),
    "noise and scatter": (Exposure(dose_mas=1.0, scatter_to_primary=0.5), True),
    "all": (
        Exposure(dose_mas=1.0, scatter_to_primary=0.5, blur_mm=0.5, electronic_noise_kev=100.0),
        True,
    ),
}


def chest(size_px: int) -> tuple[Lengths, Lengths]:
    """Return lengths like those of a front view: trunk, two lungs, ribs and a spine."""
    rows, columns = np.meshgrid(*2 * [np.linspace(-1.0, 1.0, size_px)], indexing="ij")
    soft = 22.0 * np.sqrt(np.clip(1.1 - columns**2, 0.0, None))
    soft -= 12.0 * np.exp(-((np.abs(columns) - 0.45) ** 2 + 0.3 * rows**2) / 0.06)
    bone = 0.5 * (np.sin(30.0 * rows + 4.0 * columns**2) > 0.4) + 2.0 * (np.abs(columns) < 0.1)
    return soft.astype(np.float32), bone.astype(np.float32)


def plain(
    soft_cm: Lengths,
    bone_cm: Lengths,
    exposure: Exposure,
    detector: Detector,
    rng: np.random.Generator | None,
) -> NDArray[np.float64]:
    """Expose with a loop over 1 keV bins."""
    beam = absorbed_beam(exposure.kvp)
    quanta = beam.quanta_per_cm2_mas * (exposure.dose_mas * (detector.pixel_mm / 10.0) ** 2)
    soft, bone = soft_cm.astype(np.float64), bone_cm.astype(np.float64)
    energy, variance = np.zeros(soft.shape), np.zeros(soft.shape)
    for kev, count, mu_soft, mu_bone in zip(
        beam.energy_kev, quanta, beam.mu_soft_per_cm, beam.mu_bone_per_cm, strict=True
    ):
        absorbed = kev * count * np.exp(-(mu_soft * soft + mu_bone * bone))
        energy += absorbed
        variance += kev * absorbed
    if exposure.blur_mm > 0:
        sigma_px = exposure.blur_mm / detector.pixel_mm
        energy, variance = (
            gaussian_filter(x, sigma_px, mode="nearest") for x in (energy, variance)
        )
    if exposure.scatter_to_primary > 0:
        sigma_px = SCATTER_SIGMA_MM / (detector.pixel_mm * detector.magnification)
        energy, variance = (
            x + exposure.scatter_to_primary * gaussian_filter(x, sigma_px, mode="nearest")
            for x in (energy, variance)
        )
    if rng is not None:
        sigma = np.sqrt(variance + exposure.electronic_noise_kev**2)
        energy = energy + sigma * rng.standard_normal(energy.shape)
    half_quantum = 0.5 * float(quanta @ beam.energy_kev) / float(quanta.sum())
    return np.asarray(-np.log(np.maximum(energy, half_quantum) / float(quanta @ beam.energy_kev)))


def smallest(functions: list[Callable[[], object]], repeats: int) -> list[float]:
    """Return the smallest time of each in ms, in alternating rounds after one to warm up."""
    best = [float("inf")] * len(functions)
    for round_number in range(repeats + 1):
        for i, function in enumerate(functions):
            begin = time.perf_counter()
            function()
            if round_number > 0:
                best[i] = min(best[i], 1e3 * (time.perf_counter() - begin))
    return best


def main() -> None:
    """Print one row a case and number of threads."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    detector = Detector(size_px=options.size, pixel_mm=1.5)
    soft, bone = chest(options.size)
    tensors = torch.from_numpy(soft)[None], torch.from_numpy(bone)[None]
    seeds = torch.Generator().manual_seed(0), np.random.default_rng(0)

    def ours(exposure: Exposure, *, noise: bool) -> torch.Tensor:
        rng = seeds[0] if noise else None
        return log_projections(*tensors, exposure, detector=detector, rays_per_pixel=1, rng=rng)

    error = np.abs(
        ours(Exposure(), noise=False)[0].numpy() - plain(soft, bone, Exposure(), detector, None)
    )
    print(f"one view of {options.size} x {options.size} pixels; noise-free images differ by")
    print(f"{error.max():.1e} at most\n")
    print(
        "| exposure | threads | plain NumPy, ms | dexsearch, ms | ratio |\n|---|---|---|---|---|"
    )
    for name, (exposure, noise) in CASES.items():
        rng = seeds[1] if noise else None
        for threads in options.threads:
            torch.set_num_threads(threads)
            times = smallest(
                [
                    lambda: plain(soft, bone, exposure, detector, rng),  # noqa: B023
                    lambda: ours(exposure, noise=noise),  # noqa: B023
                ],
                options.repeats,
            )
            row = f"{times[0]:.0f} | {times[1]:.2f} | {times[0] / times[1]:.0f}"
            print(f"| {name} | {threads} | {row} |", flush=True)


if __name__ == "__main__":
    main()

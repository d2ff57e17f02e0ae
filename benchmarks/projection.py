"""One view of a chest, both basis materials, beside what else can make one on the CPU.

    python benchmarks/projection.py [--voxels 192] [--size 256] [--repeats 5] [--threads 2]

Each row is the median of the repeats, in turn over all rows so that a busy machine slows all
alike; xray_GAN's way (three rotations of a volume and a sum) is timed once. The other projects
render one volume in a call: half of the work of dexsearch's rows. `mean` is the mean path length
through soft tissue in the image: equal where the same thing was seen (xray_GAN's image grows to
hold all of the tilted volume, so there it is a little more). A project that is not installed is
named as absent; `pip install nanodrr diffdrr` adds both.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from dexsearch.physics.geometry import (
    SOURCE_AXIS_MM,
    SOURCE_DETECTOR_MM,
    Detector,
    Geometry,
    Pose,
)
from dexsearch.physics.projection import ProjectorKind, build_projector
from dexsearch.physics.validity import ScanEnds
from dexsearch.physics.xray_gan import AIR_HU, rotated_shape, rotated_sum

Volume = NDArray[np.float32]
View = Callable[[], float]
"""Makes a view and returns the mean soft-tissue length in cm."""

FIELD_MM = 384.0
POSE: Pose = (15.0, -15.0, 30.0)
STRAIGHT: Pose = (0.0, 0.0, 0.0)
GEOMETRIES: tuple[Geometry, ...] = ("parallel", "cone")
KINDS: tuple[ProjectorKind, ...] = ("fast", "torch")


def main() -> None:
    """Print one table, a row per method and geometry."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--voxels", type=int, default=192)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    voxel_mm = FIELD_MM / options.voxels
    soft, bone = chest(options.voxels)
    pixel_mm = FIELD_MM / options.size
    print(
        f"{options.voxels}^3 voxels of {voxel_mm:g} mm, {options.size} x {options.size} pixels, "
        f"{options.threads} threads"
    )
    views: dict[str, View] = {}
    for geometry in GEOMETRIES:
        detector = Detector(options.size, pixel_mm, geometry)
        for kind in KINDS:
            for pose_deg in (STRAIGHT, POSE):
                name = f"dexsearch {kind}, {geometry}, {'tilted' if any(pose_deg) else 'straight'}"
                views[name] = own_view(soft, bone, voxel_mm, kind, pose_deg, detector)
    for name, build in (("nanodrr", nanodrr_view), ("DiffDRR Siddon", diffdrr_view)):
        try:
            views[f"{name}, cone, straight, 1 volume"] = build(soft, voxel_mm, options.size)
        except ImportError as absent:
            print(f"{name}: not installed ({absent})")
    seconds, means = timed(views, options.repeats)
    name = "xray_GAN: 3 rotations, sum, tilted, 1 kV"
    one, mean = timed({name: rotations(soft, voxel_mm)}, 0)
    print_table(seconds | one, means | mean)
    ends = ScanEnds(soft, bone, voxel_mm)
    detector = Detector(options.size, pixel_mm, "cone")
    whole, _ = timed({"whole": lambda: float(ends.seen_whole(POSE, detector).mean())}, 5)
    print(f"\nwhich pixels are seen whole: {1e3 * whole['whole']:.1f} ms")


def print_table(seconds: dict[str, float], means: dict[str, float]) -> None:
    """Print milliseconds, and how many times slower each is than the compiled tilted view."""
    unit = seconds["dexsearch fast, parallel, tilted"]
    print("\n| view | ms | ratio | mean cm |\n|---|---|---|---|")
    for name, value in seconds.items():
        print(f"| {name} | {1e3 * value:.0f} | {value / unit:.1f} | {means[name]:.2f} |")


def timed(views: dict[str, View], repeats: int) -> tuple[dict[str, float], dict[str, float]]:
    """Return the median seconds and the mean length of every view; the first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in views}
    means = {}
    for _ in range(repeats + 1):
        for name, view in views.items():
            begin = time.perf_counter()
            means[name] = view()
            seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(all_[1:] or all_) for name, all_ in seconds.items()}, means


def chest(n: int) -> tuple[Volume, Volume]:
    """Return soft tissue and bone of an elliptic trunk with lungs, spine and ribs."""
    axis = (2 * np.arange(n, dtype=np.float32) - (n - 1)) / n
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij", sparse=True)
    trunk = (y / 0.6) ** 2 + (x / 0.88) ** 2
    lungs = (z / 0.75) ** 2 + ((y + 0.05) / 0.4) ** 2 + ((np.abs(x) - 0.42) / 0.3) ** 2 < 1
    rib = (np.abs(trunk - 0.8) < 0.06) & (np.abs((12 * (z + 0.4 * y)) % 2 - 1) < 0.4)
    spine = (x / 0.11) ** 2 + ((y - 0.35) / 0.11) ** 2 < 1 + 0 * z
    bone = np.where(rib, 0.5, np.where(spine, 0.35, 0.0)).astype(np.float32)
    soft = np.where(lungs, 0.26, np.where(trunk + 0 * z < 1, 1.0, 0.0)).astype(np.float32)
    return soft * (1 - bone), bone


def own_view(
    soft: Volume,
    bone: Volume,
    voxel_mm: float,
    kind: ProjectorKind,
    pose_deg: Pose,
    detector: Detector,
) -> View:
    """Return what makes a view of both volumes by one of dexsearch's projectors."""
    projector = build_projector(soft, bone, voxel_mm=voxel_mm, kind=kind)
    return lambda: float(projector.path_lengths_cm(pose_deg, detector)[0].mean())


def rotations(soft: Volume, voxel_mm: float) -> View:
    """Return what makes xray_GAN's sum of one CT, on integers as it does."""
    hu = np.round(1000 * soft - 1000).astype(np.int16)
    background = AIR_HU * rotated_shape(hu.shape, POSE)[1]
    field_px = FIELD_MM / voxel_mm

    def view() -> float:
        relative = (rotated_sum(hu, POSE) - background) / 1000
        return float(relative.sum() * 0.1 * voxel_mm / field_px**2)

    return view


def nanodrr_view(soft: Volume, voxel_mm: float, size_px: int) -> View:
    """Return nanodrr's front view in a cone beam, with its own number of samples per ray."""
    from nanodrr.camera import make_rt_inv
    from nanodrr.data import Subject
    from nanodrr.drr import DRR

    subject = Subject.from_images(scalar_image(soft, voxel_mm), convert_to_mu=False)
    pixel_mm = FIELD_MM / size_px * SOURCE_DETECTOR_MM / SOURCE_AXIS_MM
    drr = DRR.from_carm_intrinsics(
        SOURCE_DETECTOR_MM, pixel_mm, pixel_mm, 0.0, 0.0, size_px, size_px
    )
    camera = make_rt_inv(
        torch.zeros(1, 3),
        torch.tensor([[0.0, SOURCE_AXIS_MM, 0.0]]),
        orientation="AP",
        isocenter=subject.isocenter,
    )

    def view() -> float:
        with torch.no_grad():
            return 0.1 * float(drr(subject, camera).mean())

    return view


def diffdrr_view(soft: Volume, voxel_mm: float, size_px: int) -> View:
    """Return DiffDRR's front view in a cone beam by its exact method, in patches for memory."""
    from diffdrr.data import read
    from diffdrr.drr import DRR

    subject = read(scalar_image(soft, voxel_mm), orientation="AP")
    pixel_mm = FIELD_MM / size_px * SOURCE_DETECTOR_MM / SOURCE_AXIS_MM
    drr = DRR(subject, SOURCE_DETECTOR_MM, size_px, pixel_mm, patch_size=min(64, size_px))
    drr.density.copy_(subject.volume.data[0])  # fractions, not its scale of Hounsfield units
    turn, shift = torch.zeros(1, 3), torch.tensor([[0.0, SOURCE_AXIS_MM, 0.0]])

    def view() -> float:
        with torch.no_grad():
            image = drr(turn, shift, parameterization="euler_angles", convention="ZXY")
        return 0.1 * float(image.mean())

    return view


def scalar_image(soft: Volume, voxel_mm: float) -> object:
    """Return the volume as both projects read it: from left to right, back to front, upward."""
    from torchio import ScalarImage

    tensor = torch.from_numpy(soft[::-1, ::-1].transpose(2, 1, 0).copy())[None]
    return ScalarImage(tensor=tensor, affine=np.diag([voxel_mm, voxel_mm, voxel_mm, 1.0]))


if __name__ == "__main__":
    main()

"""How long does one procedural subject take to draw, beside ribs drawn on the whole grid?

    python benchmarks/phantom.py                  # three grids, three repeats, one thread
    python benchmarks/phantom.py --voxels 4       # a first look in seconds

The peer is the plain way to voxelise capsules: for each of the 24 ribs x 24 capsules, the distance
of every voxel of the grid to the capsule's axis. It draws the ribs alone; we draw everything. Its
time per capsule hardly varies, so it is taken on some capsules and multiplied.
"""

import argparse
import os
import resource
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from dexsearch.volumes.anatomy import draw_anatomy
from dexsearch.volumes.phantom import body_grid, phantom_subject
from dexsearch.volumes.shapes import Capsule, Grid
from dexsearch.volumes.skeleton import skeleton


def subject_seconds(voxel_mm: float, repeats: int) -> tuple[float, tuple[int, ...]]:
    """Return the median time of a subject, other subjects each time, and a volume's shape."""
    times = []
    for index in range(repeats):
        begin = time.perf_counter()
        subject = phantom_subject(0, index, voxel_mm=voxel_mm)
        times.append(time.perf_counter() - begin)
    return float(np.median(times)), subject.soft.shape


def peer_seconds(grid: Grid, capsules: list[Capsule], sample: int) -> float:
    """Return the time of all capsules by distances over the whole grid, from a sample of them."""
    field = grid.far()
    chosen = capsules[:: max(1, len(capsules) // sample)][:sample]
    begin = time.perf_counter()
    for capsule in chosen:
        np.minimum(field, whole_grid_distance(grid, capsule), out=field)
    return (time.perf_counter() - begin) * len(capsules) / len(chosen)


def whole_grid_distance(grid: Grid, capsule: Capsule) -> np.ndarray:
    """Return the distance of every voxel to a capsule of round cross-section."""
    start = np.array(capsule.start_mm, dtype=np.float32)
    along = np.array(capsule.end_mm, dtype=np.float32) - start
    z, y, x = (axis - s for axis, s in zip(grid.axes_mm(), start, strict=True))
    share = np.clip((z * along[0] + y * along[1] + x * along[2]) / (along @ along), 0.0, 1.0)
    square = (z - share * along[0]) ** 2 + (y - share * along[1]) ** 2
    square += (x - share * along[2]) ** 2
    return np.sqrt(square) - np.float32(np.mean(capsule.radii_mm))


def main() -> None:
    """Print one line per grid."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--voxels", type=float, nargs="+", default=[2.75, 2.0, 1.5])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--capsules", type=int, default=6, help="capsules the peer is timed on")
    arguments = parser.parse_args()
    anatomy = draw_anatomy(np.random.default_rng([0, 0, 0]))
    ribs = [
        shape
        for bone in skeleton(anatomy)
        if " rib " in bone.name
        for shape in bone.shapes
        if isinstance(shape, Capsule)
    ]
    phantom_subject(0, 0, voxel_mm=8.0)
    for voxel_mm in arguments.voxels:
        ours, shape = subject_seconds(voxel_mm, arguments.repeats)
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        peer = peer_seconds(body_grid(anatomy, voxel_mm), ribs, arguments.capsules)
        print(
            f"{voxel_mm:g} mm, {' x '.join(map(str, shape))}: whole subject {ours:.2f} s, process "
            f"peak so far {peak_mib:.0f} MiB; {len(ribs)} rib capsules on the whole grid "
            f"{peer:.1f} s ({peer / ours:.0f} times the subject)"
        )


if __name__ == "__main__":
    main()

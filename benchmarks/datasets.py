"""Whole datasets: xray_GAN's 900 poses of a CT of 192^3 voxels, and a cohort of 48 x 40 views.

    python benchmarks/datasets.py [--folder DIR]

Runs the commands as a user would and prints wall time and peak memory of all their processes
(Linux). The peer of the 900 poses is xray_GAN's way for one tube voltage, three rotations and a
sum, timed on one pose in the same run and multiplied by 900.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

import nibabel
import numpy as np
from command_memory import measured
from numpy.typing import NDArray
from scipy import ndimage

from dexsearch.physics.attenuation import effective_attenuation_per_cm
from dexsearch.volumes.phantom import phantom_subject

SIDE = 192
VOXEL_MM = 2.1
CT_KVP = 120.0
N_POSES = 900
POSE_DEG = (15.0, -15.0, 40.0)


def main() -> None:
    """Make both datasets in an empty folder and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where to work; otherwise a temporary one")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="dexsearch-datasets-"))
    folder.mkdir(parents=True, exist_ok=True)
    program = str(Path(sys.executable).parent / "dexsearch")
    try:
        ct = folder / "ct.nii"
        hu = _hounsfield()
        nibabel.save(nibabel.Nifti1Image(hu[::-1, ::-1, ::-1].T, _affine()), ct)
        peer_s = N_POSES * _seconds_of_three_rotations(hu)
        command = [program, "data", "ct", str(ct), str(folder / "ct-900")]
        took = measured([*command, "--poses", "xray-gan", "--size", "256"])
        print(
            f"900 poses, {SIDE}^3, 256 px, both bases, written: {took.seconds:.0f} s, peak "
            f"{took.peak_gib:.2f} GiB; xray_GAN's rotations for one kV {peer_s:.0f} s (900 x one "
            f"pose), ratio {peer_s / took.seconds:.0f}x"
        )
        command = [program, "data", "phantom", str(folder / "cohort"), "--subjects", "48"]
        took = measured([*command, "--poses", "40", "--size", "128"])
        print(
            f"cohort of 48 x 40 views, 128 px: {took.seconds:.0f} s, peak {took.peak_gib:.2f} GiB"
        )
    finally:
        if options.folder is None:
            shutil.rmtree(folder)


def _hounsfield() -> NDArray[np.int16]:
    """Return a phantom as a CT sees it, in a cube."""
    subject = phantom_subject(0, 0, voxel_mm=VOXEL_MM)
    mu = {
        material: effective_attenuation_per_cm(material, CT_KVP)
        for material in ("water", "soft_tissue", "cortical_bone")
    }
    relative = subject.soft * mu["soft_tissue"] + subject.bone * mu["cortical_bone"]
    hu = np.full((SIDE, SIDE, SIDE), -1000, dtype=np.int16)
    here, there = [], []
    for n in relative.shape:
        size = min(n, SIDE)
        here.append(slice((SIDE - size) // 2, (SIDE - size) // 2 + size))
        there.append(slice((n - size) // 2, (n - size) // 2 + size))
    hu[tuple(here)] = np.round(1000 * (relative[tuple(there)] / mu["water"] - 1))
    return hu


def _affine() -> NDArray[np.float64]:
    return np.diag([VOXEL_MM, VOXEL_MM, VOXEL_MM, 1.0])


def _seconds_of_three_rotations(hu: NDArray[np.int16]) -> float:
    begin = time.perf_counter()
    turned = hu
    for degrees, axes in zip(POSE_DEG, ((0, 1), (0, 2), (1, 2)), strict=True):
        turned = ndimage.rotate(turned, degrees, axes=axes, mode="constant", cval=-1000)
    turned.sum(axis=1)
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()

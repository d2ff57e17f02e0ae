"""Path lengths by torch's bilinear sampler: any device that torch knows, no extra library."""

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from dexsearch.physics.geometry import Detector, Pose, Rays, detector_rays, joseph_axis
from dexsearch.physics.projector import Projector, VolumePair

SAMPLES_PER_CHUNK = {"cpu": 2**18, "cuda": 2**24}
"""Bilinear samples in one call: as many as fit a processor's cache, or fill a GPU."""


class TorchProjector(Projector):
    """Joseph's method, slice by slice, in chunks of slices so that memory stays flat."""

    def __init__(self, pair: VolumePair, device: torch.device) -> None:
        """Copy the filled part of both volumes to the device."""
        self._volumes = torch.from_numpy(np.stack((pair.first, pair.second))).to(device)
        self._voxel_mm, self._centre_mm = pair.voxel_mm, pair.centre_mm

    def ray_lengths_cm(
        self, pose_deg: Pose, detector: Detector
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return both lengths of every ray; computed on the projector's device."""
        rays = detector_rays(detector, pose_deg)
        lengths = line_integrals_cm(self._volumes, self._voxel_mm, rays, centre_mm=self._centre_mm)
        first, second = lengths.cpu().numpy()
        return first, second


def line_integrals_cm(
    volume: Float[Tensor, "C D0 D1 D2"],
    voxel_mm: float,
    rays: Rays,
    *,
    centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Float[Tensor, "C H W"]:
    """Integrate every channel along every ray by Joseph's method, on the volume's device.

    The volume is cut into slices across the axis that the rays follow most closely; every ray
    adds one bilinear sample per slice, times its length within the slice. Outside the volume
    counts as empty. `centre_mm` is the volume's centre in the rays' frame.

    Source: Joseph 1982, IEEE Trans. Med. Imaging 1(3):192, doi:10.1109/TMI.1982.4307572.
    """
    along = joseph_axis(rays)
    across = [axis for axis in (2, 1, 0) if axis != along]  # the sampler wants columns first
    device = volume.device
    slices = volume.movedim(along + 1, 0)
    n_slices, _, n_rows, n_columns = slices.shape
    origin = rays.origin_mm - np.asarray(centre_mm)
    slope_np = rays.direction[..., across] / rays.direction[..., along : along + 1]
    start_np = origin[..., across] - origin[..., along : along + 1] * slope_np
    # The sampler's coordinates are -1..1 from edge to edge of a slice.
    scale = 2.0 / (np.array([n_columns, n_rows]) * voxel_mm)
    slope = torch.from_numpy((slope_np * scale).astype(np.float32)).to(device)
    start = torch.from_numpy((start_np * scale).astype(np.float32)).to(device)
    depth_mm = (torch.arange(n_slices, device=device) - (n_slices - 1) / 2.0) * voxel_mm
    total = torch.zeros(volume.shape[0], *start.shape[:2], device=device)
    n_chunk = max(
        1, SAMPLES_PER_CHUNK.get(device.type, SAMPLES_PER_CHUNK["cpu"]) // (start.numel() // 2)
    )
    for first in range(0, n_slices, n_chunk):
        chunk = slice(first, first + n_chunk)
        samples = torch.nn.functional.grid_sample(
            slices[chunk],
            torch.addcmul(start, depth_mm[chunk, None, None, None], slope),
            mode="bilinear",
            padding_mode="zeros",
            align_corners=False,
        )
        total += samples.sum(dim=0)
    per_slice = (0.1 * voxel_mm / np.abs(rays.direction[..., along])).astype(np.float32)
    return total * torch.from_numpy(per_slice).to(device)

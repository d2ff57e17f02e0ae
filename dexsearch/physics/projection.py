"""Two volumes and a pose to path lengths, in parallel or cone beam: one interface, three ways.

`build_projector` copies a pair of volumes once and then makes any view of them. Conventions of
axes, poses and units: `geometry`.
"""

import importlib.util
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float

from dexsearch.physics.parity_projection import ParityProjector
from dexsearch.physics.projector import Projector, filled_pair
from dexsearch.physics.torch_projection import TorchProjector

__all__ = ["Projector", "ProjectorKind", "automatic_kind", "build_projector"]

ProjectorKind = Literal["auto", "torch", "fast", "parity"]

CPU = torch.device("cpu")


def build_projector(
    first: Float[np.ndarray, "D0 D1 D2"],
    second: Float[np.ndarray, "E0 E1 E2"],
    *,
    voxel_mm: float,
    kind: ProjectorKind = "auto",
    device: torch.device = CPU,
) -> Projector:
    """Return what makes views of two volumes, usually soft tissue and cortical bone.

    Args:
        first: fractions of the first material's density.
        second: the same for the second material, on the same grid.
        voxel_mm: side of a cubic voxel.
        kind: `fast` is compiled by numba and runs on the CPU; `torch` runs on any device; both
            use Joseph's method and differ by rounding only. `auto` is `fast` on a CPU where numba
            is installed, else `torch`. `parity` turns the volumes as xray_GAN does: three
            successive splines and a sum, a hundred times slower, parallel beam only.
        device: where `torch` computes.

    Raises:
        ValueError: on an unknown kind, volumes that do not fit together, `fast` without numba, or
            a device that the kind cannot use.
    """
    if kind not in get_args(ProjectorKind):
        raise ValueError(f"got kind {kind!r}; allowed: {', '.join(get_args(ProjectorKind))}")
    has_numba = importlib.util.find_spec("numba") is not None
    if kind == "auto":
        kind = automatic_kind(device)
    if kind != "torch" and device.type != "cpu":
        raise ValueError(f"got {kind!r} on {device}; only 'torch' leaves the CPU, so choose that")
    if kind == "parity":
        return ParityProjector(first, second, voxel_mm=voxel_mm)
    pair = filled_pair(first, second, voxel_mm)
    if kind == "torch":
        return TorchProjector(pair, device)
    if not has_numba:
        raise ValueError("got 'fast', but numba is not installed; install dexsearch[fast]")
    from dexsearch.physics.fast_projection import FastProjector  # noqa: PLC0415  (extra)

    return FastProjector(pair)


def automatic_kind(device: torch.device = CPU) -> ProjectorKind:
    """Return what `auto` stands for here."""
    has_numba = importlib.util.find_spec("numba") is not None
    return "fast" if has_numba and device.type == "cpu" else "torch"

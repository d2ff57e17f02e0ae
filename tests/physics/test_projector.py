"""Which projector is built, and what is refused; what each computes: `test_projection`."""

import numpy as np
import pytest
import torch

from dexsearch.physics import projection
from dexsearch.physics.geometry import Detector
from dexsearch.physics.projection import ProjectorKind, build_projector

KINDS: tuple[ProjectorKind, ...] = ("torch", "fast", "parity")


def test_without_numba_auto_is_torch_and_fast_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = np.ones((4, 4, 4), np.float32)
    assert type(build_projector(volume, volume, voxel_mm=1.0)).__name__ == "FastProjector"
    monkeypatch.setattr(projection.importlib.util, "find_spec", lambda name: None)
    assert type(build_projector(volume, volume, voxel_mm=1.0)).__name__ == "TorchProjector"
    with pytest.raises(ValueError, match=r"install dexsearch\[fast\]"):
        build_projector(volume, volume, voxel_mm=1.0, kind="fast")


@pytest.mark.parametrize("kind", KINDS)
def test_volumes_of_two_shapes_are_refused(kind: ProjectorKind) -> None:
    with pytest.raises(ValueError, match="share one grid"):
        build_projector(
            np.ones((4, 4, 4), np.float32), np.ones((4, 4, 5), np.float32), voxel_mm=1.0, kind=kind
        )


@pytest.mark.parametrize("voxel_mm", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("kind", KINDS)
def test_voxels_without_a_size_are_refused(voxel_mm: float, kind: ProjectorKind) -> None:
    volume = np.ones((4, 4, 4), np.float32)
    with pytest.raises(ValueError, match="above 0 mm"):
        build_projector(volume, volume, voxel_mm=voxel_mm, kind=kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_pose_that_is_no_number_is_refused_by_every_projector(kind: ProjectorKind) -> None:
    volume = np.ones((4, 4, 4), np.float32)
    projector = build_projector(volume, volume, voxel_mm=1.0, kind=kind)
    with pytest.raises(ValueError, match="three finite angles"):
        projector.ray_lengths_cm((0.0, 0.0, float("nan")), Detector(4, 1.0))


@pytest.mark.parametrize("kind", ["fast", "parity"])
def test_only_torch_leaves_the_processor(kind: ProjectorKind) -> None:
    volume = np.ones((4, 4, 4), np.float32)
    with pytest.raises(ValueError, match="only 'torch' leaves the CPU"):
        build_projector(volume, volume, voxel_mm=1.0, kind=kind, device=torch.device("meta"))


def test_a_sum_of_turned_voxels_refuses_a_cone_beam() -> None:
    volume = np.ones((4, 4, 4), np.float32)
    projector = build_projector(volume, volume, voxel_mm=1.0, kind="parity")
    with pytest.raises(ValueError, match="choose 'parallel'"):
        projector.ray_lengths_cm((0.0, 0.0, 0.0), Detector(4, 1.0, "cone"))

"""A view by xray_GAN's recipe: input and targets from sums over CTs at 80, 120 and 140 kV.

The CTs are the patient's own where there are those three, else they are simulated from the two
basis volumes. Sums come from line integrals, or with parity from its three turns of the volume.
"""

import functools

import numpy as np
from numpy.typing import NDArray

from dexsearch.data.volume_sources import Volume
from dexsearch.physics import xray_gan
from dexsearch.physics.attenuation import Material, effective_attenuation_per_cm
from dexsearch.physics.geometry import Detector, Pose, pixel_means
from dexsearch.physics.projection import Projector, build_projector
from dexsearch.volumes.subject import Subject

Image = NDArray[np.float32]

LOW_KVP, INPUT_KVP, HIGH_KVP = 80.0, 120.0, 140.0
VOLTAGES = (LOW_KVP, INPUT_KVP, HIGH_KVP)


def recipe_view(volume: Volume, pose_deg: Pose, detector: Detector) -> tuple[Image, Image, Image]:
    """Return the input, the bone and the tissue image of one view.

    Raises:
        ValueError: where the recipe's logarithm is not defined.
    """
    logs = _turned_logs if volume.parity else _projected_logs
    low, single, high = logs(volume, pose_deg, detector)
    bone, tissue = xray_gan.targets(low, high)
    return _float32(single), _float32(bone), _float32(tissue)


def _projected_logs(
    volume: Volume, pose_deg: Pose, detector: Detector
) -> tuple[NDArray[np.float64], ...]:
    """Return the log images at the three voltages from line integrals."""
    subject = volume.subject
    if _has_scans(subject):
        lengths = [
            image
            for projector in _scan_projectors(volume)
            for image in projector.path_lengths_cm(pose_deg, detector)
        ]
    else:
        soft_cm, bone_cm = volume.lengths.path_lengths_cm(pose_deg, detector)
        lengths = [
            _relative("soft_tissue", kvp) * soft_cm + _relative("cortical_bone", kvp) * bone_cm
            for kvp in VOLTAGES
        ]
    n0, n1, n2 = subject.soft.shape
    return tuple(
        xray_gan.log_image(
            xray_gan.drr_from_lengths(
                image, shape=(n0, n1, n2), voxel_mm=subject.voxel_mm, pose_deg=pose_deg
            )
        )
        for image in lengths[: len(VOLTAGES)]
    )


def _turned_logs(
    volume: Volume, pose_deg: Pose, detector: Detector
) -> tuple[NDArray[np.float64], ...]:
    """Return the log images at the three voltages from its turns, brought onto the detector."""
    voxel_mm = volume.subject.voxel_mm
    images = []
    for kvp in VOLTAGES:
        hu = _hounsfield(volume, kvp)
        n0, n1, n2 = hu.shape
        drr = xray_gan.drr_on_detector(
            xray_gan.rotated_sum(hu, pose_deg),
            shape=(n0, n1, n2),
            voxel_mm=voxel_mm,
            pose_deg=pose_deg,
            detector=detector,
        )
        images.append(xray_gan.log_image(pixel_means(drr, detector.supersample)))
    return tuple(images)


@functools.lru_cache(maxsize=1)
def _scan_projectors(volume: Volume) -> tuple[Projector, Projector]:
    """Return projectors of the real CTs: 80 and 120 kV, 140 kV and nothing."""
    scans, voxel_mm = volume.subject.scans, volume.subject.voxel_mm
    return (
        build_projector(scans[LOW_KVP], scans[INPUT_KVP], voxel_mm=voxel_mm),
        build_projector(scans[HIGH_KVP], np.zeros_like(scans[HIGH_KVP]), voxel_mm=voxel_mm),
    )


@functools.lru_cache(maxsize=len(VOLTAGES))
def _hounsfield(volume: Volume, kvp: float) -> NDArray[np.int16]:
    """Return a CT as a scanner stores it, in whole HU."""
    subject = volume.subject
    if _has_scans(subject):
        relative = subject.scans[kvp]
    else:
        relative = (
            _relative("soft_tissue", kvp) * subject.soft
            + _relative("cortical_bone", kvp) * subject.bone
        )
    return np.round(1000.0 * (relative - 1.0)).astype(np.int16)


def _has_scans(subject: Subject) -> bool:
    return all(kvp in subject.scans for kvp in VOLTAGES)


@functools.cache
def _relative(material: Material, kvp: float) -> float:
    """Return mu of a material over that of water, in a CT of that tube voltage."""
    water = effective_attenuation_per_cm("water", kvp)
    return effective_attenuation_per_cm(material, kvp) / water


def _float32(image: NDArray[np.float64]) -> Image:
    return image.astype(np.float32)

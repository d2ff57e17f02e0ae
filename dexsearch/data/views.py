"""One view of a volume as a sample: exposure, targets, mask, and where the tumour is in it.

Targets are free of scatter and blur, and clean unless a target dose is given.

Targets  basis      mean path lengths of a pixel in cm; with a target dose, those that a 4th-order
                    polynomial finds from two noisy exposures
         wls        weighted log subtraction of two exposures, weights from the spectra
         xray-gan   input and targets by the recipe of xray_GAN, see `physics.xray_gan`
"""

import functools
import zlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from dexsearch.config.data import ImagingConfig
from dexsearch.data.image_info import Tumour
from dexsearch.data.recipe import recipe_view
from dexsearch.data.samples import Sample
from dexsearch.data.volume_sources import Volume
from dexsearch.physics.detector import log_projections
from dexsearch.physics.dual_energy import (
    Decomposition,
    Weights,
    bone_image,
    cancelling_weights,
    fit_decomposition,
    soft_image,
)
from dexsearch.physics.exposure import Exposure
from dexsearch.physics.geometry import Detector, Pose, detector_position_mm, pixel_means
from dexsearch.volumes.subject import Subject

BODY_ABOVE_CM = 0.5

Image = NDArray[np.float32]
TargetKind = Literal["basis", "wls", "xray-gan"]
UNITS = {
    "basis": {"input": "-ln(I/I0)", "bone": "cm", "tissue": "cm"},
    "wls": {"input": "-ln(I/I0)", "bone": "w_s p_low - p_high", "tissue": "p_high - w_b p_low"},
    "xray-gan": dict.fromkeys(("input", "bone", "tissue"), "10 ln(s / max s)"),
}


@dataclass(frozen=True, slots=True)
class Imaging:
    """How every view of a dataset is exposed, and what its targets are."""

    detector: Detector
    exposure: Exposure
    targets: TargetKind
    low: Exposure
    high: Exposure
    noisy_targets: bool

    @classmethod
    def of(cls, config: ImagingConfig, *, field_mm: float) -> "Imaging":
        """Return the imaging that a configuration asks for, on a field of view in mm."""
        low, high = (
            Exposure(
                kvp=kvp,
                dose_mas=config.target_dose_mas or config.dose_mas,
                electronic_noise_kev=config.electronic_noise_kev,
                filters_mm=tuple(sorted(config.filters_mm.items())),
            )
            for kvp in config.pair_kvp
        )
        return cls(
            detector=Detector(
                size_px=config.size_px,
                pixel_mm=field_mm / config.size_px,
                geometry=config.geometry,
            ),
            exposure=Exposure(
                kvp=config.kvp,
                dose_mas=config.dose_mas,
                scatter_to_primary=config.scatter,
                blur_mm=config.blur_mm,
                electronic_noise_kev=config.electronic_noise_kev,
                filters_mm=tuple(sorted(config.filters_mm.items())),
            ),
            targets=config.targets,
            low=low,
            high=high,
            noisy_targets=config.target_dose_mas is not None,
        )

    @property
    def lengths_are_targets(self) -> bool:
        """Whether the clean path lengths are the targets themselves."""
        return self.targets == "basis" and not self.noisy_targets


def view_sample(
    volume: Volume, pose_deg: Pose, imaging: Imaging, *, seed: tuple[int, int]
) -> Sample:
    """Return one view; the same volume, pose, imaging and seed give the same images."""
    subject, detector = volume.subject, imaging.detector
    lengths = volume.lengths.ray_lengths_cm(pose_deg, detector)
    soft, bone = (np.maximum(length, 0.0) for length in lengths)  # splines of parity overshoot
    soft_cm, bone_cm = (pixel_means(rays, detector.supersample) for rays in (soft, bone))
    edges = None
    if imaging.targets == "xray-gan":
        images = recipe_view(volume, pose_deg, detector)
    else:
        noise = _Noise(seed, str(pose_deg))
        rays = torch.from_numpy(soft)[None], torch.from_numpy(bone)[None]
        images = (
            _exposed(rays, imaging.exposure, detector, noise.stream(0)),
            *_targets(rays, (soft_cm, bone_cm), imaging, noise),
        )
        if detector.supersample > 1:
            edges = _edges(rays, (soft_cm, bone_cm), imaging.exposure, detector)
    keep_lengths = imaging.targets != "xray-gan" and not imaging.lengths_are_targets
    whole = volume.ends.seen_whole(pose_deg, detector)
    return Sample(
        subject=subject.name,
        pose_deg=pose_deg,
        input=images[0],
        bone=images[1],
        tissue=images[2],
        mask=(soft_cm + bone_cm > BODY_ABOVE_CM) & whole,
        soft_cm=soft_cm if keep_lengths else None,
        bone_cm=bone_cm if keep_lengths else None,
        edges=edges,
        tumour=_tumour(subject, pose_deg, detector),
    )


@dataclass(frozen=True, slots=True)
class _Noise:
    """Independent noise for each exposure of one view."""

    seed: tuple[int, int]
    view: str

    def stream(self, exposure: int) -> torch.Generator:
        entropy = np.random.SeedSequence([*self.seed, zlib.crc32(self.view.encode()), exposure])
        return torch.Generator().manual_seed(int(entropy.generate_state(1, np.uint64)[0] >> 1))


def _exposed(
    rays: tuple[torch.Tensor, torch.Tensor],
    exposure: Exposure,
    detector: Detector,
    rng: torch.Generator | None,
) -> Image:
    image = log_projections(
        *rays, exposure, detector=detector, rays_per_pixel=detector.supersample, rng=rng
    )
    return np.asarray(image[0].numpy(), dtype=np.float32)


def _edges(
    rays: tuple[torch.Tensor, torch.Tensor],
    means_cm: tuple[Image, Image],
    exposure: Exposure,
    detector: Detector,
) -> Image:
    """Return how much lower the exposure of all rays is than that of their mean lengths."""
    soft, bone = (torch.from_numpy(length)[None] for length in means_cm)
    smooth = log_projections(soft, bone, exposure, detector=detector, rays_per_pixel=1, rng=None)
    return _image(smooth[0]) - _exposed(rays, exposure, detector, None)


def _targets(
    rays: tuple[torch.Tensor, torch.Tensor],
    lengths_cm: tuple[Image, Image],
    imaging: Imaging,
    noise: _Noise,
) -> tuple[Image, Image]:
    """Return the bone and the tissue target."""
    if imaging.lengths_are_targets:
        return lengths_cm[1], lengths_cm[0]
    low, high = (
        torch.from_numpy(
            _exposed(
                rays,
                exposure,
                imaging.detector,
                noise.stream(stream) if imaging.noisy_targets else None,
            )
        )
        for stream, exposure in ((1, imaging.low), (2, imaging.high))
    )
    if imaging.targets == "basis":
        soft_cm, bone_cm = _decomposition(imaging.low, imaging.high).thickness_cm(low, high)
        return _image(bone_cm), _image(soft_cm)
    weights = _weights(imaging.low, imaging.high)
    return (
        _image(bone_image(low, high, weights.soft_cancelling)),
        _image(soft_image(low, high, weights.bone_cancelling)),
    )


@functools.cache
def _decomposition(low: Exposure, high: Exposure) -> Decomposition:
    """Fit once for all views."""
    return fit_decomposition(low, high)


@functools.cache
def _weights(low: Exposure, high: Exposure) -> Weights:
    """Compute once for all views."""
    return cancelling_weights(low, high)


def _image(tensor: torch.Tensor) -> Image:
    return np.asarray(tensor.numpy(), dtype=np.float32)


def _tumour(subject: Subject, pose_deg: Pose, detector: Detector) -> Tumour | None:
    """Return where the subject's tumour lies in a view; None where its place is not known."""
    if subject.tumour_centre_mm is None or subject.tumour_diameter_mm is None:
        return None
    centre = np.array([subject.tumour_centre_mm])
    row, column = detector_position_mm(centre, pose_deg, detector)[0] / detector.pixel_mm
    middle = (detector.size_px - 1) / 2
    return Tumour(
        centre_mm=subject.tumour_centre_mm,
        diameter_mm=subject.tumour_diameter_mm,
        row_px=float(row) + middle,
        column_px=float(column) + middle,
    )

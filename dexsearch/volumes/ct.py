"""A CT in Hounsfield units as a two-basis volume.

    mu = mu_water (1 + HU / 1000)
    HU <= 150   all soft tissue, its density scaled
    HU > 150    bone fraction (HU - 150) / (HU_cortical - 150), the rest soft tissue

Both mu and HU_cortical are those of the CT's own tube voltage, so mu is reproduced exactly there.
The split is continuous: hard labels would leave the spine in the soft image. Contrast agent above
150 HU counts as bone.
"""

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import nibabel
import numpy as np
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray
from scipy import ndimage

from dexsearch.errors import DataError
from dexsearch.physics.attenuation import cortical_bone_hu, effective_attenuation_per_cm
from dexsearch.volumes.subject import Subject

BONE_FROM_HU = 150.0
AIR_BELOW_HU = -500.0
BODY_ABOVE_HU = -400.0
NIFTI_ENDINGS = (".nii.gz", ".nii")
VOXEL_RANGE_MM = (0.1, 20.0)
CHUNK_BYTES = 2**20
HOUNSFIELD_HINT = (
    "give a CT in Hounsfield units (air about -1000, water 0); convert the series "
    "with its rescale slope and intercept"
)


def ct_name(path: Path) -> str:
    """Return the subject's name: the file's name without its ending."""
    for ending in NIFTI_ENDINGS:
        if path.name.endswith(ending):
            return path.name.removesuffix(ending)
    raise DataError(f"{path} is not a NIfTI file", hint="give a .nii or .nii.gz file")


def ct_extent_mm(path: Path) -> tuple[float, float, float]:
    """Return the extent from head to feet, front to back and right to left; reads the header."""
    image = _open(path)
    stored = [n * size for n, size in zip(image.shape[:3], _spacing_mm(image), strict=True)]
    axes = _patient_axes(image)
    right, front, up = (stored[axes.index(axis)] for axis in range(3))
    return up, front, right


def ct_sha256(path: Path) -> str:
    """Return the sha256 of the unpacked file, so that packing again does not change it."""
    _open(path)
    whole = hashlib.sha256()
    with _damage_told(path), (gzip.open if path.suffix == ".gz" else open)(path, "rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            whole.update(chunk)
    return whole.hexdigest()


def load_ct(path: Path, *, kvp: float = 120.0, voxel_mm: float | None = None) -> Subject:
    """Read a NIfTI CT, take the table away, and split it into the two bases.

    Args:
        path: a `.nii` or `.nii.gz` file in Hounsfield units, any axis order.
        kvp: the CT's tube voltage, 60..140.
        voxel_mm: side of the cubic voxels; None: the file's finest spacing. Never finer than
            the file.

    Raises:
        DataError: if the file is missing, unreadable, not three-dimensional or not a CT.
    """
    header = _open(path)
    with _damage_told(path):
        _check_gzip(path)
        image = nibabel.as_closest_canonical(header)  # type: ignore[no-untyped-call]
        hu = np.asarray(image.dataobj, dtype=np.float32)
    hu = hu.reshape(hu.shape[:3])
    _refuse_what_is_not_hu(path, hu)
    # Canonical axes run left to right, back to front, feet to head; ours the other way round.
    hu = np.ascontiguousarray(hu.transpose(2, 1, 0)[::-1, ::-1, ::-1])
    hu[~body_mask(hu)] = -1000.0
    soft, bone = two_bases(hu, kvp=kvp)
    spacing = _spacing_mm(image)[::-1]
    side = max(min(spacing), voxel_mm or 0.0)
    return Subject(
        name=ct_name(path),
        soft=_cubic(soft, spacing, side),
        bone=_cubic(bone, spacing, side),
        voxel_mm=side,
    )


def two_bases(
    hu: NDArray[np.float32], *, kvp: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Split Hounsfield numbers into fractions of soft tissue and cortical bone.

    Raises:
        ValueError: if the tube voltage lies outside 60..140 kVp.
    """
    mu_water = effective_attenuation_per_cm("water", kvp)
    water_in_soft = mu_water / effective_attenuation_per_cm("soft_tissue", kvp)
    water_in_bone = mu_water / effective_attenuation_per_cm("cortical_bone", kvp)
    cortical_hu = cortical_bone_hu(kvp)
    relative = np.maximum(1.0 + hu / 1000.0, 0.0)
    share = np.clip((hu - BONE_FROM_HU) / (cortical_hu - BONE_FROM_HU), 0.0, 1.0)
    bone = np.where(hu > cortical_hu, relative * water_in_bone, share)
    soft = np.where(share > 0.0, (1.0 - share) * (1.0 + BONE_FROM_HU / 1000.0), relative)
    return (soft * water_in_soft).astype(np.float32), bone.astype(np.float32)


def body_mask(hu: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the largest body above -400 HU, holes filled slice by slice; leaves the table out."""
    labels, n_parts = ndimage.label(hu > BODY_ABOVE_HU)
    if n_parts == 0:
        return np.zeros(hu.shape, dtype=np.bool_)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    body = labels == int(sizes.argmax())
    return np.stack([ndimage.binary_fill_holes(row) for row in body])


def _open(path: Path) -> SpatialImage:
    ct_name(path)
    if not path.is_file():
        raise DataError(f"no such CT: {path}", hint="check the path")
    try:
        image = cast("SpatialImage", nibabel.load(path))
    except (nibabel.filebasedimages.ImageFileError, OSError, EOFError, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise DataError(f"{path} is not a readable NIfTI file: {reason}") from None
    if len(image.shape) < 3 or any(size > 1 for size in image.shape[3:]) or min(image.shape) < 1:
        raise DataError(
            f"{path} has the shape {'x'.join(map(str, image.shape))}; a CT volume has three axes",
            hint="give one volume, not a slice, a colour image or a time series",
        )
    zooms = _spacing_mm(image)
    low, high = VOXEL_RANGE_MM
    if not all(low <= size <= high for size in zooms):
        raise DataError(
            f"{path} has voxels of {' x '.join(f'{size:g}' for size in zooms)} mm; allowed are "
            f"{low:g}..{high:g} mm",
            hint="correct the voxel size in the file's header",
        )
    if sorted(_patient_axes(image)) != [0, 1, 2]:
        raise DataError(
            f"{path} does not say how its axes lie in the patient (its affine has no three axes)",
            hint="convert the series again, with its orientation",
        )
    return image


def _patient_axes(image: SpatialImage) -> list[float]:
    """Return the patient's axis (0 right, 1 front, 2 head) of every stored axis."""
    orientation = nibabel.orientations.io_orientation(image.affine)  # type: ignore[no-untyped-call]
    return [float(axis) for axis in orientation[:, 0]]


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    """Tell a file that breaks off or does not unpack as what it is."""
    try:
        yield
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}", hint="copy the file again") from None


def _check_gzip(path: Path) -> None:
    """Read a packed file to its end, where its checksum stands; nibabel stops before."""
    if path.suffix == ".gz":
        with gzip.open(path) as stream:
            while stream.read(CHUNK_BYTES):
                pass


def _spacing_mm(image: SpatialImage) -> tuple[float, ...]:
    return tuple(float(size) for size in image.header.get_zooms()[:3])


def _refuse_what_is_not_hu(path: Path, hu: NDArray[np.float32]) -> None:
    if not np.isfinite(hu).all():
        n_bad = int(hu.size - np.isfinite(hu).sum())
        raise DataError(
            f"{path} holds {n_bad} values that are NaN or infinite", hint=HOUNSFIELD_HINT
        )
    low, high = float(hu.min()), float(hu.max())
    if low > AIR_BELOW_HU or high < BODY_ABOVE_HU:
        raise DataError(
            f"{path} holds values from {low:g} to {high:g}; a chest CT in Hounsfield units has "
            f"air below {AIR_BELOW_HU:g} and tissue above {BODY_ABOVE_HU:g}",
            hint=HOUNSFIELD_HINT,
        )


def _cubic(
    fraction: NDArray[np.float32], spacing_mm: tuple[float, ...], side_mm: float
) -> NDArray[np.float32]:
    """Resample to cubic voxels, smoothing first where an axis becomes coarser."""
    factors = [size / side_mm for size in spacing_mm]
    if all(abs(factor - 1.0) < 1e-3 for factor in factors):
        return fraction
    sigma = [0.4 * np.sqrt(max((1.0 / factor) ** 2 - 1.0, 0.0)) for factor in factors]
    smooth = ndimage.gaussian_filter(fraction, sigma, mode="nearest")
    n_out = [max(1, round(n * factor)) for n, factor in zip(fraction.shape, factors, strict=True)]
    scale = [1.0 / factor for factor in factors]
    offset = [
        0.5 * (n - 1) - 0.5 * (m - 1) * step
        for n, m, step in zip(fraction.shape, n_out, scale, strict=True)
    ]
    resampled = ndimage.affine_transform(
        smooth, scale, offset, output_shape=tuple(n_out), order=1, mode="nearest"
    )
    return np.asarray(resampled, dtype=np.float32)

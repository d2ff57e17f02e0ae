"""NIfTI volumes (`.nii`, `.nii.gz`); RAS coordinates inside, as the format has it."""

import gzip
import zlib
from pathlib import Path
from typing import cast

import nibabel
import numpy as np
from nibabel.spatialimages import SpatialImage

from dexsearch.errors import DataError
from dexsearch.volumes.axes import centre_lps_mm, orientation_of
from dexsearch.volumes.scan import (
    ScanHeader,
    ScanReader,
    Voxels,
    damage_told,
    exact_voxels,
    refuse_absurd_grid,
)

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0])

DAMAGE = (
    *(OSError, EOFError, ValueError, zlib.error),
    nibabel.filebasedimages.ImageFileError,
    nibabel.spatialimages.HeaderDataError,
    nibabel.spatialimages.ImageDataError,
)
"""What nibabel raises on a broken header."""


class NiftiReader(ScanReader):
    """A NIfTI file with any axis order; axes of length one after the third are dropped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._image = _open(path)
        stored = self._image.shape
        if any(size > 1 for size in stored[3:]):
            refuse_absurd_grid(path, stored, ())
        zooms = tuple(float(size) for size in self._image.header.get_zooms()[:3])
        refuse_absurd_grid(path, stored[:3], zooms)
        shape = (stored[0], stored[1], stored[2])
        steps = LPS_FROM_RAS @ np.asarray(self._image.affine, dtype=np.float64)[:3]
        try:
            self._orientation = orientation_of(steps[:, :3])
        except ValueError as error:
            raise DataError(
                f"{path} {error}", hint="convert the series again, with its orientation"
            ) from None
        self.header = ScanHeader(
            shape=self._orientation.sorted(shape),
            spacing_mm=self._orientation.sorted((zooms[0], zooms[1], zooms[2])),
            centre_mm=centre_lps_mm(steps[:, 3], steps[:, :3], shape),
        )

    def values(self) -> Voxels:
        """Read to the end, where a packed file's checksum stands; nibabel stops before."""
        with damage_told(self.path):
            image = self._image
            if self.path.suffix == ".gz":
                with gzip.open(self.path) as stream:
                    image = type(image).from_bytes(stream.read())  # type: ignore[attr-defined]
            stored = np.asanyarray(image.dataobj)
        return exact_voxels(self.path, self._orientation.turned(stored.reshape(stored.shape[:3])))


def _open(path: Path) -> SpatialImage:
    try:
        return cast("SpatialImage", nibabel.load(path))
    except DAMAGE as error:
        reason = str(error) or type(error).__name__
        raise DataError(f"{path} is not a readable NIfTI file: {reason}") from None

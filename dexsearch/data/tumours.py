"""Known tumours of a subset as tensors: where they lie in each view and how large they appear.

Axes  N images. NaN where an image has no tumour whose place is known.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dexsearch.data.image_info import ImageInfo
from dexsearch.physics.geometry import SOURCE_AXIS_MM, Geometry, rotation_matrix


@dataclass(frozen=True, slots=True)
class Tumours:
    """One tumour per image, or NaN."""

    row_px: Float[Tensor, " N"]
    """Row of the centre; pixel centres are whole numbers."""

    column_px: Float[Tensor, " N"]
    """Column of the same."""

    diameter_px: Float[Tensor, " N"]
    """Diameter as it appears on the detector."""

    pixel_mm: Float[Tensor, " N"]
    """How many mm of the body one pixel shows at the tumour's depth."""

    def __getitem__(self, part: slice) -> "Tumours":
        """Return those of some images."""
        return Tumours(*(getattr(self, field.name)[part] for field in fields(self)))

    @property
    def known(self) -> Tensor:
        """Which images have one."""
        return self.diameter_px.isfinite()


def tumours_of(
    infos: Sequence[ImageInfo],
    *,
    pixel_mm: float | None,
    geometry: Geometry,
    device: torch.device,
) -> Tumours:
    """Return the tumours of some images.

    A cone beam magnifies what lies nearer to the source; parallel beams show everything as it is.

    Args:
        infos: the images, in the order of the arrays.
        pixel_mm: pixel spacing at the isocentre; without it nothing is known in pixels.
        geometry: of the beam.
        device: where the tensors live.
    """
    rows = [_row(info, pixel_mm, geometry) for info in infos]
    table = torch.tensor(rows, dtype=torch.float32, device=device).reshape(-1, 4)
    return Tumours(*table.unbind(dim=1))


def _row(
    info: ImageInfo, pixel_mm: float | None, geometry: Geometry
) -> tuple[float, float, float, float]:
    tumour = info.tumour
    if tumour is None or pixel_mm is None:
        return (float("nan"),) * 4
    magnified = 1.0
    if geometry == "cone":
        depth_mm = float(np.array(tumour.centre_mm) @ rotation_matrix(info.pose_deg)[:, 1])
        magnified = SOURCE_AXIS_MM / (SOURCE_AXIS_MM + depth_mm)
    there_mm = pixel_mm / magnified
    return tumour.row_px, tumour.column_px, tumour.diameter_mm / there_mm, there_mm

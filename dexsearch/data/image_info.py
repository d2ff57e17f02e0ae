"""One image of a dataset: whose it is, from where it was seen, and where its tumour is."""

from dataclasses import dataclass
from typing import Any

from dexsearch.data.splits import Pose


@dataclass(frozen=True, slots=True)
class Tumour:
    """A tumour whose place is known.

    Attributes:
        centre_mm: position in the volume's frame, relative to its centre.
        diameter_mm: of the sphere of equal volume.
        row_px: row of the centre in this view, fractional; pixel centres are whole numbers.
        column_px: column of the same.
    """

    centre_mm: tuple[float, float, float]
    diameter_mm: float
    row_px: float
    column_px: float


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """One image: whose, from where it was seen, and where its tumour is.

    Attributes:
        subject: name of the anatomy.
        pose_deg: rotation angles about x, y and z.
        name: of the image where the pose alone does not name it, else empty.
        tumour: None where there is none or its place is not known.
    """

    subject: str
    pose_deg: Pose
    name: str = ""
    tumour: Tumour | None = None

    @property
    def label(self) -> str:
        """How messages call this image."""
        return image_label(self.subject, self.pose_deg, self.name)


def image_label(subject: str, pose_deg: Pose, name: str = "") -> str:
    """Return how messages call an image: by its name, or by its pose."""
    angles = ", ".join(f"{angle:g}" for angle in pose_deg)
    return f"{subject} {name}" if name else f"{subject} at {angles} degrees"


def image_info_from(entry: dict[str, Any]) -> ImageInfo:
    """Read one image of a manifest or a journal.

    Raises:
        KeyError, TypeError, ValueError: on entries that are not those of an image.
    """
    tumour = entry["tumour"]
    return ImageInfo(
        subject=str(entry["subject"]),
        pose_deg=_three(entry["pose_deg"]),
        name=str(entry["name"]),
        tumour=None if tumour is None else _tumour_from(tumour),
    )


def _tumour_from(entry: dict[str, Any]) -> Tumour:
    return Tumour(**{**entry, "centre_mm": _three(entry["centre_mm"])})


def _three(values: list[Any]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z

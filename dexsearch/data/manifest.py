"""The manifest of a dataset folder: what is in it, how it was made, and its digest.

docs/dataset.md describes the folder for readers in other languages.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from dexsearch.data.image_info import ImageInfo

FORMAT = 2
MANIFEST_NAME = "manifest.json"
TARGETS = ("bone", "tissue")
PATH_LENGTH_ARRAYS = ("soft_cm", "bone_cm")
EDGES = "edges"
"""Name of the array that says what edges within a pixel let through (exponential edge gradient).

A clean exposure of a pixel's mean path lengths less the clean input, in log units, positive as a
rule; float16. It is there where the input is a simulated exposure and a pixel has several rays.
A fresh exposure of the stored path lengths less `edges` is what the rays themselves would give.
"""

ArrayType = Literal["float32", "float16", "bool"]


@dataclass(frozen=True, slots=True)
class PathLengths:
    """Which arrays hold the clean path lengths in cm of the two basis materials."""

    soft: str
    bone: str


@dataclass(frozen=True, slots=True)
class Origin:
    """How a dataset came about; two requests with equal origins ask for the same dataset.

    Attributes are those of `Manifest` of the same names.
    """

    kind: str
    pixel_mm: float | None
    units: dict[str, str]
    split_rule: str
    source: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything that a dataset folder says about itself.

    Attributes:
        format: version of this layout.
        kind: `phantom`, `ct` or `import`.
        digest: sha256 over the array files, the images of each subset, the size and the
            constants below; the dataset's identity.
        checksum: sha256 over everything else in this manifest.
        size_px: rows and columns of every image.
        pixel_mm: pixel spacing at the isocentre, None where it is not known.
        input_mean: mean of the inputs over the mask pixels of the training images.
        input_std: standard deviation of the same.
        data_ranges: per target, the 99.9th minus the 0.1th percentile over the same; of the clean
            path lengths where the target is a noisy measurement of them in cm.
        units: unit of `input`, `bone` and `tissue`.
        arrays: type of every array by its name; imported data may lack a target, and `edges` are
            there only for simulated exposures.
        path_lengths: where the path lengths are, None for data without.
        split_rule: how the subsets were chosen, for a person.
        images: images of each subset, in the order of the arrays.
        left_out: number of images that were given but left out: in a `guard_band` between blocks
            of poses, or `unusable` because too little of the body is in view.
        files: sha256 of each array file by its path within the folder.
        source: how the images were made (seed, beam, geometry, ...).
        made_with: what code made them (version of dexsearch, projector, ...).
    """

    format: int
    kind: str
    digest: str
    checksum: str
    size_px: tuple[int, int]
    pixel_mm: float | None
    input_mean: float
    input_std: float
    data_ranges: dict[str, float]
    units: dict[str, str]
    arrays: dict[str, ArrayType]
    path_lengths: PathLengths | None
    split_rule: str
    images: dict[str, tuple[ImageInfo, ...]]
    left_out: dict[str, int]
    files: dict[str, str]
    source: dict[str, Any]
    made_with: dict[str, str]

    @property
    def n_images(self) -> int:
        """Number of images in all subsets."""
        return sum(len(infos) for infos in self.images.values())

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets that the dataset holds, in the order of `TARGETS`."""
        return tuple(name for name in TARGETS if name in self.arrays)

    def subjects(self, subset: str) -> tuple[str, ...]:
        """Return the distinct subjects of one subset, in the order of the arrays."""
        return tuple(dict.fromkeys(info.subject for info in self.images[subset]))

    @property
    def digest_of_contents(self) -> str:
        """The digest that the other attributes lead to."""
        constants = {"input_mean": self.input_mean, "input_std": self.input_std}
        ranges = {f"data_range/{name}": value for name, value in self.data_ranges.items()}
        return dataset_digest(self.files, self.images, self.size_px, constants | ranges)

    @property
    def checksum_of_contents(self) -> str:
        """The checksum that the other attributes lead to."""
        values = {key: value for key, value in asdict(self).items() if key != "checksum"}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    @property
    def is_unchanged(self) -> bool:
        """Whether every entry is what was written."""
        return (
            self.digest == self.digest_of_contents and self.checksum == self.checksum_of_contents
        )

    @property
    def one_volume(self) -> bool:
        """Whether subsets share a subject, so that scores say little about other people."""
        return not set(self.subjects("train")).isdisjoint(self.subjects("validation"))

    @property
    def origin(self) -> Origin:
        """How the dataset came about."""
        return Origin(self.kind, self.pixel_mm, self.units, self.split_rule, self.source)

    def to_json(self) -> str:
        """Return the text of `manifest.json`."""
        return json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"


def dataset_digest(
    files: Mapping[str, str],
    images: Mapping[str, tuple[ImageInfo, ...]],
    size_px: tuple[int, int],
    constants: Mapping[str, float],
) -> str:
    """Return the sha256 that identifies a dataset, its bytes and the constants of its scores.

    It names no place and no time. Processors may round differently, so the same request made on
    another machine can get another digest; a copy keeps it.
    """
    listing = {
        "files": sorted(files.items()),
        "images": {
            subset: [_identity(info) for info in infos] for subset, infos in images.items()
        },
        "size_px": list(size_px),
        "constants": dict(constants),
    }
    return hashlib.sha256(json.dumps(listing, sort_keys=True).encode()).hexdigest()


def _identity(info: ImageInfo) -> list[Any]:
    """Return what the digest takes of an image; names and tumours only where there are some."""
    parts: list[Any] = [info.subject, list(info.pose_deg)]
    if info.name or info.tumour:
        parts.append(info.name)
    if info.tumour:
        parts.append(asdict(info.tumour))
    return parts


def as_json_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `values` become on their way through JSON (tuples become lists)."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(values)))
    return plain

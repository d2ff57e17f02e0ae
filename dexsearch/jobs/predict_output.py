"""What `dexsearch predict` writes of one image: the targets in the kind of the input."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dexsearch.jobs.predict_files import Item

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dexsearch.inference.package import GeneratorCard

    Images = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Maker:
    """Who predicted: what every file may say about its origin."""

    card: "GeneratorCard"
    name: str
    """Name and version of the generator."""
    weights_sha256: str


def planned_files(item: Item, kind: str, maker: Maker, *, compare: bool) -> tuple[Path, ...]:
    """Return every file that an image will give, in order."""
    files = [file for target in maker.card.targets for file in item.files(target, kind)]
    return (*files, item.comparison) if compare else tuple(files)


def write_targets(
    item: Item, kind: str, predicted: "Images", maker: Maker, *, source_sha256: str, detail: str
) -> None:
    """Write every target in the kind of file that was asked for.

    .npy holds the values, with a PNG to look at beside it, which is clipped to what suits a
    screen. PNG and TIFF alone hold 16 bits from the smallest value, or 0 if that is above, to the
    largest, so nothing is clipped; both ends stand in the file. DICOM: see `dicom_writing`.
    """
    for target, image in predicted.items():
        files = item.files(target, kind)
        if kind == "dicom":
            _write_dicom(item, files[0], target, image, maker, source_sha256, detail)
        else:
            _write_plain(files, kind, image, maker.card.units.get(target, ""))


def write_comparison(
    item: Item, image: "NDArray[np.float32]", predicted: "Images", maker: Maker
) -> None:
    """Write input and targets side by side."""
    from dexsearch.figures.side_by_side import write_side_by_side
    from dexsearch.wording import printable

    heading = printable(f"{item.source.name} by {maker.name}")
    write_side_by_side(item.comparison, image, predicted, units=maker.card.units, heading=heading)


def _write_plain(
    files: tuple[Path, ...], kind: str, image: "NDArray[np.float32]", unit: str
) -> None:
    from dexsearch.figures.side_by_side import thickness_window
    from dexsearch.images.writing import write_npy, write_png, write_tiff

    if kind == "npy":
        write_npy(files[0], image)
        write_png(files[1], image, window=thickness_window(image, unit))
        return
    low = min(0.0, float(image.min()))
    window = (low, max(float(image.max()), low + 1e-3))
    (write_png if kind == "png" else write_tiff)(files[0], image, window=window)


def _write_dicom(
    item: Item, file: Path, target: str, image: "NDArray[np.float32]", maker: Maker,
    source_sha256: str, detail: str,
) -> None:  # fmt: skip
    from dexsearch.figures.side_by_side import thickness_window
    from dexsearch.images.dicom_file import read_dicom_header
    from dexsearch.images.dicom_writing import Derivation, write_derived_dicom

    unit = maker.card.units.get(target, "")
    made = Derivation(
        target=target, unit=unit, model=maker.name, weights_sha256=maker.weights_sha256,
        source_sha256=source_sha256, detail=detail,
    )  # fmt: skip
    window = thickness_window(image, unit)
    source = read_dicom_header(item.source)
    write_derived_dicom(file, image, source=source, made=made, window=window)

"""What `dexsearch predict` does: a model and an image in, bone and tissue images out."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dexsearch import DISCLAIMER
from dexsearch.errors import DataError
from dexsearch.inference.package import MANIFEST, Package, open_package
from dexsearch.registry.record import read_registry
from dexsearch.registry.store import open_registered

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dexsearch.inference.predict import Predictor

SUFFIXES = (".npy", ".png")
STRANGE_DEVIATIONS = 6.0
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Prediction:
    """What was predicted, by which generator, and where it was written."""

    model: str
    study: str
    trial: int
    sha256: str
    input: Path
    size_px: tuple[int, int]
    units: dict[str, str]
    files: tuple[Path, ...]

    def as_json(self) -> dict[str, Any]:
        """Return what `--format json` prints."""
        return {
            "model": self.model,
            "study": self.study,
            "trial": self.trial,
            "sha256": self.sha256,
            "input": str(self.input),
            "size_px": list(self.size_px),
            "units": self.units,
            "files": [str(file) for file in self.files],
        }

    def __str__(self) -> str:
        """Return the text for people: one file a line."""
        return "\n".join(str(file) for file in self.files)


def predict_image(
    model: str, image_path: Path, output: Path, *, workspace: Path, tell: Tell
) -> Prediction:
    """Predict the targets of one image and write them as .npy and, to look at, as PNG.

    Args:
        model: `name@alias`, `name/version`, `name` (its champion), or a package folder.
        image_path: .npy in the unit of the training inputs, or a grey .png, .tif or DICOM image.
        output: a folder, where files are named after the input; or a path that ends in .npy or
            .png, which gives the stem of the files' names.
        workspace: where the registry is.
        tell: is given what the user should know, one line each.

    Raises:
        NotRegistered: if the registry holds no such model.
        DataError: if the package or the image cannot be used; nothing is written.
    """
    from dexsearch.images.reading import read_header, read_image
    from dexsearch.inference.predict import load_predictor

    package = _open_model(model, workspace)
    image = read_image(image_path)
    for warning in read_header(image_path).warnings:
        tell(f"warning: {image_path.name}: {warning}")
    predictor = load_predictor(package)
    predicted = predictor.predict(_with_units(image, image_path, predictor, tell))
    files = _write(_stem(image_path, output), predicted, predictor)
    tell(DISCLAIMER)
    card = package.card
    return Prediction(
        model=model, study=card.study, trial=card.trial, sha256=package.sha256, input=image_path,
        size_px=(image.shape[0], image.shape[1]),
        units={target: card.units.get(target, "") for target in card.targets}, files=files,
    )  # fmt: skip


def _open_model(model: str, workspace: Path) -> Package:
    """Open a registered generator, or the package folder that `model` is."""
    names = read_registry(workspace).names
    folder = Path(model)
    if model and folder.is_dir() and model not in names:
        if not (folder / MANIFEST).is_file():
            raise DataError(
                f"{model!r} is a folder without {MANIFEST}, so no generator package",
                hint=f"dexsearch best --download {shlex.quote(model)}-generator makes one",
            )
        return open_package(folder)
    return open_registered(workspace, model)


def _with_units(
    image: "NDArray[np.float32]", path: Path, predictor: "Predictor", tell: Tell
) -> "NDArray[np.float32]":
    """Give grey levels the scale of the training inputs, where the model needs it."""
    from dexsearch.inference.predict import match_grey_levels

    beam = None if predictor.card.inversion is None else _told_beam(predictor.card.inversion)
    if path.suffix.lower() == ".npy":
        _tell_if_strange(image, path, predictor, tell)
        if beam is not None:
            tell(f"{path.name}: taken as -ln(I / I0) of {beam}, from which tissue is computed")
        return image
    if beam is not None:
        raise DataError(
            f"{path.name}: grey levels have no unit, and this generator computes tissue from "
            f"-ln(I / I0) of {beam}",
            hint="give that image as .npy, or use a generator that predicts tissue "
            "(dexsearch best --task tissue)",
        )
    if predictor.normalization.mode == "per_image":
        tell(f"{path.name}: grey levels are standardised by the model itself; bright means dense")
        return image
    tell(
        f"{path.name}: grey levels have no unit, so they were shifted and scaled to the mean and "
        "spread of the training inputs; bright means dense; amounts are approximate"
    )
    return match_grey_levels(image, predictor.normalization)


def _told_beam(inversion: dict[str, Any]) -> str:
    """Describe the exposure that a derived head inverts."""
    filters = "".join(f" behind {mm:g} mm of {name}" for name, mm in inversion["filters_mm"])
    return f"an exposure at {inversion['kvp']:g} kVp{filters} without scatter"


def _tell_if_strange(
    image: "NDArray[np.float32]", path: Path, predictor: "Predictor", tell: Tell
) -> None:
    """Say so where the numbers cannot be in the unit that the model was trained on."""
    known, unit = predictor.normalization, predictor.card.units.get("input", "")
    distance = abs(float(image.mean(dtype="float64")) - known.mean) / known.std
    needs_unit = known.mode == "absolute" or predictor.card.inversion is not None
    if needs_unit and distance > STRANGE_DEVIATIONS:
        tell(
            f"warning: {path.name}: pixels of {image.min():.4g} to {image.max():.4g} are far from "
            f"the training inputs (mean {known.mean:.3g}, spread {known.std:.3g}, {unit}), so the "
            "prediction means little; bring the image to that unit"
        )


def _stem(image_path: Path, output: Path) -> Path:
    """Return the path that `_bone.npy` is appended to."""
    if output.suffix.lower() in SUFFIXES and not output.is_dir():
        return output.with_suffix("")
    return output / image_path.stem


def _write(
    stem: Path, predicted: "dict[str, NDArray[np.float32]]", predictor: "Predictor"
) -> tuple[Path, ...]:
    """Write the targets, each as numbers and as a picture."""
    from dexsearch.figures.canvas import display_window
    from dexsearch.images.writing import write_npy, write_png

    files: list[Path] = []
    for target, image in predicted.items():
        low, high = display_window([image])
        if predictor.card.units.get(target) == "cm":
            low, high = 0.0, max(high, 0.1)  # black is no material at all
        name = f"{stem.name}_{target}"
        files.append(write_npy(stem.parent / f"{name}.npy", image))
        files.append(write_png(stem.parent / f"{name}.png", image, window=(low, high)))
    return tuple(files)

"""An image as the generator wants it: in the unit and at the pixel size of the training images."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dexsearch.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dexsearch.inference.predict import Predictor

STRANGE_DEVIATIONS = 6.0
SAME_PIXEL = 0.01
"""Pixel sizes that differ by less than this part are the same."""
Tell = Callable[[str], None]


@dataclass(slots=True)
class Notes:
    """Tells what is to be known about images; the same thing of many images only once."""

    tell: Tell
    _first: dict[str, str] = field(default_factory=dict)
    _more: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, text: str, *, about: str | None = None, warn: bool = False) -> None:
        """Tell something about an image; `about` is the same for all that is told once."""
        key = about or text
        if key in self._first:
            self._more[key] += 1
            return
        self._first[key] = f"{'warning: ' if warn else ''}{name}: {text}"
        self.tell(self._first[key])

    def finish(self) -> None:
        """Say of how many more images something holds."""
        for key, count in self._more.items():
            self.tell(f"{count} more like {self._first[key]}")


def with_units(
    image: "NDArray[np.float32]", source: Path, kind: str, predictor: "Predictor", notes: Notes
) -> "NDArray[np.float32]":
    """Give grey levels the scale of the training inputs, where the model needs it.

    Raises:
        DataError: if the model needs a unit that grey levels lack.
    """
    beam = None if predictor.card.inversion is None else _told_beam(predictor.card.inversion)
    if kind == "npy":
        _tell_if_strange(image, source, predictor, notes)
        if beam is not None:
            notes.add(
                source.name, f"taken as -ln(I / I0) of {beam}, from which tissue is computed"
            )
        return image
    if beam is not None:
        raise DataError(
            f"{source.name}: grey levels have no unit, and this generator computes tissue from "
            f"-ln(I / I0) of {beam}",
            hint="give that image as .npy, or use a generator that predicts tissue "
            "(dexsearch best --task tissue)",
        )
    if predictor.normalization.mode == "per_image":
        notes.add(
            source.name, "grey levels are standardised by the model itself; bright means dense"
        )
        return image
    from dexsearch.inference.predict import match_grey_levels

    notes.add(
        source.name,
        "grey levels have no unit, so they were shifted and scaled to the mean and spread of the "
        "training inputs; bright means dense; amounts are approximate",
    )
    return match_grey_levels(image, predictor.normalization)


def grid_ratio(
    source: Path, size_px: tuple[int, int], kind: str, pixel_mm: float | None,
    predictor: "Predictor", notes: Notes,
) -> float:  # fmt: skip
    """Return the training pixel size divided by the image's; 1 where either is not known.

    Raises:
        DataError: if the image would be implausibly large at the training pixel size.
    """
    from dexsearch.images.limits import MAX_SIDE_PX

    trained_mm = predictor.card.pixel_mm
    if trained_mm is None:
        return 1.0
    if pixel_mm is None:
        if kind != "npy":
            notes.add(
                source.name,
                f"pixel size not known, so taken to be that of the training images, "
                f"{trained_mm:.3g} mm; --pixel-mm gives it",
            )
        return 1.0
    ratio = trained_mm / pixel_mm
    if abs(ratio - 1.0) < SAME_PIXEL:
        return 1.0
    if max(size_px) / ratio > MAX_SIDE_PX:
        raise DataError(
            f"{source.name}: pixels of {pixel_mm:g} mm would become {max(size_px) / ratio:.0f} a "
            f"side at the {trained_mm:g} mm of the training images; at most {MAX_SIDE_PX}",
            hint="check its pixel size",
        )
    lost = f"; what is finer than {2 * trained_mm:.2g} mm is lost in it" if ratio > 1 else ""
    notes.add(
        source.name,
        f"brought from {pixel_mm:.3g} to {trained_mm:.3g} mm, the pixel size of the training "
        f"images, and the prediction back{lost}",
    )
    return ratio


def _told_beam(inversion: dict[str, Any]) -> str:
    """Describe the exposure that a derived head inverts."""
    filters = "".join(f" behind {mm:g} mm of {name}" for name, mm in inversion["filters_mm"])
    return f"an exposure at {inversion['kvp']:g} kVp{filters} without scatter"


def _tell_if_strange(
    image: "NDArray[np.float32]", source: Path, predictor: "Predictor", notes: Notes
) -> None:
    """Say so where the numbers cannot be in the unit that the model was trained on."""
    known, unit = predictor.normalization, predictor.card.units.get("input", "")
    distance = abs(float(image.mean(dtype="float64")) - known.mean) / known.std
    needs_unit = known.mode == "absolute" or predictor.card.inversion is not None
    if needs_unit and distance > STRANGE_DEVIATIONS:
        notes.add(
            source.name,
            f"pixels of {image.min():.4g} to {image.max():.4g} are far from the training inputs "
            f"(mean {known.mean:.3g}, spread {known.std:.3g}, {unit}), so the prediction means "
            "little; bring the image to that unit",
            warn=True,
        )

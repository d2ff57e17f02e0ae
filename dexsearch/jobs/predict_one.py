"""One image of `dexsearch predict`: read, computed on the training grid, written, recorded."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dexsearch.durable import file_sha256
from dexsearch.errors import DataError
from dexsearch.inference.package import Package
from dexsearch.jobs.predict_files import KINDS, Item, refuse_clashes
from dexsearch.jobs.predict_input import Notes, grid_ratio, with_units
from dexsearch.jobs.predict_journal import Journal
from dexsearch.jobs.predict_output import Maker, planned_files, write_comparison, write_targets
from dexsearch.jobs.predict_result import Prediction

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dexsearch.inference.predict import Predictor

    Image = NDArray[np.float32]

PROCEDURE = 1
"""Rises when the same weights give something else, so that it is done again."""
BELOW_ZERO = 0.01
"""Of a target's data range: thickness that is further below 0 is told of."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Options:
    """How to predict; see the flags of the command."""

    kind: str = KINDS[0]
    compare: bool = False
    pixel_mm: float | None = None
    """Pixel size of images that do not say it."""

    def as_json(self) -> dict[str, Any]:
        """Return what the journal holds of it."""
        return {"kind": self.kind, "compare": self.compare, "pixel_mm": self.pixel_mm,
                "procedure": PROCEDURE}  # fmt: skip


@dataclass(slots=True)
class Work:
    """One command: the generator, loaded with the first image that needs it, and the notes."""

    model: str
    package: Package
    maker: Maker
    options: Options
    notes: Notes
    journal: Journal
    sources: frozenset[Path]
    taken: dict[Path, str] = field(default_factory=dict)
    loaded: "Predictor | None" = None

    @property
    def predictor(self) -> "Predictor":
        """Return the loaded generator."""
        if self.loaded is None:
            from dexsearch.inference.predict import load_predictor

            self.loaded = load_predictor(self.package)
        return self.loaded


def predict_item(item: Item, work: Work, progress: Progress) -> Prediction:
    """Predict one image and write it, unless that was done before.

    Raises:
        DataError: if the image cannot be used, or its files would replace what must stay.
        EnvironmentFault: if they cannot be written.
    """
    kind = item.kind(work.options.kind)
    files = planned_files(item, kind, work.maker, compare=work.options.compare)
    refuse_clashes(item, files, work.sources, work.taken)
    made_from = {
        "input_sha256": _content(item.source),
        "weights_sha256": work.maker.weights_sha256,
        "how": work.options.as_json(),
    }
    known = work.journal.find(item.stem, made_from)
    if known is not None:
        size_px = (int(known["size_px"][0]), int(known["size_px"][1]))
        return _prediction(item, work, size_px, files, known["lowest"], skipped=True)
    work.journal.refuse_foreign(files)
    image, predicted, detail = _computed(item, kind, work, progress)
    lowest = _lowest(item, predicted, work)
    work.journal.open()
    sha256 = made_from["input_sha256"]
    write_targets(item, kind, predicted, work.maker, source_sha256=str(sha256), detail=detail)
    if work.options.compare:
        write_comparison(item, image, predicted, work.maker)
    size_px = (image.shape[0], image.shape[1])
    told = {"input": item.name, "model": work.maker.name, "size_px": size_px, "lowest": lowest}
    work.journal.record(item.stem, made_from, files, told)
    return _prediction(item, work, size_px, files, lowest, skipped=False)


def _computed(
    item: Item, kind: str, work: Work, progress: Progress
) -> "tuple[Image, dict[str, Image], str]":
    """Return the image, its targets on its own grid, and what was done to its grid."""
    from dexsearch.images.reading import read_header, read_image
    from dexsearch.images.resampling import resample, resampled_size_px

    image, header = read_image(item.source), read_header(item.source)
    for warning in header.warnings:
        work.notes.add(item.source.name, warning, warn=True)
    pixel_mm = header.pixel_mm or work.options.pixel_mm
    own = _own_kind(item)
    ratio = grid_ratio(item.source, header.size_px, own, pixel_mm, work.predictor, work.notes)
    size_px, detail, seen = header.size_px, "", image
    if ratio != 1.0:
        seen = resample(image, ratio, resampled_size_px(size_px, ratio))
        detail = f"computed at pixels of {work.package.card.pixel_mm:g} mm"
    seen = with_units(seen, item.source, own, work.predictor, work.notes)
    predicted = work.predictor.predict(seen, progress=progress)
    if ratio != 1.0:
        predicted = {t: resample(values, 1 / ratio, size_px) for t, values in predicted.items()}
    return image, predicted, detail


def _own_kind(item: Item) -> str:
    return item.kind("same")


def _lowest(item: Item, predicted: "dict[str, Image]", work: Work) -> dict[str, float]:
    """Return the smallest value of each target; tell of thickness that is clearly below 0."""
    lowest = {target: float(image.min()) for target, image in predicted.items()}
    ranges = work.predictor.normalization.data_ranges
    for (target, value), data_range in zip(lowest.items(), ranges, strict=False):
        if work.package.card.units.get(target) == "cm" and value < -BELOW_ZERO * data_range:
            share = float((predicted[target] < 0).mean())
            work.notes.add(
                item.source.name,
                f"{target}: {share:.1%} of the pixels are below 0 cm, down to {value:.2g} cm, and "
                "kept as predicted",
                about=f"negative {target}",
            )
    return lowest


def _content(source: Path) -> str:
    try:
        return file_sha256(source)
    except OSError as error:
        raise DataError(
            f"{source}: cannot be read: {error.strerror or error}", hint="check its permissions"
        ) from None


def _prediction(
    item: Item, work: Work, size_px: tuple[int, int], files: tuple[Path, ...],
    lowest: dict[str, float], *, skipped: bool,
) -> Prediction:  # fmt: skip
    card = work.package.card
    return Prediction(
        model=work.model, study=card.study, trial=card.trial, sha256=work.package.sha256,
        input=item.source, size_px=size_px,
        units={target: card.units.get(target, "") for target in card.targets},
        files=files, weights_sha256=work.maker.weights_sha256, lowest=lowest, skipped=skipped,
    )  # fmt: skip

"""The best and the runner-up at work on the same validation images, for a report.

They come from the registered packages and the study's dataset. Where one of these is missing,
the report says so and goes on without.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dexsearch.errors import DexSearchError
from dexsearch.ledger.study import StudyRecord, TrialRecord
from dexsearch.registry.record import Registration, Registry
from dexsearch.report.contents import Pictures, Tile, TileRow

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from dexsearch.data.store import Dataset, Manifest
    from dexsearch.inference.package import Package
    from dexsearch.jobs.portrait import ValidationPortrait

Baselines = dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True)
class Gallery:
    """What of a study is on this machine beside its ledger."""

    dataset: "Dataset | None" = None
    registrations: dict[int, Registration] = field(default_factory=dict)
    """The registered ones among the two best, by trial number."""
    packages: "dict[int, Package]" = field(default_factory=dict)
    baselines: Baselines = field(default_factory=dict)
    pictures: Pictures = field(default_factory=Pictures)


def open_gallery(record: StudyRecord, registry: Registry, workspace: Path) -> Gallery:
    """Open dataset and packages of the two best trials, and draw what can be drawn."""
    missing: list[str] = []
    two = record.ranking()[:2]
    dataset = _dataset(record, workspace, missing)
    registrations, packages = _packages(record, two, registry, missing)
    baselines = _baselines(dataset, list(registrations.values()))
    if not two:
        missing.append("No pictures: no trial is complete.")
    columns: tuple[str, ...] = ()
    rows: tuple[TileRow, ...] = ()
    if dataset is not None and packages:
        try:
            columns, rows = _tiles(
                dataset, [packages[t.number] for t in two if t.number in packages]
            )
        except (DexSearchError, ValueError) as error:
            missing.append(f"No pictures: {error}.")
    return Gallery(
        dataset, registrations, packages, baselines, Pictures(columns, rows, tuple(missing))
    )


def _dataset(record: StudyRecord, workspace: Path, missing: list[str]) -> "Dataset | None":
    from dexsearch.data.store import open_dataset

    digest = record.dataset_digest[:12]
    recorded = Path(record.dataset)
    for path in (recorded, workspace / "datasets" / recorded.name):
        try:
            dataset = open_dataset(path)
        except (DexSearchError, OSError):
            continue
        if dataset.manifest.digest == record.dataset_digest:
            return dataset
    missing.append(
        f"No pictures: the study's dataset {recorded.name!r} (digest {digest}) is not where the "
        "study left it."
    )
    return None


def _packages(
    record: StudyRecord, two: tuple[TrialRecord, ...], registry: Registry, missing: list[str]
) -> "tuple[dict[int, Registration], dict[int, Package]]":
    """Open the intact packages of the two best trials."""
    from dexsearch.inference.package import open_package

    registrations: dict[int, Registration] = {}
    packages: dict[int, Package] = {}
    for place, trial in enumerate(two):
        who = f"{('the best', 'the runner-up')[place]}, trial {trial.number},"
        mine = [version for version in registry.versions if version.is_of(record, trial)]
        if not mine:
            missing.append(f"No pictures of {who} because it is not registered.")
            continue
        registrations[trial.number] = mine[-1]
        try:
            packages[trial.number] = open_package(
                registry.path_of(mine[-1]), sha256=mine[-1].sha256
            )
        except (DexSearchError, OSError):
            missing.append(
                f"No pictures of {who} because its package is missing or damaged; the dexsearch "
                "tune that made it writes it again."
            )
    return registrations, packages


def _baselines(dataset: "Dataset | None", registered: list[Registration]) -> Baselines:
    """Take the registered numbers; measure them where nothing is registered."""
    if registered:
        joint = max(registered, key=lambda version: len(version.baselines.get("constant", {})))
        return joint.baselines
    if dataset is None:
        return {}
    from dexsearch.training.baselines import baselines

    return baselines(dataset).masked()


@dataclass(frozen=True, slots=True)
class _Shown:
    """One generator's predictions of the chosen images."""

    trial: int
    targets: tuple[str, ...]
    predictions: "dict[int, NDArray[Any]]"
    portrait: "ValidationPortrait"


def _tiles(
    dataset: "Dataset", packages: "list[Package]"
) -> tuple[tuple[str, ...], tuple[TileRow, ...]]:
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    shown: list[_Shown] = []
    for package in packages:
        images = shown[0].portrait.shown if shown else None
        shown.append(_predict(dataset, package, images, device))
    columns = ["input", "truth"]
    for one, role in zip(shown, _roles(shown), strict=False):
        columns += [f"{role}, trial {one.trial}", "minus truth"]
    common = [t for t in shown[0].targets if all(t in one.targets for one in shown)]
    rows = [
        _row(dataset, shown, index, target)
        for index in shown[0].portrait.shown
        for target in common or shown[0].targets[:1]
    ]
    return tuple(columns), tuple(rows)


def _roles(shown: list[_Shown]) -> tuple[str, ...]:
    return ("best", "runner-up") if len(shown) > 1 else ("generator",)


def _predict(
    dataset: "Dataset", package: "Package", images: tuple[int, ...] | None, device: "torch.device"
) -> _Shown:
    """Score every validation image and predict the chosen ones, by default its own choice."""
    from dexsearch.data.pairs import load_pairs
    from dexsearch.inference.predict import load_predictor
    from dexsearch.jobs.portrait import score_validation

    predictor = load_predictor(package, device)
    targets = package.card.targets
    pairs = load_pairs(dataset, "validation", targets, device)
    portrait = score_validation(predictor, pairs, dataset.manifest.images["validation"])
    predictions = {
        index: predictor.predict_batch(pairs.input[index : index + 1])[0].cpu().numpy()
        for index in images or portrait.shown
    }
    return _Shown(package.card.trial, targets, predictions, portrait)


def _row(dataset: "Dataset", shown: list[_Shown], index: int, target: str) -> TileRow:
    """Draw one target of one image; truth and predictions share a grey scale."""
    import numpy as np

    from dexsearch.figures.canvas import display_window
    from dexsearch.figures.tiles import difference_tile, grey_tile

    unit = dataset.manifest.units.get(target, "")
    arrays = dataset.arrays("validation")
    mask = np.asarray(arrays.mask[index])
    image, truth = (
        np.array(a[index], dtype=np.float32) for a in (arrays.input, arrays.target(target))
    )
    window = display_window([truth], [mask])
    predictions = [one.predictions[index][one.targets.index(target)] for one in shown]
    differences = [prediction - truth for prediction in predictions]
    reach = max(*(abs(x) for x in display_window(differences, [mask] * len(differences))), 1e-6)
    tiles = [
        Tile(grey_tile(image, display_window([image], [mask])), "input"),
        Tile(grey_tile(truth, window), f"{target} truth"),
    ]
    for one, prediction, difference in zip(shown, predictions, differences, strict=True):
        ssim = one.portrait.ssim[index, one.targets.index(target)]
        tiles.append(
            Tile(
                grey_tile(prediction, window), f"{target} of trial {one.trial}", f"SSIM {ssim:.3f}"
            )
        )
        tiles.append(
            Tile(
                difference_tile(difference, mask, reach=reach),
                f"{target} of trial {one.trial} minus truth",
                f"MAE {np.abs(difference[mask]).mean():.3g} {unit}",
            )
        )
    return TileRow(*_labels(dataset.manifest, index, target, window, reach), tiles=tuple(tiles))


def _labels(
    manifest: "Manifest", index: int, target: str, window: tuple[float, float], reach: float
) -> tuple[str, str]:
    info = manifest.images["validation"][index]
    pose = ", ".join(f"{angle:g}" for angle in info.pose_deg)
    unit = manifest.units.get(target, "")
    scale = f"grey {window[0]:.3g} to {window[1]:.3g} {unit}; difference \N{PLUS-MINUS SIGN}"
    return f"{target}, {info.subject}", f"pose ({pose})\N{DEGREE SIGN}; {scale}{reach:.2g} {unit}"

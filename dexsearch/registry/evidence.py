"""Scores of two generators on the hold-out: the only module that opens it.

Both generators see the same images in the same process, batch by batch, so that nothing but
their weights and configurations differs. The count of looks is kept by `registry.looks`, which
calls this.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dexsearch.data.store import Arrays, Dataset
from dexsearch.errors import ConfigurationError, DataError
from dexsearch.figures.canvas import shortened
from dexsearch.figures.regressions import Regression
from dexsearch.figures.theme import plain
from dexsearch.inference.package import WEIGHTS, Package
from dexsearch.inference.predict import Predictor, load_predictor
from dexsearch.registry.comparison import Comparison, ScoredImage, worst_first
from dexsearch.registry.paired import judge
from dexsearch.training.device import training_device
from dexsearch.training.metrics import METRIC_DEFINITION, masked_ssim
from dexsearch.training.scoring_batch import images_scored_at_once
from dexsearch.wording import printable

N_SHOWN = 5
Progress = Callable[[int, int], None]
"""Is called with (images done, images in all)."""


def common_targets(a: Package, b: Package, target: str | None) -> tuple[str, ...]:
    """Return what two generators are compared on, after refusing what cannot be compared.

    Args:
        a: one generator.
        b: the other one.
        target: bone or tissue; None for all that both predict.

    Raises:
        ConfigurationError: if they were scored by different metric definitions or on different
            datasets, or do not both predict the target.
    """
    for what, of_a, of_b in (
        ("dataset", a.card.dataset, b.card.dataset),
        ("metric definition", str(a.card.metric), str(b.card.metric)),
    ):
        if of_a != of_b:
            raise ConfigurationError(
                f"these generators cannot be compared: {what} {of_a[:12]!r} against {of_b[:12]!r}",
                hint="compare two that were trained on one dataset under one metric definition; "
                "dexsearch best lists them in such groups",
            )
    if a.card.metric != METRIC_DEFINITION:
        raise ConfigurationError(
            f"these generators were scored by metric definition {a.card.metric}; this version of "
            f"dexsearch computes {METRIC_DEFINITION}",
            hint="compare them with the dexsearch version that trained them",
        )
    common = tuple(name for name in a.card.targets if name in b.card.targets)
    wanted = common if target is None else tuple(name for name in common if name == target)
    if not wanted:
        raise ConfigurationError(
            f"nothing to compare{f' on {target}' if target else ''}: A predicts "
            f"{' and '.join(a.card.targets)}, B {' and '.join(b.card.targets)}",
            hint=f"compare them with --target {common[0]}"
            if common
            else "compare generators that share a target; a joint one shares both",
        )
    return wanted


def refuse_absent_holdout(dataset: Dataset) -> None:
    """Refuse before the look is counted when the hold-out is not there; nothing is opened.

    Raises:
        DataError: naming the first file that is missing.
    """
    for name in dataset.manifest.arrays:
        path = dataset.path / "holdout" / f"{name}.npy"
        if not path.is_file():
            raise DataError(
                f"the hold-out cannot be opened: {str(path)!r} is missing",
                hint="compare where the whole dataset is, or name its folder: --dataset DIR",
            )


def compare_packages(
    a: Package,
    b: Package,
    dataset: Dataset,
    *,
    target: str | None,
    margin: float,
    progress: Progress,
    labels: tuple[str, str] = ("A", "B"),
) -> Comparison:
    """Score both generators on every hold-out image and judge the differences.

    Memory holds one batch of images at a time, whatever the size of the hold-out.

    Args:
        a: the generator in question.
        b: what it is compared with.
        dataset: the one that both were trained on.
        target: bone or tissue; None for all that both predict.
        margin: loss of SSIM that still counts as not worse.
        progress: is told how far it is.
        labels: how to call them.

    Raises:
        ConfigurationError: as `common_targets`, or if the dataset is another.
        DataError: if the hold-out is missing, or is not what was written.
    """
    targets = common_targets(a, b, target)
    _check_holdout(a, dataset)
    predictors = [load_predictor(package, training_device()) for package in (a, b)]
    scores = _scores(predictors, dataset, targets, progress)
    infos = dataset.manifest.images["holdout"]
    subjects = [info.subject for info in infos]
    mean = scores.mean(axis=2)
    each = dict(zip(targets, np.moveaxis(scores, 2, 0), strict=True)) if len(targets) > 1 else {}
    return Comparison(
        a=labels[0],
        b=labels[1],
        targets=targets,
        dataset=dataset.manifest.digest,
        metric=METRIC_DEFINITION,
        result=judge(subjects, mean[0], mean[1], margin=margin),
        by_target={name: judge(subjects, *of, margin=margin) for name, of in each.items()},
        images=tuple(
            ScoredImage(info.subject, info.pose_deg, info.name, tuple(of_a), tuple(of_b))
            for info, of_a, of_b in zip(infos, *scores.tolist(), strict=True)
        ),
        weights_sha256=(a.files[WEIGHTS], b.files[WEIGHTS]),
    )


def worst_regressions(
    comparison: Comparison, a: Package, b: Package, dataset: Dataset, *, n: int = N_SHOWN
) -> tuple[Regression, ...]:
    """Return the images where A loses most against B, one per subject, a row for each target."""
    predictors = [load_predictor(package, training_device()) for package in (a, b)]
    arrays = dataset.arrays("holdout")
    rows: list[Regression] = []
    for index in worst_first(comparison.images, n):
        image = comparison.images[index]
        inputs = _tensor(arrays.input[index : index + 1])
        predicted = [predictor.predict_batch(inputs)[0].cpu().numpy() for predictor in predictors]
        for channel, target in enumerate(comparison.targets):
            of_a, of_b = (
                images[predictor.card.targets.index(target)]
                for images, predictor in zip(predicted, predictors, strict=True)
            )
            rows.append(
                Regression(
                    label=f"{shortened(plain(image.subject))}\n{target}",
                    unit=dataset.manifest.units.get(target, ""),
                    ssim_a=image.a[channel],
                    ssim_b=image.b[channel],
                    input=np.asarray(arrays.input[index], dtype=np.float32),
                    truth=np.asarray(arrays.target(target)[index], dtype=np.float32),
                    a=of_a,
                    b=of_b,
                    mask=np.asarray(arrays.mask[index]),
                )
            )
    return tuple(rows)


def _check_holdout(package: Package, dataset: Dataset) -> None:
    """Refuse another dataset, and a hold-out that is not what was written."""
    digest = dataset.manifest.digest
    if digest != package.card.dataset:
        raise ConfigurationError(
            f"dataset {str(dataset.path)!r} has digest {digest[:12]}; the generators were trained "
            f"on {package.card.dataset[:12]}",
            hint="name that dataset's folder: --dataset DIR",
        )
    dataset.check_files(("holdout",))


def _scores(
    predictors: list[Predictor], dataset: Dataset, targets: tuple[str, ...], progress: Progress
) -> NDArray[np.float64]:
    """Return the masked SSIM of every hold-out image: generators x images x targets."""
    arrays = dataset.arrays("holdout")
    n_images, height, width = arrays.input.shape
    step = images_scored_at_once((height, width))
    rows: list[Tensor] = []
    for start in range(0, n_images, step):
        part = slice(start, min(start + step, n_images))
        rows.append(_score_batch(predictors, dataset, arrays, part, targets))
        progress(part.stop, n_images)
    scores: NDArray[np.float64] = torch.cat(rows, dim=1).double().cpu().numpy()
    strange = np.argwhere(~np.isfinite(scores))
    if len(strange):
        label = dataset.manifest.images["holdout"][int(strange[0][1])].label
        raise DataError(
            f"hold-out image {printable(label)} has no finite score",
            hint="dexsearch data check tells what is wrong with the dataset; a generator that "
            "predicts NaN cannot be compared",
        )
    return scores


def _score_batch(
    predictors: list[Predictor],
    dataset: Dataset,
    arrays: Arrays,
    part: slice,
    targets: tuple[str, ...],
) -> Tensor:
    """Return the masked SSIM of some images.

    Data ranges are those of the dataset, one yardstick for both generators.
    """
    device = training_device()
    inputs = _tensor(arrays.input[part]).to(device)
    mask = torch.from_numpy(np.array(arrays.mask[part]))[:, None].to(device)
    truth = torch.cat([_tensor(arrays.target(name)[part]) for name in targets], dim=1).to(device)
    ranges = [dataset.manifest.data_ranges[name] for name in targets]
    scores = []
    for predictor in predictors:
        channels = [predictor.card.targets.index(name) for name in targets]
        images = predictor.predict_batch(inputs)[:, channels]
        scores.append(masked_ssim(images, truth, data_range=ranges, mask=mask))
    return torch.stack(scores)


def _tensor(images: NDArray[Any]) -> Tensor:
    """Copy images N H W, a read-only memory map of any float type, to N 1 H W."""
    return torch.from_numpy(np.array(images, dtype=np.float32))[:, None]

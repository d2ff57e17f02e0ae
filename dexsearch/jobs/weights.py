"""Find dual-energy weights by contrast on a dataset, and compare them with the spectra's.

    soft image  p_H - w p_L      the weight that leaves no contrast of bone
    bone image  w p_L - p_H      the weight that leaves no contrast of soft tissue

xray_GAN tried weights by hand and looked. Here the eye is replaced by what it looks for, contrast
between neighbouring places (`training.contrast`). Contrast is linear in w, so the weight that
leaves none is a ratio of two contrasts.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dexsearch.errors import ConfigurationError, DataError
from dexsearch.jobs.weights_result import WeightPair, WeightSearch

if TYPE_CHECKING:
    from dexsearch.data.store import Dataset
    from dexsearch.physics.exposure import Exposure

VIEWS = 48
SHOWN_BESIDE = 0.05
GRID_STEP = 0.01
GRID_MARGIN = 0.1
MOST_PIXELS = 2**22
UNKNOWN_PIXEL_MM = 5.0


def find_weights(
    dataset: "Dataset",
    out: Path | None,
    *,
    pair_kvp: tuple[float, float],
    n_views: int = VIEWS,
) -> WeightSearch:
    """Find both weights on clean exposures of the training views and write the plot.

    Args:
        dataset: with path lengths; its filters, scatter and blur are kept.
        out: the PNG; None: beside the dataset.
        pair_kvp: low and high tube voltage, 60..140.
        n_views: at most so many training views, evenly over the dataset.

    Raises:
        DataError: if the dataset has no path lengths, or too little in its masks.
        ConfigurationError: if the tube voltages are not a pair that a tube has.
    """
    from dexsearch.physics.dual_energy import cancelling_weights

    low, high = _exposures(dataset, pair_kvp)
    views = _chosen(dataset, n_views)
    (soft_low, bone_low), (soft_high, bone_high) = _contrasts(dataset, views, low, high)
    spectral = cancelling_weights(low, high)
    computed = WeightPair(spectral.bone_cancelling, spectral.soft_cancelling)
    found = WeightPair(bone_high / bone_low, soft_high / soft_low)
    weights = _grid(found, computed)
    search = WeightSearch(
        dataset=dataset.path,
        pair_kvp=pair_kvp,
        views=len(views),
        found=found,
        computed=computed,
        weights=tuple(round(weight, 2) for weight in weights.tolist()),
        bone_in_soft_image_per_cm=tuple((bone_high - weights * bone_low).tolist()),
        soft_in_bone_image_per_cm=tuple((weights * soft_low - soft_high).tolist()),
        picture=out or dataset.path.with_name(f"{dataset.path.name}-weights.png"),
    )
    _draw(search, dataset, low, high)
    return search


def _exposures(dataset: "Dataset", pair_kvp: tuple[float, float]) -> "tuple[Exposure, Exposure]":
    """Return the dataset's exposure at both tube voltages."""
    from dexsearch.data.exposures import exposure_of
    from dexsearch.physics.exposure import Exposure

    low, high = pair_kvp
    if not low < high:
        raise ConfigurationError(f"got {low:g},{high:g} kVp; the lower tube voltage comes first")
    known = exposure_of(dataset.manifest)
    base = Exposure() if known is None else known[0]
    try:
        return replace(base, kvp=low), replace(base, kvp=high)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def _lengths_cm(dataset: "Dataset") -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    lengths = dataset.path_lengths("train")
    if lengths is None:
        raise DataError(
            f"dataset {str(dataset.path)!r} has no path lengths, so it cannot be exposed at other "
            "tube voltages",
            hint="data phantom and data ct store them for --targets basis and wls, not for "
            "xray-gan or imported pairs",
        )
    return lengths


def _chosen(dataset: "Dataset", n_views: int) -> list[int]:
    """Return the indices of at most `n_views` training views, evenly spread."""
    n_images = len(dataset.manifest.images["train"])
    rows, columns = dataset.manifest.size_px
    n = max(1, min(n_views, n_images, MOST_PIXELS // (rows * columns)))
    return [int((k + 0.5) * n_images / n) for k in range(n)]


@dataclass(frozen=True, slots=True)
class _Views:
    """Some views, N H W each: both log projections, both thicknesses, the body."""

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    soft_cm: NDArray[np.float32]
    bone_cm: NDArray[np.float32]
    mask: NDArray[np.bool_]


def _exposed(dataset: "Dataset", views: list[int], low: "Exposure", high: "Exposure") -> _Views:
    """Expose some training views at both tube voltages, without noise."""
    import torch

    from dexsearch.data.exposures import exposure_of
    from dexsearch.physics.detector import log_projections
    from dexsearch.physics.geometry import Detector

    soft, bone = (np.asarray(values[views], dtype=np.float32) for values in _lengths_cm(dataset))
    known, pixel_mm = exposure_of(dataset.manifest), dataset.manifest.pixel_mm or UNKNOWN_PIXEL_MM
    detector = Detector(soft.shape[-1], pixel_mm) if known is None else known[1]
    tensors = torch.from_numpy(soft), torch.from_numpy(bone)
    p_low, p_high = (
        log_projections(*tensors, exposure, detector=detector, rays_per_pixel=1, rng=None).numpy()
        for exposure in (low, high)
    )
    return _Views(p_low, p_high, soft, bone, np.asarray(dataset.arrays("train").mask[views]))


def _contrasts(
    dataset: "Dataset", views: list[int], low: "Exposure", high: "Exposure"
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the contrast of soft tissue and of bone at LOW, then at HIGH."""
    import torch

    from dexsearch.training.contrast import contrast_per_cm

    shown = _exposed(dataset, views, low, high)
    soft, bone, mask = map(torch.from_numpy, (shown.soft_cm, shown.bone_cm, shown.mask))
    pixel_mm = dataset.manifest.pixel_mm or UNKNOWN_PIXEL_MM
    try:
        at_low, at_high = (
            contrast_per_cm(torch.from_numpy(image), soft, bone, mask, pixel_mm=pixel_mm)
            for image in (shown.low, shown.high)
        )
    except ValueError as error:
        raise DataError(
            f"dataset {str(dataset.path)!r}: {error}", hint="look at it with dexsearch data show"
        ) from None
    return at_low, at_high


def _grid(found: WeightPair, computed: WeightPair) -> NDArray[np.float64]:
    """Return weights in steps of 0.01 that hold all four with some margin."""
    ends = [w for pair in (found, computed) for w in (pair.bone_cancelling, pair.soft_cancelling)]
    first = int(np.floor((min(ends) - GRID_MARGIN) * 10)) * 10
    last = int(np.ceil((max(ends) + GRID_MARGIN) * 10)) * 10
    return np.arange(first, last + 1, dtype=np.float64) * GRID_STEP


def _draw(search: WeightSearch, dataset: "Dataset", low: "Exposure", high: "Exposure") -> None:
    from dexsearch.figures.weights_plot import WeightCurve, write_weights_plot

    infos = dataset.manifest.images["train"]
    frontal = min(range(len(infos)), key=lambda k: sum(map(abs, infos[k].pose_deg)))
    view = _exposed(dataset, [frontal], low, high)
    p_low, p_high, mask = view.low[0], view.high[0], view.mask[0]
    beside = (-SHOWN_BESIDE, 0.0, SHOWN_BESIDE)
    bone = [search.found.bone_cancelling + step for step in beside]
    soft = [search.found.soft_cancelling + step for step in beside]
    curves = [
        WeightCurve(
            "bone in the soft image", search.bone_in_soft_image_per_cm,
            search.found.bone_cancelling, search.computed.bone_cancelling,
            "soft image", [p_high - w * p_low for w in bone], bone,
        ),
        WeightCurve(
            "soft tissue in the bone image", search.soft_in_bone_image_per_cm,
            search.found.soft_cancelling, search.computed.soft_cancelling,
            "bone image", [w * p_low - p_high for w in soft], soft,
        ),
    ]  # fmt: skip
    heading = f"{dataset.path.name}: {search.pair_kvp[0]:g} and {search.pair_kvp[1]:g} kVp"
    write_weights_plot(search.picture, search.weights, curves, mask=mask, heading=heading)

"""Pictures of a generator at work, on the validation subjects nearest the median score.

Neither the best nor the worst is shown: the middle is what a newcomer may expect.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch  # noqa: TID253  (this module is imported when a generator is drawn)
from numpy.typing import NDArray

from dexsearch.data.pairs import Pairs
from dexsearch.data.store import ImageInfo, Manifest
from dexsearch.figures.canvas import shortened
from dexsearch.figures.comparison import Comparison, write_comparison
from dexsearch.figures.curve import write_learning_curve
from dexsearch.inference.package import CURVE_PICTURE, PICTURES, GeneratorCard
from dexsearch.inference.predict import Predictor
from dexsearch.training.metrics import masked_ssim
from dexsearch.training.validation import scoring_batches

N_PICTURES = 3


@dataclass(frozen=True, slots=True)
class ValidationPortrait:
    """A generator's scores on every validation image, and the images to show."""

    ssim: NDArray[np.float64]
    """Masked SSIM, images x targets."""

    shown: tuple[int, ...]
    """Indices of the images nearest the median."""

    @property
    def val_ssim(self) -> float:
        """Mean over images and targets: the objective of a search."""
        return float(self.ssim.mean())


def score_validation(
    predictor: Predictor, pairs: Pairs, infos: tuple[ImageInfo, ...]
) -> ValidationPortrait:
    """Score every validation image and choose those to show."""
    rows = []
    for part in scoring_batches(pairs):
        scores = masked_ssim(
            predictor.predict_batch(pairs.input[part]),
            pairs.target[part],
            data_range=predictor.normalization.data_ranges,
            mask=pairs.mask[part],
        )
        rows.append(scores.double().cpu().numpy())
    ssim: NDArray[np.float64] = np.concatenate(rows)
    return ValidationPortrait(ssim, middle_images(ssim.mean(axis=1), infos))


def middle_images(
    scores: NDArray[np.float64], infos: tuple[ImageInfo, ...], *, n: int = N_PICTURES
) -> tuple[int, ...]:
    """Choose images of the subjects whose mean score is nearest the median subject's.

    From each subject the image nearest the subject's own median is taken; more than one where
    there are fewer than `n` subjects.
    """
    images: dict[str, list[int]] = {}
    for index, info in enumerate(infos):
        images.setdefault(info.subject, []).append(index)
    means = {subject: float(scores[own].mean()) for subject, own in images.items()}
    median = float(np.median(list(means.values())))
    subjects = sorted(means, key=lambda subject: (abs(means[subject] - median), subject))[:n]
    each = math.ceil(n / len(subjects))
    chosen: list[int] = []
    for subject in subjects:
        middle = float(np.median(scores[images[subject]]))
        chosen += sorted(images[subject], key=lambda i: (abs(scores[i] - middle), i))[:each]
    return tuple(chosen[:n])


def draw_pictures(
    folder: Path,
    *,
    predictor: Predictor,
    portrait: ValidationPortrait,
    pairs: Pairs,
    manifest: Manifest,
    heading: str,
) -> None:
    """Write one comparison per chosen image: input, truth, prediction and difference."""
    infos = manifest.images["validation"]
    for place, index in enumerate(portrait.shown, start=1):
        prediction = predictor.predict_batch(pairs.input[index : index + 1])[0]
        subject = _safe(infos[index].subject)
        rows = [
            Comparison(
                label=f"{shortened(subject)}\n{target}",
                unit=manifest.units.get(target, ""),
                ssim=float(portrait.ssim[index, channel]),
                input=_array(pairs.input[index, 0]),
                truth=_array(pairs.target[index, channel]),
                prediction=_array(prediction[channel]),
                mask=_array(pairs.mask[index, 0]),
            )
            for channel, target in enumerate(predictor.card.targets)
        ]
        pose = ", ".join(f"{angle:g}" for angle in infos[index].pose_deg)
        write_comparison(
            folder / PICTURES / f"{place}-{subject}.png",
            rows,
            heading=f"{heading}: validation subject near the median, pose ({pose}) degrees",
        )


def draw_curve(folder: Path, card: GeneratorCard, curve: list[dict[str, Any]]) -> None:
    """Write the learning curve, with the best baseline of each target as a level line."""
    curves = {
        target: [record[f"val_ssim_{target}"] for record in curve] for target in card.targets
    }
    lines = {}
    for target in card.targets:
        name = max(card.baselines, key=lambda method: card.baselines[method][target])
        lines[f"{target}: {name.replace('_', ' ')}"] = card.baselines[name][target]
    write_learning_curve(
        folder / CURVE_PICTURE,
        curves,
        heading=f"{_safe(card.study)}, trial {card.trial}",
        baselines=lines,
    )


def _array(tensor: torch.Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.detach().cpu().numpy()
    return array


def _safe(name: str) -> str:
    """Return a name that is safe in a file name and in a picture's text."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", name)[:60].strip("._") or "unnamed"

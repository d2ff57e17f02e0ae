"""Validation scores of a generator, computed on the device in a few large batches."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dexsearch.data.pairs import Pairs
from dexsearch.models.generator import Generator
from dexsearch.models.layout import channels_last
from dexsearch.models.padding import crop_images, pad_images
from dexsearch.training.heads import DirectHead, Head
from dexsearch.training.metrics import EROSION_PX, erode, score_images
from dexsearch.training.normalization import Normalization
from dexsearch.training.precision import exact_float32
from dexsearch.training.quality import Quality, QualityScorer, mean_quality
from dexsearch.training.scoring_batch import images_scored_at_once


@dataclass(frozen=True, slots=True)
class ValidationScores:
    """Means over the validation images; one value per target where a tuple."""

    ssim: tuple[float, ...]
    whole_ssim: tuple[float, ...]
    psnr: tuple[float, ...]
    mae: tuple[float, ...]

    quality: dict[str, float] | None = None
    """What `training.quality` says of the images; None where it was not asked for."""


def scoring_batches(pairs: Pairs) -> Iterator[slice]:
    """Yield slices of as many images as are scored at once."""
    height, width = (int(side) for side in pairs.input.shape[-2:])
    step = images_scored_at_once((height, width))
    for start in range(0, len(pairs), step):
        yield slice(start, start + step)


class Validator:
    """Holds the normalised validation inputs and scores generators on them."""

    def __init__(
        self,
        pairs: Pairs,
        normalization: Normalization,
        *,
        depth: int,
        head: Head | None = None,
        quality: QualityScorer | None = None,
    ) -> None:
        """Prepare the inputs once.

        Args:
            pairs: validation images with every target of the task.
            normalization: of the generators that will be scored.
            depth: of their U-Nets.
            head: makes images of their output; None: every target is predicted.
            quality: scores the final epoch beyond SSIM; None: it is not scored so.

        Raises:
            ValueError: if erosion leaves nothing of an image's body mask.
        """
        self._inner = erode(pairs.mask, EROSION_PX)
        empty = (~self._inner.flatten(1).any(dim=1)).nonzero().flatten()
        if len(empty):
            raise ValueError(
                f"validation image {int(empty[0])} has no body left after eroding its mask by "
                f"{EROSION_PX} px, so it has no score; leave it out or check its mask"
            )
        self._pairs = pairs
        self._normalization = normalization
        self._quality = quality
        self._head = head or DirectHead(normalization)
        self._size_px = (int(pairs.input.shape[-2]), int(pairs.input.shape[-1]))
        self._inputs = pad_images(normalization.normalize_input(pairs.input), depth=depth)

    @torch.inference_mode()
    def score(self, generator: Generator, *, final: bool = False) -> ValidationScores:
        """Return the mean scores of a generator that is in evaluation mode.

        `final` adds the scores of `training.quality`, which cost more and decide nothing.
        """
        rows: list[Tensor] = []
        batches: list[Quality] = []
        with exact_float32():
            for part in scoring_batches(self._pairs):
                images = self._images(generator, part)
                rows.append(self._score_batch(images, part))
                if final and self._quality is not None:
                    batches.append(self._quality.score(images, part))
        per_image = torch.cat(rows, dim=1).double()
        ssim, whole, psnr, mae = per_image.mean(dim=1).tolist()
        means = ValidationScores(tuple(ssim), tuple(whole), tuple(psnr), tuple(mae))
        if not final or self._quality is None:
            return means
        by_target = {
            f"{name}_{target}": value
            for name, values in (("psnr", psnr), ("mae", mae))
            for target, value in zip(self._quality.targets, values, strict=True)
        }
        return replace(means, quality={**by_target, **mean_quality(batches)})

    def _images(self, generator: Generator, part: slice) -> Tensor:
        """Return every target's predicted image, in its unit."""
        inputs = channels_last(self._inputs[part])
        output = crop_images(generator(inputs), self._size_px).float().contiguous()
        return self._head.images(output, self._pairs.input[part])

    def _score_batch(self, images: Tensor, part: slice) -> Tensor:
        """Return SSIM, whole-image SSIM, PSNR and MAE of some images: 4 x images x targets."""
        scores = score_images(
            images,
            self._pairs.target[part],
            data_range=self._normalization.data_ranges,
            mask=self._pairs.mask[part],
            eroded=self._inner[part],
        )
        return torch.stack((scores.ssim, scores.whole_ssim, scores.psnr, scores.mae))

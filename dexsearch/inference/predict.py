"""Image in, bone and tissue image out: a generator package at work.

Input     one single-energy image of any height and width, in the unit of the training inputs
          (for dexsearch's own datasets the log image -ln(I / I0)); dense is high.
Output    one image per target, in the unit that the package's card gives it (cm).
Exactness the steps are those of validation: normalise the whole image, pad by mirroring to
          what the U-Net takes, predict in float32 with the stored weights, crop; head `derive`
          then computes tissue from the bone and the input. Large images are predicted in tiles,
          see tiles.py, with the same result.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dexsearch.config.trial import TrialConfig
from dexsearch.errors import DataError
from dexsearch.inference.package import GeneratorCard, Package
from dexsearch.inference.tiles import MEMORY_BYTES, Progress, run_in_tiles
from dexsearch.models.generator import Generator, build_generator
from dexsearch.models.layout import channels_last, weights_channels_last
from dexsearch.models.padding import crop_images, pad_images
from dexsearch.physics.inversion import ExposureInversion
from dexsearch.training.heads import Head, build_head
from dexsearch.training.normalization import Normalization
from dexsearch.training.precision import exact_float32

AIR_FRACTION = 0.05


@dataclass(frozen=True, slots=True)
class Predictor:
    """A loaded generator; make one with `load_predictor`."""

    card: GeneratorCard
    generator: Generator
    normalization: Normalization
    head: Head
    depth: int
    device: torch.device

    def predict(
        self,
        image: NDArray[np.float32],
        *,
        memory_bytes: int = MEMORY_BYTES,
        progress: Progress = lambda done, total: None,
    ) -> dict[str, NDArray[np.float32]]:
        """Predict every target of one image, H x W, in bounded memory.

        Args:
            image: in the unit of the training inputs.
            memory_bytes: what the features may take; images that need more go in tiles.
            progress: is called with the tiles that are done and their number.

        Raises:
            ValueError: if the image is not two-dimensional, is empty or holds NaN or Inf.
        """
        if image.ndim != 2 or image.size == 0:
            raise ValueError(f"got an image of shape {image.shape}; expected height x width")
        values = np.ascontiguousarray(image, dtype=np.float32)
        if not np.isfinite(values).all():
            raise ValueError("got an image with NaN or Inf; every pixel must be a finite number")
        images = self._predict_one(torch.from_numpy(values)[None, None], memory_bytes, progress)
        return {
            target: images[0, channel].cpu().numpy()
            for channel, target in enumerate(self.card.targets)
        }

    @torch.inference_mode()
    def _predict_one(
        self, image: Float[Tensor, "1 1 H W"], memory_bytes: int, progress: Progress
    ) -> Float[Tensor, "1 C H W"]:
        signal = image.to(self.device)
        x = pad_images(self.normalization.normalize_input(signal), depth=self.depth)
        with exact_float32():
            output = run_in_tiles(self.generator, x, memory_bytes=memory_bytes, progress=progress)
        size_px = (int(image.shape[-2]), int(image.shape[-1]))
        return self.head.images(crop_images(output, size_px).float().contiguous(), signal)

    @torch.inference_mode()
    def predict_batch(self, images: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B C H W"]:
        """Predict a batch of images of one size, in the targets' units."""
        size_px = (int(images.shape[-2]), int(images.shape[-1]))
        signal = images.to(self.device)
        x = pad_images(self.normalization.normalize_input(signal), depth=self.depth)
        with exact_float32():
            output = self.generator(channels_last(x))
        return self.head.images(crop_images(output, size_px).float().contiguous(), signal)


def load_predictor(package: Package, device: torch.device | None = None) -> Predictor:
    """Build the generator of an opened package and load its weights.

    Args:
        package: from `open_package`, which checked its hashes.
        device: where to predict; the CPU by default.

    Raises:
        DataError: if weights and configuration do not belong together.
    """
    place = device or torch.device("cpu")
    try:
        config = TrialConfig.model_validate(package.card.trial_config)
        normalization = Normalization.from_dict(package.card.normalization)
        stored = package.card.inversion
        inversion = None if stored is None else ExposureInversion.from_dict(stored)
        head = build_head(config.task, normalization, inversion)
        generator = build_generator(config.generator, n_targets=len(config.task.predicted))
        generator.load_state_dict(load_file(package.weights))
    except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        told = " ".join(str(error).split())
        raise DataError(
            f"generator package {str(package.path)!r} cannot be loaded: {told[:200]}",
            hint="use the dexsearch version that wrote it",
        ) from None
    generator.eval().requires_grad_(requires_grad=False)
    generator.to(place)
    weights_channels_last(generator)
    return Predictor(package.card, generator, normalization, head, config.generator.depth, place)


def match_grey_levels(
    image: NDArray[np.float32], normalization: Normalization
) -> NDArray[np.float32]:
    """Shift and scale grey levels, which have no unit, to the mean and spread of training bodies.

    Approximate: the body is taken to be every pixel above the darkest 5 % of the grey scale, and
    dense has to be bright. An image of one grey level becomes the training mean.
    """
    low, high = float(image.min()), float(image.max())
    body = image[image > low + AIR_FRACTION * (high - low)]
    if body.size == 0 or float(body.std()) == 0:
        return np.full_like(image, normalization.mean)
    scaled = (image - body.mean()) / body.std() * normalization.std + normalization.mean
    return np.asarray(scaled, dtype=np.float32)

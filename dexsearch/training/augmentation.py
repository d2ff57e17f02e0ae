"""Fresh exposures of the training views: the same anatomy under new noise in every epoch.

The noise of a batch follows from (seed, epoch, batch) alone, so an interrupted run continues
exactly, and no state of a random number generator is part of a checkpoint.

Edges  Stored path lengths are means over a pixel's rays, stored inputs average the intensity of
       those rays. Where an edge crosses a pixel the stored input is therefore lower (exponential
       edge gradient): on phantoms at 64 pixels of 5 mm by 0.012 log units RMS inside the body,
       twice the noise at 0.1 mAs. A dataset with several rays a pixel stores that difference, and
       it is taken from every fresh exposure; with another tube voltage it is approximate.
       Rounding the lengths to float16 costs 0.001.
"""

import dataclasses
from abc import ABC, abstractmethod

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dexsearch.config.trial import ExposureConfig
from dexsearch.data.pairs import TrainingData
from dexsearch.models.layout import channels_last
from dexsearch.models.padding import pad_images
from dexsearch.physics.attenuation import HIGHEST_KVP, LOWEST_KVP
from dexsearch.physics.detector import log_projections
from dexsearch.training.normalization import Normalization

_EXPOSURE_STREAM = 1
"""Sets the draws apart from those of initial weights and batch order, which share the seed."""


class TrainingInputs(ABC):
    """What the generator is shown of the training images: normalised and padded batches."""

    @abstractmethod
    def batch(
        self, images: Int[Tensor, " B"], *, epoch: int, number: int
    ) -> Float[Tensor, "B 1 H W"]:
        """Return the inputs of some images, channels last.

        Args:
            images: which of the training images.
            epoch: counted from 1.
            number: place of the batch in its epoch.
        """


class StoredInputs(TrainingInputs):
    """The inputs of the dataset, the same in every epoch."""

    def __init__(self, normalized: Float[Tensor, "N 1 H W"], *, depth: int) -> None:
        self._inputs = channels_last(pad_images(normalized, depth=depth))

    def batch(
        self, images: Int[Tensor, " B"], *, epoch: int, number: int
    ) -> Float[Tensor, "B 1 H W"]:
        """Return the stored images, whatever the epoch."""
        return channels_last(self._inputs[images])


class FreshExposures(TrainingInputs):
    """A new exposure of the stored path lengths for every epoch and batch."""

    def __init__(
        self,
        config: ExposureConfig,
        data: TrainingData,
        normalization: Normalization,
        *,
        depth: int,
        seed: int,
    ) -> None:
        """Take the training views.

        Raises:
            ValueError: if the data have no path lengths or no known exposure.
        """
        lengths = data.train.path_lengths
        if lengths is None or data.exposure is None:
            raise ValueError(
                "got exposure.resample=True for data without path lengths or without a simulated "
                "exposure, so there is nothing to expose anew; set exposure.resample to false"
            )
        self._lengths = lengths
        self._exposure, self._detector = data.exposure
        self._config = config
        self._normalization = normalization
        self._depth = depth
        self._seed = seed

    def batch(
        self, images: Int[Tensor, " B"], *, epoch: int, number: int
    ) -> Float[Tensor, "B 1 H W"]:
        """Expose the images anew."""
        exposed = self.expose(images, epoch=epoch, number=number)
        normalized = self._normalization.normalize_input(exposed[:, None])
        return channels_last(pad_images(normalized, depth=self._depth))

    def expose(
        self, images: Int[Tensor, " B"], *, epoch: int, number: int
    ) -> Float[Tensor, "B H W"]:
        """Return the log projections of the images under the batch's tube voltage and doses."""
        device = self._lengths.soft_cm.device
        key = np.random.SeedSequence([self._seed, epoch, number, _EXPOSURE_STREAM])
        draws = np.random.default_rng(key)
        noise = torch.Generator(device).manual_seed(int(key.generate_state(1, np.uint64)[0] >> 1))
        jitter, spread = self._config.kvp_jitter, self._config.dose_jitter
        kvp = self._exposure.kvp + round(draws.uniform(-jitter, jitter))  # few beams to compute
        doses = torch.from_numpy(np.exp(draws.uniform(-spread, spread, len(images))))
        exposed = log_projections(
            *self._lengths_cm(images),
            dataclasses.replace(self._exposure, kvp=float(np.clip(kvp, LOWEST_KVP, HIGHEST_KVP))),
            detector=self._detector,
            rays_per_pixel=1,
            rng=noise,
            dose_factor=doses.float().to(device) if spread > 0 else None,
        )
        edges = self._lengths.edges
        return exposed if edges is None else exposed - edges[images].float()

    def _lengths_cm(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self._lengths.soft_cm[images].float(), self._lengths.bone_cm[images].float()

"""Fresh exposures of the training views: the same anatomy under new noise in every epoch.

The noise of a batch follows from (seed, epoch, batch) alone, so an interrupted run continues
exactly, and no state of a random number generator is part of a checkpoint.

Edges  Stored path lengths are means over a pixel's rays, stored inputs average the intensity of
       those rays. Where an edge crosses a pixel the stored input is therefore lower (exponential
       edge gradient): on phantoms at 64 pixels of 5 mm by 0.009 log units RMS inside the body at
       120 kVp, three times the noise at 0.1 mAs. A dataset with several rays a pixel stores that
       difference, and it is taken from every fresh exposure.
       It grows with the square of soft tissue's attenuation, so at another tube voltage it is
       scaled by that. What is left of it, RMS in the body, beside the noise at 0.1 mAs there:

           dataset    exposed at    not scaled    scaled    noise
           120 kVp       140 kVp        0.0005    0.0002   0.0027
           120 kVp       100 kVp        0.0009    0.0003   0.0040
           120 kVp        60 kVp        0.0063    0.0027   0.0117
            60 kVp        80 kVp        0.0038    0.0012   0.0059
            60 kVp       120 kVp        0.0063    0.0018   0.0032
            60 kVp       140 kVp        0.0068    0.0019   0.0027

       Rounding the lengths to float16 costs 0.001.
"""

import dataclasses
import math

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dexsearch.config.trial import ExposureConfig
from dexsearch.data.pairs import TrainingData
from dexsearch.models.layout import channels_last
from dexsearch.models.padding import pad_images
from dexsearch.physics.attenuation import HIGHEST_KVP, LOWEST_KVP, REFERENCE_SOFT_CM
from dexsearch.physics.detector import beam_of, log_projections
from dexsearch.physics.exposure import Exposure
from dexsearch.training.inputs import TrainingInputs
from dexsearch.training.normalization import Normalization

_EXPOSURE_STREAM = 1
"""Sets the draws apart from those of initial weights and batch order, which share the seed."""


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
            ValueError: if the data have no path lengths or no known exposure, or do not say what
                edges within a pixel let through though a pixel had several rays.
        """
        lengths = data.train.path_lengths
        if lengths is None or data.exposure is None:
            raise ValueError(
                "got exposure.resample=True for data without path lengths or without a simulated "
                "exposure, so there is nothing to expose anew; set exposure.resample to false"
            )
        if data.exposure[1].supersample > 1 and lengths.edges is None:
            raise ValueError(
                "got exposure.resample=True for data with several rays a pixel that do not say "
                "what edges within a pixel let through; they were made by an older version, so "
                "make them again or set exposure.resample to false"
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
        exposure, spread = self._drawn_exposure(draws), self._config.dose_jitter
        doses = torch.from_numpy(np.exp(draws.uniform(-spread, spread, len(images))))
        exposed = log_projections(
            *self._lengths_cm(images),
            exposure,
            detector=self._detector,
            rays_per_pixel=1,
            rng=noise,
            dose_factor=doses.float().to(device) if spread > 0 else None,
        )
        edges = self._lengths.edges
        if edges is None:
            return exposed
        ratio = _soft_attenuation_per_cm(exposure) / _soft_attenuation_per_cm(self._exposure)
        return exposed - ratio**2 * edges[images].float()

    def _drawn_exposure(self, draws: np.random.Generator) -> Exposure:
        """Draw evenly among whole steps of 1 kVp from the dataset's, so that few beams are met."""
        kvp, jitter = self._exposure.kvp, self._config.kvp_jitter
        least = math.ceil(max(-jitter, LOWEST_KVP - kvp))
        most = math.floor(min(jitter, HIGHEST_KVP - kvp))
        step = int(draws.integers(least, most, endpoint=True))
        return dataclasses.replace(self._exposure, kvp=kvp + step)

    def _lengths_cm(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self._lengths.soft_cm[images].float(), self._lengths.bone_cm[images].float()


def _soft_attenuation_per_cm(exposure: Exposure) -> float:
    """Return mu of soft tissue behind 18 cm of it, weighted by absorbed energy."""
    beam = beam_of(exposure)
    passed = np.exp(-REFERENCE_SOFT_CM * beam.mu_soft_per_cm)
    weights = beam.quanta_per_cm2_mas * beam.energy_kev * passed
    return float(np.average(beam.mu_soft_per_cm, weights=weights))

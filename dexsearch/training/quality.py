"""What a generator's images are good for: scores of the final epoch, beside the objective.

They are stored in `EpochRecord.quality`, as means over the validation images; what cannot be
computed is left out. TARGET is bone or tissue, STAGE is input, prediction or truth; the stages of
a ratio are means over the same views, those in which the structure and its background are.

    key                      unit    good    what it is
    psnr_TARGET              dB      high    `metrics.psnr`, inside the body
    mae_TARGET               target  low     `metrics.mae`, inside the body
    sdnr_rib_bone_STAGE      -       high    ribs against the spaces between them, over the lungs:
                                             anatomy-limited ratio (`sdnr.anatomy_limited`)
    sdnr_rib_tissue_STAGE    -       truth's the same: how much of the ribs is left
    sdnr_tumour_tissue_STAGE -       high    tumour against the ring around it, alike
    bone_suppression         -       1       share of the input's error that is gone, two-sided;
                                             the input scores 0, worse is negative
    bone_leakage             -       0       share of the input's bone that is left; the input has
                                             1, the truth 0, negative: removed too much
    tumour_error_mm          mm      0       how far from its place in the truth a tumour is found
                                             in the predicted tissue image, at the tumour's depth
    tumour_error_input_mm    mm      -       the same in the input
    tumour_views             images  -       how many views these two were averaged over

Number     `metrics.METRIC_DEFINITION` covers these too: it is raised if a value changes.
Input      One line for all validation images brings the input to a target's unit, by least
           squares inside the bodies; it is the best line in hindsight, so a hard peer.
Needs      Ribs and leakage need path lengths, tumours a known place and pixel size, and the last
           five a tissue target. Without a pixel size, neighbours are those of 5 mm pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dexsearch.data.pairs import Pairs
from dexsearch.data.tumours import Tumours
from dexsearch.training.affine import fit_affine
from dexsearch.training.contrast import neighbourhood_px
from dexsearch.training.localisation import localisation_error_mm
from dexsearch.training.sdnr import Regions, anatomy_limited, rib_regions, tumour_regions
from dexsearch.training.suppression import Suppression, details, suppression

UNKNOWN_PIXEL_MM = 5.0
_STAGES = ("input", "prediction", "truth")


@dataclass(frozen=True, slots=True)
class Quality:
    """Scores of some images."""

    views: dict[str, Tensor]
    """One value per image (B) by key; NaN where an image has none."""

    suppression: Suppression | None
    """Sums of every image; None without a tissue target."""


@final
class QualityScorer:
    """Scores predictions of one subset; what does not depend on them is found once."""

    def __init__(
        self, pairs: Pairs, *, targets: tuple[str, ...], pixel_mm: float | None = None
    ) -> None:
        """Fit the line from input to each target.

        Args:
            pairs: the images.
            targets: names of their target channels.
            pixel_mm: pixel spacing at the isocentre; None where it is not known.

        Raises:
            ValueError: if the names are not as many as the channels, the pixel size is not above
                0, or all masks are empty.
        """
        if len(targets) != pairs.target.shape[1]:
            raise ValueError(f"got targets {targets!r} for {pairs.target.shape[1]} channels")
        if pixel_mm is not None and not 0 < pixel_mm < math.inf:
            raise ValueError(f"got pixels of {pixel_mm!r} mm; the pixel size is above 0, or None")
        self._pairs = pairs
        self.targets = targets
        self._pixel_mm = pixel_mm or UNKNOWN_PIXEL_MM
        body = pairs.mask.flatten().nonzero().squeeze(1)
        inputs = pairs.input.flatten()[body]
        fits = [
            fit_affine([(inputs, channel.flatten()[body])])
            for channel in pairs.target.unbind(dim=1)
        ]
        self._slopes = pairs.input.new_tensor([fit.slope for fit in fits]).view(-1, 1, 1)
        self._offsets = pairs.input.new_tensor([fit.offset for fit in fits]).view(-1, 1, 1)

    def score(self, prediction: Float[Tensor, "B C H W"], part: slice) -> Quality:
        """Score the predictions of the images `part`, in the targets' units."""
        pairs = self._pairs
        truth, mask = pairs.target[part], pairs.mask[part]
        copies = self._slopes * pairs.input[part] + self._offsets
        # B 3 C H W, stages in the order of `_STAGES`
        stages = torch.stack((copies, prediction.to(truth.dtype), truth), dim=1)
        bone_cm = None
        views: dict[str, Tensor] = {}
        if pairs.path_lengths is not None:
            bone_cm = pairs.path_lengths.bone_cm[part].float()
            soft_cm = pairs.path_lengths.soft_cm[part].float()
            regions = rib_regions(soft_cm, bone_cm, mask[:, 0], pixel_mm=self._pixel_mm)
            names = [f"sdnr_rib_{target}" for target in self.targets]
            views |= self._contrasts(names, stages, regions)
        if "tissue" not in self.targets:
            return Quality(views, None)
        tumours = None if pairs.tumours is None else pairs.tumours[part]
        tissue = stages[:, :, self.targets.index("tissue")]
        if tumours is not None:
            regions = tumour_regions(
                tumours.row_px, tumours.column_px, tumours.diameter_px, mask[:, 0]
            )
            views |= self._contrasts(["sdnr_tumour_tissue"], tissue[:, :, None], regions)
        return self._removal(tissue, bone_cm, mask, tumours, views)

    def _contrasts(
        self, names: Sequence[str], images: Float[Tensor, "B 3 N H W"], regions: Regions
    ) -> dict[str, Tensor]:
        """Compare a structure with what is beside it, in every stage of the named images."""
        ratios = anatomy_limited(images.flatten(1, 2), regions, pixel_mm=self._pixel_mm)
        keys = [f"{name}_{stage}" for stage in _STAGES for name in names]
        return dict(zip(keys, ratios.unbind(dim=1), strict=True))

    def _removal(
        self,
        tissue: Tensor,
        bone_cm: Tensor | None,
        mask: Bool[Tensor, "B 1 H W"],
        tumours: Tumours | None,
        views: dict[str, Tensor],
    ) -> Quality:
        """Add what is computed on tissue images without their local means."""
        images = tissue if bone_cm is None else torch.cat((tissue, bone_cm[:, None]), dim=1)
        hp = details(images, mask, sigma_px=neighbourhood_px(self._pixel_mm))
        before, prediction, truth = hp[:, :3].unbind(dim=1)
        removed = suppression(prediction, truth, before, None if bone_cm is None else hp[:, 3])
        if tumours is not None:
            errors = localisation_error_mm(
                hp[:, :2], truth, tumours, mask, pixel_mm=self._pixel_mm
            )
            views |= {
                "tumour_error_mm": errors[:, 1],
                "tumour_error_input_mm": errors[:, 0],
                "tumour_views": errors[:, 1].isfinite().float(),
            }
        return Quality(views, removed)


def mean_quality(batches: Sequence[Quality]) -> dict[str, float]:
    """Return the values of all images by key: means over those that have one.

    Which views a ratio is averaged over is read off the truth, so that no prediction can choose.
    Suppression and leakage are ratios of sums over all images; `tumour_views` is a count. What no
    image has is left out, and so is a mean that is not finite.
    """
    means: dict[str, float] = {}
    views = {
        name: torch.cat([batch.views[name] for batch in batches]).double()
        for name in batches[0].views
    }
    for name, values in views.items():
        base, _, stage = name.rpartition("_")
        has_one = ~views[f"{base}_truth" if stage in _STAGES else name].isnan()
        seen = values[has_one]
        means[name] = float(seen.sum() if name == "tumour_views" else seen.mean())
    parts = [batch.suppression for batch in batches if batch.suppression is not None]
    if parts:
        total = Suppression.joined(parts).pooled()
        means |= {
            "bone_suppression": float(total.ratio),
            "bone_leakage": float(total.leakage),
        }
    return {name: value for name, value in means.items() if math.isfinite(value)}

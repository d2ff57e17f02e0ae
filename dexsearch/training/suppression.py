"""Bone in tissue images: how much a generator removed, and how much leaks through.

    suppression  1 - sum HP(prediction - truth)^2 / sum HP(input - truth)^2
                 1: the truth; 0: no better than the input; negative: worse. Two-sided: bone that
                 is taken out too much counts as bone that stays.
    leakage      slope of (prediction - truth) on the thickness of bone, divided by the same slope
                 of the input. 0: no bone; 1: nothing removed; negative: removed too much.

HP           An image without its local mean, inside the body (`contrast.high_pass`, 10 mm). The
             shading of a whole body says nothing about bone, and would decide both otherwise.
             Slopes go through the origin, because nothing is left of a mean.
input        An image of log units is no tissue image: it is first brought to the target's unit by
             one line for all images, least squares inside the body. The method is that of the
             baseline `identity_affine`, the images are not: that line is fitted to the training
             images, this one to the images that are scored. Its copy of the input is what scores
             exactly 0 and leaks exactly 1.
Sums         Both are ratios of sums. Over several images the sums are added first, so that a view
             with little bone has little to say.
Axes         B images, H rows, W columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dexsearch.training.contrast import high_pass


@dataclass(frozen=True, slots=True)
class Suppression:
    """The sums of some images, all over the body of each."""

    wrong: Float[Tensor, " B"]
    """Squares of HP(prediction - truth), in the squared unit of the images."""

    wrong_before: Float[Tensor, " B"]
    """Squares of HP(input - truth)."""

    leaking: Float[Tensor, " B"]
    """Products of HP(prediction - truth) and HP(bone thickness); NaN where that is not known."""

    leaking_before: Float[Tensor, " B"]
    """Products of HP(input - truth) and HP(bone thickness)."""

    @property
    def ratio(self) -> Float[Tensor, " B"]:
        """Bone suppression ratio; NaN where the input is the truth already."""
        return 1 - self.wrong / self.wrong_before

    @property
    def leakage(self) -> Float[Tensor, " B"]:
        """Bone leakage; NaN where there is no bone, or none of it in the input."""
        return self.leaking / self.leaking_before

    @classmethod
    def joined(cls, parts: Sequence["Suppression"]) -> "Suppression":
        """Return the images of all parts, one after the other."""
        return cls(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(cls)))

    def pooled(self) -> "Suppression":
        """Return the sums over all images, as one image of them all."""
        return Suppression(*(getattr(self, f.name).double().sum().view(1) for f in fields(self)))


def suppression(
    prediction_hp: Float[Tensor, "B H W"],
    truth_hp: Float[Tensor, "B H W"],
    input_hp: Float[Tensor, "B H W"],
    bone_hp: Float[Tensor, "B H W"] | None,
) -> Suppression:
    """Sum over images whose local means are gone already (`details`).

    Args:
        prediction_hp: predicted tissue image.
        truth_hp: true tissue image, in the same unit.
        input_hp: the input, brought to the same unit.
        bone_hp: true thickness of bone in any unit; None where it is not known.
    """
    error, before = prediction_hp - truth_hp, input_hp - truth_hp
    unknown = torch.full_like(error[:, 0, 0], torch.nan)
    return Suppression(
        wrong=_inner(error, error),
        wrong_before=_inner(before, before),
        leaking=unknown if bone_hp is None else _inner(error, bone_hp),
        leaking_before=unknown if bone_hp is None else _inner(before, bone_hp),
    )


def details(
    images: Float[Tensor, "B K H W"], mask: Bool[Tensor, "B 1 H W"], *, sigma_px: float
) -> Float[Tensor, "B K H W"]:
    """Return K images of each body without their local means, 0 outside it.

    Raises:
        ValueError: if a body is empty.
    """
    empty = (~mask.flatten(1).any(dim=1)).nonzero().flatten()
    if len(empty):
        raise ValueError(
            f"image {int(empty[0])} has an empty body mask, so nothing in it can be compared; "
            "leave it out or check its mask"
        )
    return high_pass(images, mask, sigma_px=sigma_px)


def _inner(one: Tensor, other: Tensor) -> Tensor:
    return (one * other).sum(dim=(-2, -1))

"""From what a network puts out to the images of its task, in the targets' units.

Everything that scores, shows or writes images goes through a head, so `derive` (bone predicted,
tissue computed) is told apart from the other heads in this file alone.
"""

from abc import ABC, abstractmethod
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from dexsearch.config.trial import Task
from dexsearch.physics.inversion import ExposureInversion
from dexsearch.training.normalization import Normalization


class Head(ABC):
    """Turns the output of a network into one image for each of its task's targets."""

    @abstractmethod
    def images(
        self, output: Float[Tensor, "B P H W"], signal: Float[Tensor, "B 1 H W"]
    ) -> Float[Tensor, "B C H W"]:
        """Return the images of all targets, in their order and units.

        Args:
            output: of the network, without padding, in units of the data ranges; P channels are
                the task's `predicted`.
            signal: the inputs as they are in the dataset, before any normalisation.
        """


@final
class DirectHead(Head):
    """Every target is predicted."""

    def __init__(self, normalization: Normalization) -> None:
        self._normalization = normalization

    def images(
        self, output: Float[Tensor, "B P H W"], signal: Float[Tensor, "B 1 H W"]
    ) -> Float[Tensor, "B C H W"]:
        """Return the output in the targets' units; the signal plays no part."""
        return self._normalization.to_physical(output)


@final
class DerivedHead(Head):
    """Bone is predicted, and tissue is what makes the input out of it.

    So both images re-make the input, by construction: an error of bone shows in the tissue too,
    and so does the noise of the input.
    """

    def __init__(self, normalization: Normalization, inversion: ExposureInversion) -> None:
        self._normalization = normalization
        self._inversion = inversion

    def images(
        self, output: Float[Tensor, "B P H W"], signal: Float[Tensor, "B 1 H W"]
    ) -> Float[Tensor, "B C H W"]:
        """Return bone and tissue in cm; `signal` is the log signal of the inverted exposure."""
        bone_cm = self._normalization.to_physical(output)
        soft_cm = self._inversion.soft_cm(signal.to(bone_cm.device), bone_cm)
        return torch.cat((bone_cm, soft_cm), dim=1)


def build_head(
    task: Task, normalization: Normalization, inversion: ExposureInversion | None
) -> Head:
    """Return the head of a task.

    Args:
        task: the trial's.
        normalization: with a data range for each target.
        inversion: of the exposure of the inputs; needed by `derive` alone.

    Raises:
        ValueError: if the task is `derive` and there is no inversion.
    """
    if task is not Task.DERIVE:
        return DirectHead(normalization)
    if inversion is None:
        raise ValueError(
            "got task 'derive' without the inversion of an exposure; load the data for that task, "
            "or choose joint"
        )
    return DerivedHead(normalization, inversion)

"""What the generator is shown of the training images; `augmentation` exposes them anew."""

from abc import ABC, abstractmethod

from jaxtyping import Float, Int
from torch import Tensor

from dexsearch.models.layout import channels_last
from dexsearch.models.padding import pad_images


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

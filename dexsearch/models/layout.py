"""Memory layout of images: channels last, the faster one for convolutions on CPU and GPU."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


def weights_channels_last(network: nn.Module) -> None:
    """Move the kernels of a network to channels last, in place; equal bits need equal layout."""
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def channels_last(images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """Return the images with channels last in memory, strides included.

    Images of one channel count as channels last for torch whatever their strides say, yet it
    derives the layout of what follows from the strides: left alone, they would pull the first
    layer back to channels first, and copies would follow wherever both layouts meet.
    """
    images = images.contiguous(memory_format=torch.channels_last)
    _, channels, height, width = images.shape
    if channels > 1:
        return images
    return images.as_strided(images.shape, (height * width, 1, width, 1))

"""Images of any size for a U-Net that takes multiples of `2 ** depth`: pad, then crop.

Padding stays outside the network: the trainer and the predictor share these functions, so
that a prediction equals what was validated.
"""

from jaxtyping import Shaped
from torch import Tensor
from torch.nn import functional


def padded_size_px(size_px: tuple[int, int], *, depth: int) -> tuple[int, int]:
    """Return the smallest size that a U-Net of `depth` takes: multiples, at least two each."""
    step = 2**depth
    height, width = (max(2, -(-side // step)) * step for side in size_px)
    return height, width


def pad_images(images: Shaped[Tensor, "B C H W"], *, depth: int) -> Shaped[Tensor, "B C h w"]:
    """Extend images below and to the right by mirroring them.

    Images too small to be mirrored that far repeat their edge pixels instead.
    """
    size = (int(images.shape[-2]), int(images.shape[-1]))
    height, width = padded_size_px(size, depth=depth)
    below, right = height - size[0], width - size[1]
    if below == 0 and right == 0:
        return images
    mode = "reflect" if below < size[0] and right < size[1] else "replicate"
    return functional.pad(images, (0, right, 0, below), mode=mode)


def crop_images(
    images: Shaped[Tensor, "B C h w"], size_px: tuple[int, int]
) -> Shaped[Tensor, "B C H W"]:
    """Undo `pad_images`: keep the first rows and columns."""
    return images[..., : size_px[0], : size_px[1]]

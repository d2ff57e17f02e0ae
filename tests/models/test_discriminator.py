"""Laws of the PatchGAN."""

import pytest
import torch

from dexsearch.config.trial import DiscriminatorConfig
from dexsearch.models.discriminator import (
    build_discriminator,
    output_map_px,
    receptive_field_px,
)

FIELDS = (1, 16, 34, 70, 142, 286)


@pytest.mark.parametrize("patch_px", FIELDS)
def test_one_verdict_depends_on_exactly_its_patch(patch_px: int) -> None:
    config = DiscriminatorConfig(patch_px=patch_px, width=1, norm="none")  # type: ignore[arg-type]
    discriminator = build_discriminator(config, n_targets=1).double()
    for parameter in discriminator.parameters():  # keep every path alive
        torch.nn.init.uniform_(parameter, 0.1, 1.0, generator=torch.Generator().manual_seed(0))
    side = 448 if patch_px == 286 else 4 * patch_px if patch_px > 1 else 8
    x = torch.rand(1, 1, side, side, dtype=torch.float64, requires_grad=True)
    y = torch.rand(1, 1, side, side, dtype=torch.float64, requires_grad=True)
    verdicts = discriminator(x, y)
    rows, columns = verdicts.shape[-2:]
    verdicts[0, 0, rows // 2, columns // 2].backward()
    for image in (x, y):
        assert image.grad is not None
        touched = image.grad[0, 0] != 0
        assert int(touched.any(dim=0).sum()) == patch_px
        assert int(touched.any(dim=1).sum()) == patch_px


@pytest.mark.parametrize("patch_px", FIELDS)
def test_the_receptive_field_is_the_one_asked_for(patch_px: int) -> None:
    config = DiscriminatorConfig(patch_px=patch_px, width=1)  # type: ignore[arg-type]
    assert receptive_field_px(config) == patch_px


@pytest.mark.parametrize(
    ("patch_px", "height", "width"), [(1, 12, 8), (16, 32, 48), (34, 32, 32), (70, 64, 96)]
)
@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
def test_the_map_has_the_size_that_is_promised(
    patch_px: int, height: int, width: int, norm: str
) -> None:
    config = DiscriminatorConfig(patch_px=patch_px, width=2, norm=norm)  # type: ignore[arg-type]
    discriminator = build_discriminator(config, n_targets=2)
    verdicts = discriminator(torch.randn(2, 1, height, width), torch.randn(2, 2, height, width))
    assert verdicts.shape == (2, 1, *output_map_px(patch_px, height, width))


def test_only_batch_norm_mixes_images() -> None:
    mixes = {
        norm: build_discriminator(DiscriminatorConfig(norm=norm), n_targets=1).mixes_images  # type: ignore[arg-type]
        for norm in ("batch", "instance", "none")
    }
    assert mixes == {"batch": True, "instance": False, "none": False}

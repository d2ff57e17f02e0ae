"""A configuration that cannot fit the images is refused: key, limit, way out."""

import pytest
import torch

from dexsearch.config.trial import DiscriminatorConfig, trial_config
from dexsearch.models.discriminator import build_discriminator
from dexsearch.models.fit import fits


def test_a_bottleneck_under_two_pixels_is_refused() -> None:
    config = trial_config({"generator.depth": 6, "loss.adversarial": "none"})
    fits(config, (128, 65))
    message = r"^generator.depth=6 needs images of at least 65 px a side, got 64; lower generator"
    with pytest.raises(ValueError, match=message):
        fits(config, (128, 64))


def test_an_image_is_judged_by_its_padded_size() -> None:
    fits(trial_config({"generator.depth": 5}), (63, 63))
    with pytest.raises(ValueError, match="at least 33 px"):
        fits(trial_config({"generator.depth": 5}), (32, 63))


def test_an_empty_discriminator_map_is_refused() -> None:
    config = trial_config({"discriminator.patch_px": 286, "generator.depth": 3})
    fits(config, (96, 96))
    message = r"^discriminator.patch_px=286 needs images of at least 96 px a side, got 64; lower"
    with pytest.raises(ValueError, match=message):
        fits(config, (64, 64))
    fits(trial_config({"discriminator.patch_px": 286, "loss.adversarial": "none"}), (64, 64))


@pytest.mark.parametrize("patch_px", [16, 34, 70, 142])
def test_the_smallest_size_allowed_works_with_instance_norm(patch_px: int) -> None:
    config = trial_config({"discriminator.patch_px": patch_px, "generator.depth": 1})
    side = next(s for s in range(4, 200, 2) if _fits(config, s))
    discriminator = build_discriminator(
        DiscriminatorConfig(patch_px=patch_px, width=1, norm="instance"),  # type: ignore[arg-type]
        n_targets=1,
    )
    images = torch.randn(1, 1, side, side)
    assert discriminator(images, images).numel() >= 1


def _fits(config: object, side: int) -> bool:
    try:
        fits(config, (side, side))  # type: ignore[arg-type]
    except ValueError:
        return False
    return True

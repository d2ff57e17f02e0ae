"""Tiles agree with the whole image, whatever the normalisation of the network."""

import pytest
import torch
from torch import nn

from dexsearch.config.trial import GeneratorConfig
from dexsearch.inference.tiles import reach_px, run_in_tiles
from dexsearch.models.generator import Generator, build_generator
from dexsearch.models.layout import channels_last

SMALL_BYTES = 20_000


def network(norm: str, depth: int, kernel_px: int, output: str = "residual") -> Generator:
    """A U-Net with lively weights, in evaluation mode."""
    config = GeneratorConfig.model_validate(
        {"norm": norm, "depth": depth, "kernel_px": kernel_px, "width": 4, "output": output}
    )
    rng = torch.Generator().manual_seed(depth + kernel_px)
    built = build_generator(config, n_targets=2, rng=rng).eval().requires_grad_(False)
    for parameter in built.parameters():
        parameter.normal_(0.0, 0.2, generator=rng)
    for layer in built.modules():
        if isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None:
            layer.running_mean.normal_(generator=rng)
    return built


def noise(rows: int, columns: int) -> torch.Tensor:
    return torch.randn(1, 1, rows, columns, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("norm", ["none", "batch", "instance"])
@pytest.mark.parametrize(
    ("depth", "kernel_px", "output"),
    [(1, 4, "plain"), (2, 3, "residual"), (3, 4, "residual"), (3, 7, "plain"), (4, 2, "plain")],
)
def test_tiles_give_the_numbers_of_the_whole_image(
    norm: str, depth: int, kernel_px: int, output: str
) -> None:
    built, x = network(norm, depth, kernel_px, output), noise(192, 160)
    done: list[tuple[int, int]] = []
    with torch.inference_mode():
        whole = built(x)
        tiled = run_in_tiles(
            built, x, memory_bytes=SMALL_BYTES, progress=lambda *now: done.append(now)
        )
    assert len(done) > 4
    assert [n for n, _ in done] == list(range(1, done[-1][1] + 1))
    assert (tiled - whole).abs().max() <= 2e-6 * whole.abs().max()


def test_instance_norm_over_each_tile_alone_would_leave_seams() -> None:
    built, x = network("instance", 2, 4), noise(64, 64)
    with torch.inference_mode():
        whole, part = built(x), built(x[..., :32, :])
    assert (part[..., :16, :] - whole[..., :16, :]).abs().max() > 1e-2 * whole.abs().max()


def test_an_image_that_fits_is_run_whole() -> None:
    built, x = network("instance", 2, 4), noise(64, 48)
    with torch.inference_mode():
        assert torch.equal(run_in_tiles(built, x), built(channels_last(x)))


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("kernel_px", [2, 3, 4, 5, 6, 7])
def test_pixels_within_reach_have_an_effect_and_others_have_none(
    depth: int, kernel_px: int
) -> None:
    built, step = network("none", depth, kernel_px), 2**depth
    before, after = reach_px(depth, kernel_px)
    start = -(-before // step) * step + step
    x = noise(step, start + step + (-(-after // step) + 1) * step).requires_grad_()
    built(x)[..., start : start + step].square().sum().backward()
    assert x.grad is not None
    (columns,) = torch.nonzero(x.grad.abs().sum(dim=(0, 1, 2)), as_tuple=True)
    assert int(columns.min()) == start - before
    assert int(columns.max()) == start + step - 1 + after


def test_a_receptive_field_wider_than_the_memory_still_gives_the_whole_image() -> None:
    built, x = network("batch", 4, 4), noise(256, 256)
    with torch.inference_mode():
        assert torch.allclose(run_in_tiles(built, x, memory_bytes=1), built(x), atol=1e-5)

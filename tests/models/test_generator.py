"""Laws of the U-Net."""

import pytest
import torch

from dexsearch.config.trial import GeneratorConfig
from dexsearch.models.generator import build_generator


@pytest.mark.parametrize("kernel_px", [2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
def test_every_configuration_keeps_the_size(kernel_px: int, depth: int, norm: str) -> None:
    config = GeneratorConfig(depth=depth, width=2, norm=norm, kernel_px=kernel_px)  # type: ignore[arg-type]
    generator = build_generator(config, n_targets=2)
    assert generator(torch.randn(2, 1, 16, 24)).shape == (2, 2, 16, 24)


def test_an_untrained_residual_generator_is_an_affine_copy_of_its_input() -> None:
    generator = build_generator(GeneratorConfig(depth=2, width=4), n_targets=2)
    generator.init_affine([3.0, -0.5], [-1.0, 2.0])
    x = torch.randn(5, 1, 16, 16)
    torch.testing.assert_close(generator(x), torch.cat((3 * x - 1, -0.5 * x + 2), dim=1))


def test_a_plain_generator_has_no_copy_of_its_input() -> None:
    generator = build_generator(GeneratorConfig(depth=2, width=4, output="plain"), n_targets=1)
    names = dict(generator.named_parameters())
    assert "slope" not in names
    assert generator(torch.randn(1, 1, 16, 16)).std() > 0


def test_width_doubles_with_each_level_up_to_eight_times() -> None:
    generator = build_generator(GeneratorConfig(depth=6, width=3), n_targets=1)
    widths = [block[0].out_channels for block in generator.down]  # type: ignore[index, union-attr]
    assert widths == [3, 6, 12, 24, 24, 24]


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    def weights(seed: int) -> torch.Tensor:
        rng = torch.Generator().manual_seed(seed)
        generator = build_generator(GeneratorConfig(width=2), n_targets=1, rng=rng)
        return torch.cat([p.detach().flatten() for p in generator.parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_the_signal_survives_a_deep_generator_without_normalisation() -> None:
    config = GeneratorConfig(depth=5, width=8, norm="none", output="plain")
    output = build_generator(config, n_targets=1)(torch.randn(4, 1, 64, 64))
    assert 0.02 < float(output.detach().std()) < 1

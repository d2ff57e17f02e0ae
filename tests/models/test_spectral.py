"""Laws of spectral normalisation."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from dexsearch.config.trial import DiscriminatorConfig
from dexsearch.models.discriminator import Discriminator, build_discriminator
from dexsearch.models.layers import Verdict
from dexsearch.models.layout import weights_channels_last
from dexsearch.models.spectral import SpectralNorm


def built(**more: object) -> Discriminator:
    values: dict[str, object] = {"width": 8, "patch_px": 34, "spectral_norm": True}
    config = DiscriminatorConfig.model_validate(values | more)
    return build_discriminator(config, n_targets=2, rng=torch.Generator().manual_seed(3))


def images(seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(4, 1, 32, 32, generator=rng), torch.randn(4, 2, 32, 32, generator=rng)


def convolutions(network: nn.Module) -> list[nn.Conv2d]:
    return [module for module in network.modules() if isinstance(module, nn.Conv2d)]


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.parametrize("patch_px", [1, 16, 34])
def test_the_largest_singular_value_of_every_kernel_is_one(norm: str, patch_px: int) -> None:
    discriminator = built(norm=norm, patch_px=patch_px)
    x, y = images()
    for _ in range(60):
        discriminator(x, y)
    for layer in convolutions(discriminator.eval()):
        values = torch.linalg.svdvals(layer.weight.detach().flatten(1))
        assert float(values[0]) == pytest.approx(1, abs=5e-3)


def test_it_computes_what_torch_computes_from_the_same_vectors() -> None:
    rng = torch.Generator().manual_seed(0)
    plain = nn.Conv2d(3, 5, 4)
    ours = SpectralNorm(plain.weight, rng)
    theirs = parametrizations.spectral_norm(copy.deepcopy(plain))
    peer = theirs.parametrizations.weight[0]  # type: ignore[index, union-attr]
    peer._u.copy_(ours.left)
    peer._v.copy_(ours.right.view(4, 4, 3).permute(2, 0, 1).flatten())
    gradients = []
    for _ in range(3):
        one = ours(plain.weight)
        two = theirs.weight
        torch.testing.assert_close(one, two)
        weights = torch.randn(one.shape, generator=rng)
        (a,) = torch.autograd.grad((one * weights).sum(), plain.weight)
        original = theirs.parametrizations.weight.original  # type: ignore[union-attr]
        (b,) = torch.autograd.grad((two * weights).sum(), original)
        gradients.append((a, b))
    for a, b in gradients:
        torch.testing.assert_close(a, b)


def test_channels_last_holds_and_changes_nothing() -> None:
    first, last = built(), built()
    weights_channels_last(last)
    x, y = images()
    torch.testing.assert_close(last(x, y), first(x, y), rtol=1e-4, atol=1e-5)
    for layer in convolutions(last):
        assert layer.weight.is_contiguous(memory_format=torch.channels_last)


def test_the_verdict_of_the_cpu_path_sees_the_normalised_kernel() -> None:
    discriminator = built().eval()
    layer = discriminator.layers[-1]
    assert isinstance(layer, Verdict)
    x = torch.randn(2, layer.in_channels, 8, 8)
    expected = nn.functional.conv2d(x, layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)
    largest = torch.linalg.svdvals(layer.weight.detach().flatten(1))[0]
    assert float(largest) == pytest.approx(1, abs=1e-4)  # one row: exact at once


def test_the_vectors_follow_from_the_given_generator_alone() -> None:
    torch.manual_seed(1)
    one = built()
    torch.manual_seed(2)
    theirs = built().state_dict()
    assert any("left" in name for name in theirs)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in one.state_dict().items())


def test_the_option_changes_no_other_weight() -> None:
    plain = dict(built(spectral_norm=False).named_parameters())
    for name, parameter in built().named_parameters():
        bare = name.replace("parametrizations.weight.original", "weight")
        assert torch.equal(parameter, plain.pop(bare))
    assert not plain


def test_judging_moves_no_vector_and_training_does() -> None:
    discriminator = built()
    x, y = images()
    before = {name: tensor.clone() for name, tensor in discriminator.named_buffers()}
    discriminator.eval()(x, y)
    assert all(torch.equal(t, before[n]) for n, t in discriminator.named_buffers())
    discriminator.train()(x, y)
    lefts = [(n, t) for n, t in discriminator.named_buffers() if n.endswith("left")]
    assert any(not torch.equal(tensor, before[name]) for name, tensor in lefts)


def test_bfloat16_does_not_reach_the_singular_value() -> None:
    discriminator = built().eval()
    layer = convolutions(discriminator)[2]
    exact = layer.weight
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer.weight, exact)


def test_a_kernel_of_zeros_stays_finite() -> None:
    norm = SpectralNorm(torch.zeros(3, 2, 4, 4), torch.Generator().manual_seed(0))
    kernel = torch.zeros(3, 2, 4, 4, requires_grad=True)
    norm(kernel).sum().backward()
    assert torch.equal(norm(kernel), torch.zeros(3, 2, 4, 4))
    assert kernel.grad is not None
    assert bool(kernel.grad.isfinite().all())

"""Every CPU path gives the values and the gradients of torch's own layer."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dexsearch.models.cpu_paths import convolved_by_taps, doubled_by_phases
from dexsearch.models.layers import InstanceNorm, Upsampling, Verdict


def assert_same(ours: Tensor, reference: Tensor, inputs: list[Tensor]) -> None:
    torch.testing.assert_close(ours, reference)
    gradient = torch.randn_like(reference)
    for one, other in zip(
        torch.autograd.grad(ours, inputs, gradient),
        torch.autograd.grad(reference, inputs, gradient),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("n_out", [1, 2])
def test_doubling_by_phases_is_a_transposed_convolution(n_out: int) -> None:
    x, weight, bias = draw(2, 3, 5, 7), draw(3, n_out, 4, 4), draw(n_out)
    reference = functional.conv_transpose2d(x, weight, bias, stride=2, padding=1)
    assert_same(doubled_by_phases(x, weight, bias), reference, [x, weight, bias])


@pytest.mark.parametrize("n_out", [1, 2])
def test_convolving_by_taps_is_a_convolution(n_out: int) -> None:
    x, weight, bias = draw(2, 3, 5, 7), draw(n_out, 3, 4, 4), draw(n_out)
    reference = functional.conv2d(x, weight, bias, padding=1)
    assert_same(convolved_by_taps(x, weight, bias), reference, [x, weight, bias])


def test_instance_norm_is_torchs_and_keeps_the_layout() -> None:
    layer, peer = InstanceNorm(3), nn.InstanceNorm2d(3, affine=True)
    with torch.no_grad():
        for parameter, other in zip(layer.parameters(), peer.parameters(), strict=True):
            other.copy_(parameter.uniform_(0.5, 2))
    x = (100 + torch.randn(4, 3, 6, 8)).contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    ours, reference = layer(x), peer(x)
    assert ours.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(ours, reference, atol=1e-4, rtol=1e-4)
    gradient = torch.randn_like(reference)
    ours_by = torch.autograd.grad(ours, [x, *layer.parameters()], gradient)
    reference_by = torch.autograd.grad(reference, [x, *peer.parameters()], gradient)
    for one, other in zip(ours_by, reference_by, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)


def test_instance_norm_evaluates_as_it_trains() -> None:
    layer, x = InstanceNorm(3), torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(layer.train()(x), layer.eval()(x), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("layer", "peer"),
    [
        (Upsampling(3, 2, 4, bias=True), nn.ConvTranspose2d(3, 2, 4, 2, 1)),
        (Verdict(3), nn.Conv2d(3, 1, 4, padding=1)),
    ],
)
def test_a_layer_takes_its_cpu_path_and_equals_torchs(
    layer: nn.Module, peer: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []
    for path in (doubled_by_phases, convolved_by_taps):

        def watched(*values: Tensor, path: Callable[..., Tensor] = path) -> Tensor:
            taken.append(path.__name__)
            return path(*values)

        monkeypatch.setattr(f"dexsearch.models.layers.{path.__name__}", watched)
    peer.load_state_dict(layer.state_dict())
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(layer(x), peer(x), atol=1e-5, rtol=1e-4)
    assert len(taken) == 1

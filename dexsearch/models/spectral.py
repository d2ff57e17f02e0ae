"""Spectral normalisation: every kernel divided by its largest singular value.

A kernel is read as the matrix of output channels by everything else. Its singular vectors are
followed by one power iteration with every forward pass in training mode. A training step has
three such passes where the discriminator has batch normalisation (truth, prediction, and
prediction once more for the generator), else two, because truth and prediction then share one.
The vectors are buffers, so a checkpoint carries them. torch's own parametrisation computes the
same from the same vectors (a test compares), but it draws them from the global generator,
multiplies in bfloat16 under autocast and copies channels-last kernels.

Source   arXiv:1802.05957.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

_FIRST_ITERATIONS = 15
_SMALLEST_NORM = 1e-12


class SpectralNorm(nn.Module):
    """Divides a kernel by an estimate of its largest singular value, from below."""

    left: Tensor
    right: Tensor

    def __init__(self, kernel: Float[Tensor, "C K h w"], rng: torch.Generator) -> None:
        super().__init__()
        matrix = _as_matrix(kernel.detach())
        for name, size in zip(("left", "right"), matrix.shape, strict=True):
            vector = torch.randn(size, generator=rng, dtype=matrix.dtype)
            self.register_buffer(name, functional.normalize(vector, dim=0))
        for _ in range(_FIRST_ITERATIONS):
            self._iterate(matrix)

    def forward(self, kernel: Float[Tensor, "C K h w"]) -> Float[Tensor, "C K h w"]:
        """Return the kernel over its largest singular value, in the kernel's layout and type."""
        with torch.autocast(kernel.device.type, enabled=False):
            matrix = _as_matrix(kernel)
            if self.training:
                self._iterate(matrix.detach())
            # Clones, because a later pass moves the vectors before this one is differentiated.
            left, right = self.left.clone(), self.right.clone()
            return kernel / torch.dot(left, torch.mv(matrix, right)).clamp_min(_SMALLEST_NORM)

    @torch.no_grad()
    def _iterate(self, matrix: Tensor) -> None:
        """Take one step towards the first pair of singular vectors."""
        self.left.copy_(functional.normalize(torch.mv(matrix, self.right), dim=0))
        self.right.copy_(functional.normalize(torch.mv(matrix.T, self.left), dim=0))


def _as_matrix(kernel: Tensor) -> Tensor:
    """Return output channels by taps and input channels: a view of a channels-last kernel."""
    return kernel.permute(0, 2, 3, 1).flatten(1)


def normalize_spectra(network: nn.Module, rng: torch.Generator) -> None:
    """Let every convolution of the network divide its kernel from now on, in place."""
    for module in list(network.modules()):
        if isinstance(module, nn.Conv2d):
            norm = SpectralNorm(module.weight, rng)
            parametrize.register_parametrization(module, "weight", norm)

"""Exponential moving average of a generator: what is scored and what is registered."""

import copy

import torch
from torch import Tensor, nn

from dexsearch.models.generator import Generator


def warmed_up_decay(decay: float, step: int) -> float:
    """Return `min(decay, (1 + step) / (10 + step))`; short runs would score noise otherwise."""
    return min(decay, (1 + step) / (10 + step))


class MovingAverage:
    """Averages weights and normalisation statistics of a network after every step."""

    def __init__(self, network: Generator, *, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay
        self._averages, self._counts = _by_kind(self.network)
        self._sources, self._source_counts = _by_kind(network)

    @torch.no_grad()
    def restart(self) -> None:
        """Forget the past: become the network as it is."""
        for average, source in zip(self._averages, self._sources, strict=True):
            average.copy_(source)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the network as it is after `step` (counted from 1)."""
        weight = 1 - warmed_up_decay(self.decay, step)
        torch._foreach_lerp_(self._averages, self._sources, weight)
        for count, source in zip(self._counts, self._source_counts, strict=True):
            count.copy_(source)


def _by_kind(network: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Return the tensors to average, and the integers to copy."""
    tensors = [*network.parameters(), *network.buffers()]
    floating = [tensor.detach() for tensor in tensors if tensor.is_floating_point()]
    return floating, [tensor for tensor in tensors if not tensor.is_floating_point()]

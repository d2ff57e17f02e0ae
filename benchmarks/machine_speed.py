"""How fast this machine multiplies matrices, and what part of that a training step reaches."""

import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from dexsearch.config.trial import TrialConfig
from dexsearch.models.layout import channels_last
from dexsearch.training.networks import Networks

SIDE = 1024
REPEATS = 15
TRIES = 7


def best_seconds(work: Callable[[], object], repeats: int) -> float:
    """Return the shortest time of several calls, the first one to warm up."""
    work()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def gemm_gflops(dtype: torch.dtype) -> float:
    """Return GFLOP/s of a product of two 1024 x 1024 matrices on the threads that torch has."""
    a, b = (torch.randn(SIDE, SIDE).to(dtype) for _ in range(2))
    return 2 * SIDE**3 / best_seconds(lambda: a @ b, REPEATS) / 1e9


def print_reach(config: TrialConfig, size_px: int, speeds: dict[torch.dtype, float]) -> None:
    """Print one line: what a training step computes, how fast, and of how fast a machine."""
    networks = Networks(config, device=torch.device("cpu"))
    x = channels_last(torch.randn(config.batch_size, 1, size_px, size_px))
    y = channels_last(torch.rand(config.batch_size, networks.generator.n_targets, *x.shape[-2:]))
    with FlopCounterMode(display=False) as counter:
        networks.train_step(x, y)
    gflop = counter.get_total_flops() / 1e9
    seconds = best_seconds(lambda: networks.train_step(x, y), TRIES)
    machine = " and ".join(
        f"{speed:.0f} in {str(dtype).removeprefix('torch.')}" for dtype, speed in speeds.items()
    )
    reached = gflop / seconds
    part = reached / speeds[networks.precision.dtype]
    print(
        f"{size_px} px, {config.generator.norm} norm: {gflop:.2f} GFLOP a step of "
        f"{config.batch_size} images in {1000 * seconds:.0f} ms = {reached:.0f} GFLOP/s "
        f"({part:.0%} of matrix products, GFLOP/s: {machine})",
        flush=True,
    )

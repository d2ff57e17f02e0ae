"""The estimate against what autograd really keeps, counted on the built networks."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from dexsearch.config.trial import TrialConfig, trial_config
from dexsearch.training.memory import (
    kept_bytes,
    parameter_counts,
    resident_bytes,
    training_memory_bytes,
)
from dexsearch.training.networks import Networks

SPREAD: list[dict[str, Any]] = [
    {},
    {"generator.depth": 2, "generator.width": 8},
    {"generator.depth": 6, "generator.width": 32, "discriminator.width": 64},
    {"generator.norm": "instance", "discriminator.norm": "instance"},
    {"generator.norm": "none", "discriminator.norm": "none"},
    {"generator.kernel_px": 7, "generator.output": "plain"},
    {"discriminator.patch_px": 1, "discriminator.width": 32},
    {"discriminator.patch_px": 16},
    {"discriminator.patch_px": 70, "discriminator.norm": "none"},
    {"loss.adversarial": "none", "generator.width": 48},
    {"task": "bone", "batch_size": 3},
    {"task": "derive", "discriminator.norm": "instance"},
]
SPECTRAL: dict[str, Any] = {"discriminator.spectral_norm": True}  # not for the meta device


def name_of(values: dict[str, Any]) -> str:
    return "_".join(f"{key.rpartition('.')[2]}={value}" for key, value in values.items()) or "-"


@contextmanager
def counted(left_out: set[int]) -> Iterator[dict[int, int]]:
    """Count the bytes of every storage that autograd keeps, each once, parameters left out."""
    sizes: dict[int, int] = {}
    alive: list[Tensor] = []  # a storage that is freed could lend its address to another one

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in left_out:
            sizes[storage._cdata] = storage.nbytes()
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield sizes


def probed_bytes(
    config: TrialConfig, size_px: tuple[int, int], device: str, dtype: torch.dtype
) -> int:
    """Run what a training step keeps at once: the generator, and the discriminator twice."""
    networks = Networks(config, device=torch.device("cpu"))
    generator = networks.generator.to(device=device, dtype=dtype)
    own = {p.untyped_storage()._cdata for p in generator.parameters()}
    shape = (config.batch_size, 1, *size_px)
    x = torch.zeros(shape, device=device, dtype=dtype)
    y = x.expand(-1, len(config.task.predicted), -1, -1).contiguous()
    passes = [generator(x)] if networks.adversary is None else []
    if networks.adversary is not None:
        discriminator = networks.adversary.discriminator.to(device=device, dtype=dtype)
        own |= {p.untyped_storage()._cdata for p in discriminator.parameters()}
    with counted(own) as sizes:
        passes = [generator(x)]
        if networks.adversary is not None:
            passes += [discriminator(x, y), discriminator(x, passes[0].detach())]
    return sum(sizes.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("values", SPREAD, ids=name_of)
def test_what_is_kept_for_backward_is_estimated_within_a_quarter(
    values: dict[str, Any], dtype: torch.dtype
) -> None:
    """On the meta device, whose layers are those of a GPU."""
    config = trial_config(values)
    probed = probed_bytes(config, (128, 192), "meta", dtype)
    estimated = kept_bytes(config, (128, 192), element_bytes=dtype.itemsize)
    assert estimated == pytest.approx(probed, rel=0.25)


@pytest.mark.parametrize("values", [SPREAD[0], SPREAD[3], SPREAD[4], SPECTRAL], ids=name_of)
def test_a_cpu_keeps_no_more_than_estimated_either(values: dict[str, Any]) -> None:
    config = trial_config({**values, "batch_size": 4})
    probed = probed_bytes(config, (64, 64), "cpu", torch.float32)
    assert kept_bytes(config, (64, 64), element_bytes=4) == pytest.approx(probed, rel=0.25)


@pytest.mark.parametrize("values", [*SPREAD, SPECTRAL], ids=name_of)
def test_parameters_are_counted_exactly(values: dict[str, Any]) -> None:
    config = trial_config(values)
    networks = Networks(config, device=torch.device("cpu"))
    generator = sum(p.numel() for p in networks.generator.parameters())
    adversary = networks.adversary
    discriminator = (
        sum(p.numel() for p in adversary.discriminator.parameters()) if adversary else 0
    )
    assert parameter_counts(config) == (generator, discriminator)


def test_more_of_anything_needs_more() -> None:
    def need(n_images: int = 100, **values: object) -> int:
        keys = {key.replace("__", "."): value for key, value in values.items()}
        return training_memory_bytes(trial_config(keys), (128, 128), n_images=n_images)

    base = need()
    assert need(generator__width=32) > base
    assert need(generator__depth=5) > base
    assert need(batch_size=32) > base
    assert need(exposure__resample=True) > base
    assert need(n_images=200) > base
    assert need(loss__adversarial="none") < base


def test_images_count_as_given_and_as_prepared() -> None:
    config = trial_config({"task": "joint", "generator.depth": 4})
    # three planes of float32 and a mask of one byte, then three planes padded to 64 x 64
    assert resident_bytes(config, (60, 64), n_images=10) == 10 * (60 * 64 * 13 + 64 * 64 * 12)


@pytest.mark.parametrize(("size", "n_images"), [((0, 64), 1), ((64, 64), -1)])
def test_impossible_images_are_refused(size: tuple[int, int], n_images: int) -> None:
    with pytest.raises(ValueError, match="expected a size of 1 px or more"):
        training_memory_bytes(TrialConfig(), size, n_images=n_images)

"""The estimate against what autograd and validation really take, counted on built networks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from dexsearch.config.trial import TrialConfig, trial_config
from dexsearch.data.pairs import DevicePathLengths, TrainingData
from dexsearch.data.tumours import Tumours
from dexsearch.training.memory import (
    kept_bytes,
    parameter_counts,
    resident_bytes,
    scoring_bytes,
    training_memory_bytes,
)
from dexsearch.training.networks import Networks
from dexsearch.training.normalization import Normalization
from dexsearch.training.quality import QualityScorer
from dexsearch.training.scoring_batch import images_scored_at_once
from dexsearch.training.validation import Validator, scoring_batches

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


def validator_of(config: TrialConfig, data: TrainingData, size_px: int) -> Validator:
    """A validator of images that have everything that a quality can be computed of."""
    pairs, n_images = data.validation, len(data.validation)
    lengths = pairs.target[:, 0].numpy().astype(np.float16)
    tumour = [
        torch.full((n_images,), part * size_px) for part in (0.5, 0.4, 0.1, 320 / size_px**2)
    ]
    pairs = replace(
        pairs,
        path_lengths=DevicePathLengths(10 * lengths, lengths, torch.device("cpu")),
        tumours=Tumours(*tumour),
    )
    normalization = Normalization(
        "absolute", mean=data.input_mean, std=data.input_std, data_ranges=data.data_ranges
    )
    quality = QualityScorer(pairs, targets=data.targets, pixel_mm=320 / size_px)
    return Validator(pairs, normalization, depth=config.generator.depth, quality=quality)


def most_allocated(compute: Callable[[], object]) -> int:
    """Return the most bytes that torch's CPU allocator had given out at once meanwhile."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        compute()
    result = profiled.profiler.kineto_results  # type: ignore[union-attr]
    events = [event for event in result.events() if event.name() == "[memory]"]
    sizes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return int(np.cumsum(sizes).max())


@pytest.mark.parametrize(
    ("size_px", "n_images", "values"),
    [
        (64, 64, {"generator.width": 64}),
        (64, 64, {"generator.width": 128, "generator.norm": "instance"}),
        (32, 256, {"generator.width": 64, "generator.depth": 3}),
        (32, 40, {"generator.width": 64, "generator.norm": "none"}),
        (64, 64, {"generator.width": 96, "generator.depth": 1, "generator.kernel_px": 5}),
        (64, 64, {"generator.width": 64, "generator.depth": 2, "generator.output": "plain"}),
        (64, 64, {"generator.width": 4, "generator.depth": 2}),
        (64, 70, {"generator.width": 4, "generator.depth": 2, "task": "tissue"}),
    ],
    ids=lambda value: name_of(value) if isinstance(value, dict) else str(value),
)
def test_scoring_the_final_epoch_takes_what_is_estimated(
    make_data: Callable[..., TrainingData], size_px: int, n_images: int, values: dict[str, Any]
) -> None:
    config = trial_config({**values, "loss.adversarial": "none", "batch_size": 1})
    data = make_data(2, n_images, size_px, targets=config.task.targets)
    validator = validator_of(config, data, size_px)
    generator = Networks(config, device=torch.device("cpu")).average.network
    measured = most_allocated(lambda: validator.score(generator, final=True))
    estimated = scoring_bytes(config, (size_px, size_px), n_images=n_images)
    assert measured <= 1.02 * estimated, "the rest is scores and indices"
    assert estimated <= 1.25 * measured
    whole = training_memory_bytes(config, (size_px, size_px), n_images=n_images, device_type="cpu")
    assert whole >= measured + resident_bytes(config, (size_px, size_px), n_images=n_images)


def test_a_step_and_a_validation_do_not_add_up() -> None:
    """What is kept for backward is gone when validation begins."""
    one, two, many = (
        trial_config({"generator.width": 64, "batch_size": size}) for size in (1, 2, 256)
    )
    need = [
        training_memory_bytes(config, (64, 64), n_images=500, device_type="cpu")
        for config in (one, two, many)
    ]
    assert need[0] == need[1], "validation, whose batch is always the same, takes more than a step"
    assert need[2] > need[1]


@pytest.mark.parametrize("size_px", [32, 64, 520])
def test_a_batch_of_validation_is_as_large_as_it_is_estimated_for(
    make_data: Callable[..., TrainingData], size_px: int
) -> None:
    at_once = images_scored_at_once((size_px, size_px))
    n_images = min(at_once + 1, 300)
    pairs = make_data(1, n_images, size_px, targets=("bone",)).validation
    first, second = scoring_batches(pairs)
    assert first.stop == second.start == at_once
    batch, more, fewer = (
        scoring_bytes(TrialConfig(), (size_px, size_px), n_images=n)
        for n in (at_once, at_once + 1, at_once - 1)
    )
    assert batch == more > fewer


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

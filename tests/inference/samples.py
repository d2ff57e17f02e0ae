"""Small generator packages with every kind of layer and head."""

from pathlib import Path

import torch
from safetensors.torch import save

from dexsearch.config.trial import TrialConfig
from dexsearch.inference.card import GeneratorCard
from dexsearch.inference.package import Package, write_package
from dexsearch.models.generator import build_generator
from dexsearch.physics.exposure import Exposure
from dexsearch.physics.inversion_fit import fit_inversion


def make_package(path: Path, *, task: str = "joint", **generator: object) -> Package:
    """Write a package of an untrained generator whose every weight says something."""
    config = TrialConfig.model_validate({"task": task, "generator": {"width": 4, **generator}})
    network = build_generator(config.generator, n_targets=len(config.task.predicted))
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        state = {
            name: values if values.dtype is torch.int64
            else values + 0.1 * torch.rand(values.shape, generator=rng)
            for name, values in network.state_dict().items()
        }  # fmt: skip
    targets = config.task.targets
    inversion = fit_inversion(Exposure()).as_dict() if task == "derive" else None
    card = GeneratorCard(
        task="joint" if task == "derive" else task, targets=targets,
        trial_config=config.model_dump(mode="json"),
        normalization={
            "mode": config.generator.input_normalization, "mean": 3.0, "std": 1.5,
            "data_ranges": [{"bone": 3.0, "tissue": 20.0}[target] for target in targets],
        },
        units={"input": "log", **dict.fromkeys(targets, "cm")}, study="s", trial=0, params={},
        objective="val_ssim", epochs=1, n_parameters=1, dataset="d" * 64, size_px=(32, 32),
        pixel_mm=None, metric=1, scores={"val_ssim": 0.5}, baselines={}, libraries={},
        inversion=inversion,
    )  # fmt: skip
    weights = save({name: values.contiguous() for name, values in state.items()})
    return write_package(path, weights=weights, card=card, curve=[], draw=lambda folder: None)

"""A workspace with a real dataset and real generators whose worth is known; no training.

A generator with `output="residual"` whose U-Net is at zero copies its input affinely. With the
slope and offset of the dataset it is as good as such a copy gets, with any other it is worse.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.torch import save
from scipy import ndimage

from dexsearch.config.trial import TrialConfig
from dexsearch.data.splits import Split, Subset
from dexsearch.data.store import Dataset, Sample, write_dataset
from dexsearch.inference.package import GeneratorCard, Package, write_package
from dexsearch.models.generator import build_generator
from dexsearch.registry.record import Registration
from dexsearch.registry.store import package_folder, register

SIZE_PX = (32, 40)


@dataclass(frozen=True)
class HoldOut:
    """One dataset in one workspace, and a press for generators."""

    workspace: Path
    dataset: Dataset

    def package(
        self,
        quality: float,
        *,
        task: str = "joint",
        trial: int = 0,
        dataset: str | None = None,
        metric: int = 1,
        folder: Path | None = None,
    ) -> Package:
        """Write a generator: 1 is the best affine copy, lower is worse; NaN is possible."""
        manifest = self.dataset.manifest
        targets = ("bone", "tissue") if task == "joint" else (task,)
        config = TrialConfig.model_validate(
            {"task": task, "generator": {"depth": 2, "width": 4, "output": "residual"}}
        )
        generator = build_generator(config.generator, n_targets=len(targets))
        ranges = [manifest.data_ranges[name] for name in targets]
        fits = [_affine(self.dataset, name) for name in targets]
        generator.init_affine(
            [quality * slope / scale for (slope, _), scale in zip(fits, ranges, strict=True)],
            [offset / scale for (_, offset), scale in zip(fits, ranges, strict=True)],
        )
        card = GeneratorCard(
            task=task, targets=targets, trial_config=config.model_dump(mode="json"),
            normalization={"mode": "absolute", "mean": manifest.input_mean,
                           "std": manifest.input_std, "data_ranges": ranges},
            units={"input": "log", "bone": "cm", "tissue": "cm"}, study="ribs", trial=trial,
            params={}, objective="val_ssim", epochs=1, n_parameters=1,
            dataset=dataset or manifest.digest, size_px=SIZE_PX, pixel_mm=None, metric=metric,
            scores={"val_ssim": 0.5, **{f"val_ssim_{name}": 0.5 for name in targets}},
            baselines={}, libraries={},
        )  # fmt: skip
        weights = save({k: v.contiguous() for k, v in generator.state_dict().items()})
        where = folder or package_folder(self.workspace, f"{trial:016x}")
        return write_package(where, weights=weights, card=card, curve=[], draw=lambda _: None)

    def register(self, *qualities: float, task: str = "joint") -> tuple[Registration, ...]:
        """Register one version for each quality; the first one becomes champion."""
        packages = [
            self.package(quality, task=task, trial=trial + 100 * (task == "bone"))
            for trial, quality in enumerate(qualities)
        ]
        return register(self.workspace, packages)


def make_hold_out(workspace: Path, n_subjects: int, *, n_poses: int = 2) -> HoldOut:
    """Write a dataset whose hold-out has so many subjects."""
    names = [f"subject-{index:02d}" for index in range(n_subjects + 3)]
    subsets: list[Subset] = ["train", "train", "validation", *["holdout"] * n_subjects]
    rng = np.random.default_rng(0)
    samples = (
        _sample(name, 45.0 * pose, rng)
        for name in names
        for pose in range(n_poses)
    )  # fmt: skip
    dataset = write_dataset(
        workspace / "datasets" / "small", samples,
        Split("as the test says", by_subject=dict(zip(names, subsets, strict=True))),
        kind="phantom", pixel_mm=2.0, units={"input": "log", "bone": "cm", "tissue": "cm"},
        source={"seed": 0},
    )  # fmt: skip
    return HoldOut(workspace, dataset)


def _sample(subject: str, angle_deg: float, rng: np.random.Generator) -> Sample:
    rows, columns = np.mgrid[: SIZE_PX[0], : SIZE_PX[1]]
    body = ((rows - 16) / 15) ** 2 + ((columns - 20) / 18) ** 2
    mask = body < 1
    smooth = ndimage.gaussian_filter(rng.normal(size=SIZE_PX), 2)
    tissue = 10 * np.sqrt(np.clip(1 - body, 0, None)) * (1 + 0.2 * smooth / smooth.std())
    bone = np.exp(-0.5 * ((rows - columns * rng.uniform(0.4, 0.9)) / 1.5) ** 2) * mask
    image = 0.2 * tissue + 0.6 * bone + rng.normal(0, 0.01, SIZE_PX)
    images = (array.astype(np.float32) for array in (image, bone, tissue))
    return Sample(subject, (0.0, 0.0, angle_deg), *images, mask)


def _affine(dataset: Dataset, target: str) -> tuple[float, float]:
    """Return the line from the normalised input to a target, fitted inside training bodies."""
    arrays = dataset.arrays("train")
    manifest = dataset.manifest
    x = (arrays.input[arrays.mask] - manifest.input_mean) / manifest.input_std
    y = arrays.target(target)[arrays.mask]
    slope, offset = np.polyfit(x.astype(float), y.astype(float), 1)
    return float(slope), float(offset)

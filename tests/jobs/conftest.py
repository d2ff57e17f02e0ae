"""A small study, really trained: two complete trials and a pruned one."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from dexsearch.config.trial import TrialConfig, trial_config
from dexsearch.data.pairs import load_training_data
from dexsearch.data.splits import split_subjects
from dexsearch.data.store import Dataset, Sample, open_dataset, write_dataset
from dexsearch.ledger.log import EventLog
from dexsearch.ledger.study import LEDGER_NAME, StudyRecord, read_study
from dexsearch.training.loop import train

SIZE_PX = (32, 40)
EPOCHS = 2


@dataclass(frozen=True)
class TrainedStudy:
    workspace: Path
    study: StudyRecord
    dataset: Dataset


def _sample(subject: str, angle_deg: float, rng: np.random.Generator) -> Sample:
    rows, columns = np.mgrid[: SIZE_PX[0], : SIZE_PX[1]]
    body = ((rows - 16) / 15) ** 2 + ((columns - 20) / 18) ** 2
    mask = body < 1
    smooth = ndimage.gaussian_filter(rng.normal(size=SIZE_PX), 4)
    tissue = 16 * np.sqrt(np.clip(1 - body, 0, None)) * (1 + 0.2 * smooth / smooth.std())
    bone = np.exp(-0.5 * ((rows - columns * rng.uniform(0.4, 0.9)) / 1.5) ** 2) * mask
    image = 0.21 * tissue + 0.6 * bone + rng.normal(0, 0.01, SIZE_PX)
    images = (a.astype(np.float32) for a in (image, bone, tissue))
    return Sample(subject, (0.0, 0.0, angle_deg), *images, mask)


def _samples() -> Iterator[Sample]:
    rng = np.random.default_rng(0)
    for index in range(12):
        for angle_deg in (0.0, 45.0):
            yield _sample(f"subject-{index:02d}", angle_deg, rng)


def _train(log: EventLog, folder: Path, dataset: Dataset, number: int, depth: int) -> None:
    params = {"generator.depth": depth}
    task = ("joint", "bone", "joint")[number]
    config: TrialConfig = trial_config(
        {"task": task, "generator.width": 4, "discriminator.patch_px": 16, "seed": number,
         "batch_size": 4, "optimizer.learning_rate": 1e-3, **params}
    )  # fmt: skip
    log.append(
        {"event": "trial_started", "trial": number, "params": params, "immune": False,
         "config": config.model_dump(mode="json"), "enqueued": False}
    )  # fmt: skip
    data = load_training_data(dataset, config.task, torch.device("cpu"))
    checkpoints = folder / "trials" / str(number)
    epochs = 1 if number == 2 else EPOCHS
    for record in train(
        config, data, epochs=epochs, device=torch.device("cpu"), checkpoints=checkpoints
    ):
        log.append({"event": "epoch", "trial": number, "record": record.as_dict()})
    state = "pruned" if number == 2 else "complete"
    log.append(
        {"event": "trial_ended", "trial": number, "state": state, "reason": None, "kind": None,
         "checkpoint": f"trials/{number}/{epochs:05d}"}
    )  # fmt: skip


@pytest.fixture(scope="session")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = tmp_path_factory.mktemp("trained")
    split = split_subjects([f"subject-{index:02d}" for index in range(12)], seed=0)
    units = {"input": "log", "bone": "cm", "tissue": "cm"}
    dataset = write_dataset(
        workspace / "datasets" / "small", _samples(), split,
        kind="phantom", pixel_mm=2.0, units=units, source={"seed": 0},
    )  # fmt: skip
    folder = workspace / "studies" / "ribs"
    with EventLog(folder / LEDGER_NAME) as log:
        log.append(
            {"event": "study", "study": "ribs", "task": "joint", "metric": 1,
             "space": {"objective": "val_ssim", "trials": 3}, "size_px": list(SIZE_PX),
             "dataset": str(dataset.path), "dataset_digest": dataset.manifest.digest}
        )  # fmt: skip
        for number, depth in enumerate((3, 2, 3)):
            _train(log, folder, dataset, number, depth)
    return workspace


@pytest.fixture
def trained(_trained: Path, tmp_path: Path) -> TrainedStudy:
    """A copy of the trained workspace, nothing registered yet."""
    workspace = tmp_path / "workspace"
    shutil.copytree(_trained, workspace)
    return TrainedStudy(
        workspace,
        read_study(workspace / "studies" / "ribs"),
        open_dataset(workspace / "datasets" / "small"),
    )

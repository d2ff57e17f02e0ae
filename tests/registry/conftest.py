"""Small real packages and study ledgers; no training."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dexsearch.inference.package import GeneratorCard, Package, write_package
from dexsearch.ledger.log import EventLog
from dexsearch.ledger.study import LEDGER_NAME, StudyRecord, read_study
from dexsearch.registry.store import package_folder

MakePackage = Callable[..., Package]
MakeStudy = Callable[..., StudyRecord]


def _draw(folder: Path) -> None:
    (folder / "pictures").mkdir()
    (folder / "pictures" / "1-subject.png").write_bytes(b"png")
    (folder / "curve.png").write_bytes(b"curve")


@pytest.fixture
def make_package(tmp_path: Path) -> MakePackage:
    """Write the package of one trial into the workspace `tmp_path`."""

    def make(
        trial: int,
        score: float,
        *,
        task: str = "bone",
        dataset: str = "d" * 64,
        study: str = "ribs",
        epochs: int = 3,
        units: dict[str, str] | None = None,
    ) -> Package:
        targets = ("bone", "tissue") if task == "joint" else (task,)
        scores = {f"val_ssim_{t}": score if t in targets else None for t in ("bone", "tissue")}
        card = GeneratorCard(
            task=task, targets=targets, trial_config={"seed": trial}, normalization={},
            units=units or {},
            study=study, trial=trial, params={"generator.depth": 3}, objective="val_ssim",
            epochs=epochs, n_parameters=10,
            dataset=dataset, size_px=(32, 32), pixel_mm=None, metric=1,
            scores={"val_ssim": score, **scores},
            baselines={m: dict.fromkeys(targets, 0.4) for m in ("constant", "identity_affine")},
            libraries={"torch": "2"},
        )  # fmt: skip
        weights = f"weights {study} {trial} {score}".encode()
        folder = package_folder(tmp_path, card.content_hash(weights.hex()))
        return write_package(folder, weights=weights, card=card, curve=[], draw=_draw)

    return make


@pytest.fixture
def make_study(tmp_path: Path) -> MakeStudy:
    """Write a ledger of `states` into the workspace `tmp_path` and read it."""

    def make(
        *states: str,
        name: str = "ribs",
        epochs: int = 3,
        quality: dict[str, float] | None = None,
    ) -> StudyRecord:
        folder = tmp_path / "studies" / name
        with EventLog(folder / LEDGER_NAME) as log:
            log.append(
                {
                    "event": "study",
                    "study": name,
                    "task": "bone",
                    "metric": 1,
                    "space": {"objective": "val_ssim", "trials": len(states)},
                    "dataset": "datasets/phantom",
                    "dataset_digest": "d" * 64,
                    "size_px": [32, 32],
                }
            )
            for number, state in enumerate(states):
                _write_trial(log, number, state, epochs, quality)
        return read_study(folder)

    return make


def _write_trial(
    log: EventLog, number: int, state: str, epochs: int, quality: dict[str, float] | None
) -> None:
    config = {"task": "bone", "generator": {"depth": 3, "width": 4}, "seed": number}
    log.append(
        {
            "event": "trial_started", "trial": number, "params": {"generator.depth": 3},
            "config": config, "immune": number == 0, "enqueued": False,
        },
        sync=False,
    )  # fmt: skip
    for epoch in range(1, epochs + 1):
        record = {
            "epoch": epoch, "val_ssim": round(0.1 * epoch + 0.01 * number, 6),
            "val_ssim_bone": 0.1 * epoch,
            "val_ssim_tissue": None, "val_psnr": 20.0, "loss_l1": 0.5 / epoch, "seconds": 0.25,
        }  # fmt: skip
        if quality is not None:  # ledgers of earlier versions lack the key
            record["quality"] = quality if epoch == epochs else None
        log.append({"event": "epoch", "trial": number, "record": record}, sync=False)
    if number == 0:
        log.append({"event": "would_prune", "trial": 0, "epoch": 2}, sync=False)
    if state != "running":
        reason = "out of memory" if state == "failed" else None
        log.append(
            {"event": "trial_ended", "trial": number, "state": state, "reason": reason,
             "kind": reason and "oom", "checkpoint": f"trials/{number}/00003"},
            sync=False,
        )  # fmt: skip

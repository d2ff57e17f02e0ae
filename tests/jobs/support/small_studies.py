"""Studies and packages as real searches leave them, without training: scores are given."""

from pathlib import Path

import torch

from dexsearch.config.trial import TrialConfig
from dexsearch.inference.package import GeneratorCard, Package, write_package
from dexsearch.ledger.log import EventLog
from dexsearch.ledger.study import LEDGER_NAME
from dexsearch.registry.store import package_folder
from dexsearch.training.checkpoint import RunState, save_checkpoint
from dexsearch.training.checkpoint_store import checkpoint_store
from dexsearch.training.checkpoint_writer import CheckpointWriter
from dexsearch.training.normalization import Normalization
from dexsearch.training.record import EpochRecord

EPOCHS = 2


def epoch_record(epoch: int, score: float) -> EpochRecord:
    return EpochRecord(epoch, score, score, None, score, 30.0, 0.01, 0.02, 1.5, None, 0.7)


def save(folder: Path, score: float) -> None:
    """Write the two checkpoints that a trial leaves."""
    writer = CheckpointWriter(checkpoint_store(folder))
    normalization = Normalization("absolute", 1.5, 0.5, (2.0, 20.0))
    for epoch in range(1, EPOCHS + 1):
        curve = tuple(epoch_record(e, score) for e in range(1, epoch + 1))
        state = RunState(TrialConfig(), normalization, "d" * 64, epoch, curve)
        save_checkpoint(writer, state, {"ema": {"weight": torch.full((8,), score)}})


def begin_study(
    workspace: Path, *trials: tuple[str, float], name: str = "ribs", n_register: int = 2
) -> Path:
    """Write a study whose trials (state, final score) left what real ones leave."""
    folder = workspace / "studies" / name
    with EventLog(folder / LEDGER_NAME) as log:
        log.append(
            {"event": "study", "study": name, "task": "bone", "metric": 1,
             "space": {"objective": "val_ssim", "trials": len(trials), "register": n_register},
             "dataset": "datasets/x", "dataset_digest": "d" * 64, "size_px": [32, 32]}
        )  # fmt: skip
        for number, (state, score) in enumerate(trials):
            log.append(
                {"event": "trial_started", "trial": number, "params": {"seed": number},
                 "config": {"task": "bone"}, "immune": False, "enqueued": False}
            )  # fmt: skip
            for epoch in range(1, EPOCHS + 1):
                record = epoch_record(epoch, score).as_dict()
                log.append({"event": "epoch", "trial": number, "record": record})
            save(folder / "trials" / str(number), score)
            if state != "running":
                checkpoint = f"trials/{number}/{EPOCHS:05d}" if state == "complete" else None
                log.append(
                    {"event": "trial_ended", "trial": number, "state": state, "reason": None,
                     "kind": None, "checkpoint": checkpoint}
                )  # fmt: skip
    return folder


def pack(workspace: Path, trial: int, score: float, study: str = "ribs") -> Package:
    card = GeneratorCard(
        task="bone", targets=("bone",), trial_config={}, normalization={}, units={}, study=study,
        trial=trial, params={"seed": trial}, objective="val_ssim", epochs=EPOCHS,
        n_parameters=10, dataset="d" * 64, size_px=(32, 32), pixel_mm=None, metric=1,
        scores={"val_ssim": score, "val_ssim_bone": score, "val_ssim_tissue": None},
        baselines={"constant": {"bone": 0.4}}, libraries={},
    )  # fmt: skip
    weights = f"weights {study} {trial}".encode()
    folder = package_folder(workspace, card.content_hash(weights.hex()))
    return write_package(folder, weights=weights, card=card, curve=[], draw=_draw)


def _draw(folder: Path) -> None:
    (folder / "pictures").mkdir()
    (folder / "pictures" / "1-a.png").write_bytes(b"png")


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

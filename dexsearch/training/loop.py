"""One training run: an iterator of epoch records that knows nothing of search or registry.

    for record in train(config, data, epochs=60, device=device, checkpoints=folder):
        ...

Closing the iterator ends the run. Called again with the same folder it continues: first the
stored curve once more, then the epochs that are missing, bit for bit as if never interrupted
(on a CPU with the same number of threads).
"""

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from dexsearch.config.trial import TrialConfig
from dexsearch.data.pairs import TrainingData
from dexsearch.models.fit import fits
from dexsearch.training.checkpoint import newest_valid_checkpoint, save_checkpoint
from dexsearch.training.checkpoint_store import checkpoint_store
from dexsearch.training.checkpoint_writer import CheckpointWriter
from dexsearch.training.out_of_memory import TrainingOutOfMemory, naming_memory
from dexsearch.training.precision import Precision
from dexsearch.training.record import EpochRecord, TrainingDiverged
from dexsearch.training.restore import tensors_of
from dexsearch.training.saving import TRAINED, tell_saved
from dexsearch.training.schedule import check_length
from dexsearch.training.training_run import TrainingRun

__all__ = ["EpochRecord", "TrainingDiverged", "TrainingOutOfMemory", "train"]

_log = logging.getLogger(__name__)


def train(
    config: TrialConfig,
    data: TrainingData,
    *,
    epochs: int,
    device: torch.device,
    checkpoints: str | Path | None = None,
    checkpoint_every_s: float = 10.0,
    rank: tuple[int, int] = (0, 0),
    precision: Precision | None = None,
) -> Iterator[EpochRecord]:
    """Train one configuration and yield a record after every epoch.

    Args:
        config: networks, losses and seed.
        data: training and validation images with the targets of `config.task`.
        epochs: length of the whole run, epochs of earlier calls included.
        device: where networks and images live.
        checkpoints: folder or URI to continue from and to write to, where this call takes over
            from any that still runs; None writes nothing.
        checkpoint_every_s: least time between two checkpoints; the final epoch always gets one,
            written before its record is yielded.
        rank: token of the lease and attempt of whoever asks; a call takes over only from those
            with the same rank or a lower one.
        precision: of the networks; None: the fastest one of the device.

    Raises:
        ValueError: at once, if the networks do not fit the images, the targets differ from the
            task's, the data cannot be exposed anew as asked for, the warm-up outlasts the run, or
            the folder holds another run (with the cosine schedule: one of another length, too).
        TrainingDiverged: from the iterator, in the epoch that is not finite; on a CPU with the
            first such step.
        TrainingOutOfMemory: at once, or from the iterator, naming the step.
        SupersededError: at once if a call of a higher rank continues the same run; from the
            iterator, once another call does.
        OSError: if checkpoints cannot be read or stored; of a full disk as the system says it,
            ConnectionError if the storage does not answer at the begin or at the end, with the
            note `saving.TRAINED` at the end; StorageDeniedError if it lets nobody in.
    """
    height, width = (int(side) for side in data.train.input.shape[-2:])
    fits(config, (height, width))
    check_length(config.optimizer, epochs)
    if data.targets != config.task.targets:
        raise ValueError(f"got targets {data.targets!r}; task {config.task.value!r} has others")
    if data.train.target.shape[1] != len(config.task.predicted):
        raise ValueError(
            f"got training images with {data.train.target.shape[1]} targets; task "
            f"{config.task.value!r} predicts {' and '.join(config.task.predicted)}: load the data "
            "for that task"
        )
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    checkpoint = None if checkpoints is None else newest_valid_checkpoint(checkpoints)
    with naming_memory(0, "setting up the run"):
        run = TrainingRun(config, data, device, epochs, precision)
        if checkpoint is not None:
            run.continue_from(checkpoint)
    writer = None
    if checkpoints is not None:
        writer = CheckpointWriter(checkpoint_store(checkpoints), rank=rank)
    return _records(run, epochs, writer, checkpoint_every_s)


def _records(
    run: TrainingRun, epochs: int, writer: CheckpointWriter | None, every_s: float
) -> Iterator[EpochRecord]:
    """Yield the stored curve, then train."""
    yield from run.curve[:epochs]
    saved = time.monotonic()
    for epoch in range(len(run.curve) + 1, epochs + 1):
        record = run.train_epoch(epoch)
        due = epoch == epochs or time.monotonic() - saved >= every_s
        if writer is not None and due:
            _save(writer, run, is_final=epoch == epochs)
            saved = time.monotonic()
        yield record


def _save(writer: CheckpointWriter, run: TrainingRun, *, is_final: bool) -> None:
    """Save; storage that does not answer in mid-run costs a checkpoint, not the run."""
    try:
        save_checkpoint(writer, run.state(), tensors_of(run.networks))
    except OSError as error:
        if is_final:
            error.add_note(TRAINED)
        if is_final or not isinstance(error, ConnectionError):
            raise
        _log.warning("no checkpoint of epoch %d: %s", len(run.curve), error)
    else:
        tell_saved(len(run.curve))

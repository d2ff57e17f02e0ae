"""Checkpoints that survive a crash, a full disk, a torn upload and a flipped bit.

    LOCATION/00012/generator.safetensors      the networks as they are
                   ema.safetensors            the generator's moving average: scored and registered
                   discriminator.safetensors  absent with loss.adversarial = none
                   optimizers.safetensors
                   state.json                 configuration, curve, step, normalisation, dataset
                   manifest.json              sha256 of every other file, written last

One is valid when its manifest and every hash agree. The two newest are kept, and unusable ones go
once a run that passed them over has saved again. checkpoint_store.py has the places.
Nothing is pickled. The batch order needs no stored state: it follows from seed and epoch.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load as load_tensors
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from dexsearch.config.trial import TrialConfig
from dexsearch.location import above, below, name_of
from dexsearch.training.arithmetic import Arithmetic
from dexsearch.training.checkpoint_store import CheckpointStore, checkpoint_store
from dexsearch.training.checkpoint_writer import FORMAT, CheckpointWriter
from dexsearch.training.metrics import METRIC_DEFINITION
from dexsearch.training.normalization import Normalization
from dexsearch.training.record import EpochRecord

_STATE = "state.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunState:
    """What a checkpoint says beside its tensors; it needs no other file to be understood."""

    config: TrialConfig
    normalization: Normalization
    dataset_digest: str
    step: int
    """Optimiser steps taken; the warm-up of the moving average depends on it."""

    curve: tuple[EpochRecord, ...]
    """Every epoch so far; the last one is the checkpoint's."""

    metric: int = METRIC_DEFINITION

    trained_with: tuple[Arithmetic, ...] = ()
    """What the epochs were computed with, in order; several where the run was continued
    elsewhere, none in checkpoints of earlier versions."""

    epochs: int | None = None
    """Length of the whole run where its steps depend on it (see schedule.py), else None."""

    @property
    def epoch(self) -> int:
        """Return the last epoch, counted from 1."""
        return self.curve[-1].epoch

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values; `from_dict` takes them back."""
        return {
            "format": FORMAT,
            "config": self.config.model_dump(mode="json"),
            "targets": list(self.config.task.targets),
            "normalization": self.normalization.as_dict(),
            "dataset_digest": self.dataset_digest,
            "metric": self.metric,
            "step": self.step,
            "epochs": self.epochs,
            "trained_with": [arithmetic.as_dict() for arithmetic in self.trained_with],
            "curve": [record.as_dict() for record in self.curve],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RunState":
        """Rebuild from `as_dict`."""
        if values["format"] != FORMAT:
            raise ValueError(f"got format {values['format']!r}; this version reads {FORMAT}")
        return cls(
            config=TrialConfig.model_validate(values["config"]),
            normalization=Normalization.from_dict(values["normalization"]),
            dataset_digest=values["dataset_digest"],
            step=int(values["step"]),
            curve=tuple(EpochRecord.from_dict(record) for record in values["curve"]),
            metric=int(values["metric"]),
            epochs=values.get("epochs"),
            trained_with=tuple(map(Arithmetic.from_dict, values.get("trained_with", ()))),
        )


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint whose every byte was verified when it was opened."""

    location: str
    state: RunState
    contents: Mapping[str, bytes]
    """Name of each safetensors file without its ending -> its bytes."""

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Return the tensors of one part, for example `ema`."""
        return load_tensors(self.contents[name])


def save_checkpoint(
    writer: CheckpointWriter, state: RunState, tensors: Mapping[str, Mapping[str, Tensor]]
) -> str:
    """Write the checkpoint of `state.epoch`, keep the one before it too, return its location.

    Raises:
        SupersededError: if another process took over; nothing is written.
        OSError: if it cannot be stored.
    """
    files = {
        f"{name}.safetensors": tensors_to_bytes({k: v.contiguous() for k, v in part.items()})
        for name, part in tensors.items()
    }
    files[_STATE] = json.dumps(state.as_dict(), indent=1, allow_nan=False).encode()
    return writer.save(state.epoch, files)


def open_checkpoint(location: str | Path) -> Checkpoint:
    """Read one checkpoint, a folder or URI that ends in its epoch, and verify every file.

    Raises:
        ValueError: naming the file that is missing or not what was written.
        ConnectionError: if the storage does not answer.
    """
    place = str(location)
    return _open(checkpoint_store(above(place)), int(name_of(place)))


def newest_valid_checkpoint(location: str | Path) -> Checkpoint | None:
    """Open the newest checkpoint at a folder or URI, walking back over damaged ones.

    Each one passed over is named in a warning of this module's logger. None where none is valid.

    Raises:
        ConnectionError: if the storage does not answer.
    """
    store = checkpoint_store(location)
    for epoch in store.epochs():
        try:
            return _open(store, epoch)
        except ValueError as error:
            _log.warning("checkpoint passed over: %s", error)
    return None


def _open(store: CheckpointStore, epoch: int) -> Checkpoint:
    contents = store.files(epoch)
    place = below(store.location, f"{epoch:05d}")
    try:
        state = RunState.from_dict(json.loads(contents.pop(_STATE)))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{below(place, _STATE)}: cannot be read ({error})") from None
    return Checkpoint(place, state, {Path(name).stem: part for name, part in contents.items()})

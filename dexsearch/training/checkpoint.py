"""Checkpoints that survive a crash, a full disk and a flipped bit.

    FOLDER/00012/generator.safetensors       the networks as they are
                 ema.safetensors             the generator's moving average: scored and registered
                 discriminator.safetensors   absent with loss.adversarial = none
                 optimizers.safetensors
                 state.json                  configuration, curve, step, normalisation, dataset
                 manifest.json               sha256 of every other file, written last

A checkpoint is written under another name, every file is flushed to disk, and the folder is
renamed into place; it is valid when its manifest and every hash agree. The two newest are kept,
and unusable ones go once a run that passed them over has saved again.
Nothing is pickled. The batch order needs no stored state: it follows from seed and epoch.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load as load_tensors
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from dexsearch.config.trial import TrialConfig
from dexsearch.durable import flush_folder, partial_beside, remove_orphans, write_durably
from dexsearch.training.arithmetic import Arithmetic
from dexsearch.training.metrics import METRIC_DEFINITION
from dexsearch.training.normalization import Normalization
from dexsearch.training.record import EpochRecord

_FORMAT = 1
_KEPT = 2
_MANIFEST = "manifest.json"
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
            "format": _FORMAT,
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
        if values["format"] != _FORMAT:
            raise ValueError(f"got format {values['format']!r}; this version reads {_FORMAT}")
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

    folder: Path
    state: RunState
    contents: Mapping[str, bytes]
    """Name of each safetensors file without its ending -> its bytes."""

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Return the tensors of one part, for example `ema`."""
        return load_tensors(self.contents[name])


def save_checkpoint(
    folder: Path, state: RunState, tensors: Mapping[str, Mapping[str, Tensor]]
) -> Path:
    """Write `folder/<epoch>` atomically, keep it and the one before it, return its path.

    Folders of later epochs are deleted: the run that saves here passed them over as unusable.
    """
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"{state.epoch:05d}"
    remove_orphans(folder, "*")
    partial = partial_beside(final)
    try:
        partial.mkdir()
        _write_files(partial, state, tensors)
        if final.exists():  # an unusable one, passed over when this run continued
            shutil.rmtree(final)
        partial.rename(final)
        flush_folder(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    _drop_others(folder, state.epoch)
    return final


def _write_files(
    folder: Path, state: RunState, tensors: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """Write every file, the manifest last."""
    files = {
        f"{name}.safetensors": tensors_to_bytes({k: v.contiguous() for k, v in part.items()})
        for name, part in tensors.items()
    }
    files[_STATE] = json.dumps(state.as_dict(), indent=1, allow_nan=False).encode()
    for name, content in files.items():
        write_durably(folder / name, content)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    manifest = json.dumps({"format": _FORMAT, "sha256": hashes}, indent=1)
    write_durably(folder / _MANIFEST, manifest.encode())


def _drop_others(folder: Path, saved_epoch: int) -> None:
    """Delete checkpoints beyond the saved one, and all but the newest two up to it.

    A run continues from the newest usable checkpoint. So one with a higher number was passed
    over as unusable, and would otherwise count as newer than what the run wrote since.
    """
    found = _newest_first(folder)
    beyond = [path for path in found if int(path.name) > saved_epoch]
    for path in beyond:
        _log.warning("unusable checkpoint deleted: %s", path)
    for path in beyond + found[len(beyond) + _KEPT :]:
        shutil.rmtree(path, ignore_errors=True)


def open_checkpoint(folder: Path) -> Checkpoint:
    """Read one checkpoint and verify every file.

    Raises:
        ValueError: naming the file that is missing or not what was written.
    """
    try:
        hashes: dict[str, str] = json.loads((folder / _MANIFEST).read_bytes())["sha256"]
        contents = {name: (folder / name).read_bytes() for name in hashes}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder}: incomplete checkpoint ({error})") from None
    for name, content in contents.items():
        if hashlib.sha256(content).hexdigest() != hashes[name]:
            raise ValueError(f"{folder / name}: not what was written (sha256 differs)")
    try:
        state = RunState.from_dict(json.loads(contents.pop(_STATE)))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / _STATE}: cannot be read ({error})") from None
    return Checkpoint(folder, state, {Path(name).stem: part for name, part in contents.items()})


def newest_valid_checkpoint(folder: Path) -> Checkpoint | None:
    """Open the newest checkpoint under `folder`, walking back over damaged ones.

    Each one passed over is named in a warning of this module's logger. None where none is valid.
    """
    for candidate in _newest_first(folder):
        try:
            return open_checkpoint(candidate)
        except ValueError as error:
            _log.warning("checkpoint passed over: %s", error)
    return None


def _newest_first(folder: Path) -> list[Path]:
    """List the checkpoint folders; partial ones do not count."""
    if not folder.is_dir():
        return []
    named = (path for path in folder.iterdir() if path.name.isdecimal() and path.is_dir())
    return sorted(named, key=lambda path: int(path.name), reverse=True)

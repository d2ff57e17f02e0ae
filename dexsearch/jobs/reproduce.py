"""The job behind `dexsearch reproduce`: train a registered generator again from its record.

The record is the package: configuration with its seed, epochs, dataset digest, curve, and what it
was computed with. Threads and precision are set as they were; the processor and the version of
torch are what they are, and told where they differ. Checkpoints lie in
`WORKSPACE/reproductions/` until the run has ended, so the same command continues.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from dexsearch.config.base import first_problem
from dexsearch.config.trial import TrialConfig
from dexsearch.errors import (
    ConfigurationError,
    DataError,
    EnvironmentFault,
    Interrupted,
    SearchFailed,
    StudyBusy,
)
from dexsearch.inference.package import CURVE, WEIGHTS, Package
from dexsearch.jobs.models import find_dataset, open_model
from dexsearch.jobs.reproduction import Bound, Reproduction, bound_from
from dexsearch.jobs.then_and_now import Conditions, conditions_of
from dexsearch.locking import hold_lock
from dexsearch.registry.record import read_registry

if TYPE_CHECKING:
    from dexsearch.data.store import Dataset
    from dexsearch.training.record import EpochRecord

Tell = Callable[[str], None]
REPRODUCTIONS = "reproductions"
CHECKPOINT_EVERY_S = 5.0
"""The most that Ctrl-C costs, beside the epoch that it interrupts."""
_SCORES = ("val_ssim", "val_ssim_bone", "val_ssim_tissue", "val_ssim_whole", "val_psnr", "val_mae")


def reproduce(model: str, *, workspace: Path, dataset: Path | None, tell: Tell) -> Reproduction:
    """Train a generator again from its record and compare weights and scores.

    Args:
        model: `name@alias`, `name/version`, `name` (its champion), or a package folder.
        workspace: where registry, datasets and the checkpoints of this run are.
        dataset: folder of the dataset; looked for by its digest where it is None.
        tell: is given each line that a waiting person wants to read.

    Raises:
        NotRegistered: if the registry holds no such model.
        DataError: if the package or the dataset is missing or damaged.
        ConfigurationError: if its scores have another metric definition than this version.
        SearchFailed: if the training diverges.
        StudyBusy: if another process reproduces the same generator.
        Interrupted: after Ctrl-C; the same command continues.
    """
    package = open_model(model, workspace)
    _refuse_other_metric(package)
    data = find_dataset(workspace, package.card.dataset, dataset)
    data.check_files()
    conditions = conditions_of(package.card, workspace)
    for warning in conditions.warnings:
        tell(f"not as then: {warning}")
    started = time.monotonic()
    with _own_folder(workspace, package, conditions) as folder:
        run = _Run(package, data, conditions, folder)
        curve = run.train(tell)
        weights = run.weights_sha256()
    return Reproduction(
        model=model,
        study=package.card.study,
        trial=package.card.trial,
        objective=package.card.objective,
        epochs=package.card.epochs,
        scores=_both(package, curve[-1]),
        weights_sha256=(package.files[WEIGHTS], weights),
        first_different_epoch=_first_difference(package, curve),
        bound=_bound(package, workspace),
        warnings=conditions.warnings,
        seconds=time.monotonic() - started,
    )


def _refuse_other_metric(package: Package) -> None:
    from dexsearch.training.metrics import METRIC_DEFINITION

    if package.card.metric != METRIC_DEFINITION:
        raise ConfigurationError(
            f"{package.path.name} was scored with metric definition {package.card.metric}, this "
            f"version scores with {METRIC_DEFINITION}; such scores are never compared",
            hint="use the dexsearch version that registered it",
        )


@contextmanager
def _own_folder(workspace: Path, package: Package, conditions: Conditions) -> Iterator[Path]:
    """Yield the folder of this run's checkpoints, ours alone; it goes when the run has ended.

    What is computed with decides on its name too: a run that went on with other arithmetic would
    be neither the one nor the other.
    """
    key = json.dumps([package.sha256, conditions.arithmetic.as_dict()], sort_keys=True)
    folder = workspace / REPRODUCTIONS / hashlib.sha256(key.encode()).hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentFault(
            f"cannot make {str(folder)!r}: {error.strerror}", hint="--workspace DIR"
        ) from None
    lock = hold_lock(
        folder / "lock",
        what=f"a reproduction of {package.path.name}",
        busy=StudyBusy,
        elsewhere="choose a --workspace on a local disk",
    )
    try:
        yield folder
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


@dataclass(frozen=True, slots=True)
class _Run:
    """The training of one package again."""

    package: Package
    dataset: "Dataset"
    conditions: Conditions
    folder: Path

    def train(self, tell: Tell) -> "list[EpochRecord]":
        """Train to the end, from this run's own checkpoints if there are any."""
        import torch

        from dexsearch.training.loop import TrainingDiverged, TrainingOutOfMemory

        torch.set_num_threads(self.conditions.arithmetic.threads)
        curve: list[EpochRecord] = []
        try:
            for record in self._records():
                curve.append(record)
                tell(self._told(record))
        except KeyboardInterrupt:
            raise Interrupted(
                f"stopped in epoch {len(curve) + 1} of {self.package.card.epochs}",
                hint="the same command continues from its last checkpoint",
            ) from None
        except TrainingDiverged as error:
            raise SearchFailed(f"{self.package.path.name} is not reproduced: {error}") from None
        except TrainingOutOfMemory as error:
            raise EnvironmentFault(str(error), hint="use a machine with more memory") from None
        return curve

    def weights_sha256(self) -> str:
        """Return the hash of the weights as a package would hold them."""
        from dexsearch.training.checkpoint import newest_valid_checkpoint

        checkpoint = newest_valid_checkpoint(self.folder)
        if checkpoint is None or checkpoint.state.epoch != self.package.card.epochs:
            raise EnvironmentFault(f"the final checkpoint in {str(self.folder)!r} is damaged")
        return hashlib.sha256(checkpoint.contents["ema"]).hexdigest()

    def _records(self) -> "Iterator[EpochRecord]":
        from dexsearch.data.pairs import load_training_data
        from dexsearch.training.loop import train

        card, config = self.package.card, _config(self.package)
        return train(
            config,
            load_training_data(self.dataset, config.task, self.conditions.device),
            epochs=card.epochs,
            device=self.conditions.device,
            checkpoints=self.folder,
            checkpoint_every_s=CHECKPOINT_EVERY_S,
            precision=self.conditions.precision,
        )

    def _told(self, record: "EpochRecord") -> str:
        objective = self.package.card.objective
        then = {one["epoch"]: one.get(objective) for one in _recorded_curve(self.package)}
        now = record.as_dict()[objective]
        beside = f" ({then[record.epoch]:.4f} then)" if then.get(record.epoch) is not None else ""
        return f"epoch {record.epoch}/{self.package.card.epochs}: {objective} {now:.4f}{beside}"


def _config(package: Package) -> TrialConfig:
    """Return the configuration of a generator as this version reads it."""
    try:
        return TrialConfig.model_validate(package.card.trial_config)
    except ValidationError as error:
        raise DataError(
            f"{package.path.name} was trained with a configuration that this version does not "
            f"take: {first_problem(error, TrialConfig)}",
            hint="use the dexsearch version that registered it",
        ) from None


def _recorded_curve(package: Package) -> list[dict[str, Any]]:
    """Return the records of the registered generator's epochs; their hash was checked."""
    try:
        curve: list[dict[str, Any]] = json.loads((package.path / CURVE).read_bytes())
    except (OSError, ValueError):
        raise DataError(f"{str(package.path / CURVE)!r} cannot be read") from None
    return curve


def _both(package: Package, last: "EpochRecord") -> dict[str, tuple[float, float]]:
    """Return the scores that both have, as recorded and again; the objective first."""
    again = last.as_dict()
    names = dict.fromkeys((package.card.objective, *_SCORES))
    recorded = package.card.scores
    return {
        name: (float(recorded[name] or 0.0), float(again[name]))
        for name in names
        if recorded.get(name) is not None and again.get(name) is not None
    }


def _first_difference(package: Package, curve: "list[EpochRecord]") -> int | None:
    objective = package.card.objective
    then = {one["epoch"]: one.get(objective) for one in _recorded_curve(package)}
    different = (
        record.epoch
        for record in curve
        if record.epoch in then and then[record.epoch] != record.as_dict()[objective]
    )
    return next(different, None)


def _bound(package: Package, workspace: Path) -> Bound:
    """Return the noise that replicates of its study tell, as long as its own study is meant."""
    card = package.card
    registry = read_registry(workspace)
    own = [v.time for v in registry.versions if v.weights_sha256 == package.files[WEIGHTS]]
    mine = [
        entry
        for entry in registry.replicated
        if (entry.study, entry.objective) == (card.study, card.objective)
        and (not own or entry.begun <= own[0])
    ]
    begun = max((entry.begun for entry in mine), default=None)
    return bound_from([entry for entry in mine if entry.begun == begun])

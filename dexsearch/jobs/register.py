"""Register the best generators of a study: its ledger, its dataset and the checkpoints joined."""

import hashlib
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version as library_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dexsearch.config.trial import Task
from dexsearch.errors import DataError
from dexsearch.inference.package import GeneratorCard, Package, open_package, write_package
from dexsearch.ledger.study import StudyRecord, TrialRecord
from dexsearch.registry.record import Registration, Registry, read_registry
from dexsearch.registry.store import package_folder, register

if TYPE_CHECKING:
    from dexsearch.data.store import Dataset
    from dexsearch.training.checkpoint import Checkpoint

LARGEST_SCORE_DIFFERENCE = 0.01
"""Between the score in the ledger and that of the weights, which other hardware may round."""
LIBRARIES = ("dexsearch", "torch", "numpy", "safetensors")
SCORES = (
    "val_ssim",
    "val_ssim_bone",
    "val_ssim_tissue",
    "val_ssim_whole",
    "val_psnr",
    "val_mae",
)
Tell = Callable[[str], None]


def register_study(
    workspace: Path, study: StudyRecord, dataset: "Dataset", *, n: int, tell: Tell
) -> tuple[Registration, ...]:
    """Register the `n` best complete trials; what is registered already stays as it is.

    A trial whose checkpoint cannot be used is told of and passed over for the next best.

    Args:
        workspace: where `registry.jsonl` and the packages are.
        study: what its ledger says; the objective at the final epoch decides.
        dataset: the one that the study was searched on.
        n: how many versions the study should have; fewer if fewer trials are complete.
        tell: is given one line for each trial that was passed over.

    Returns:
        The versions, best first.

    Raises:
        DataError: if `dataset` is not the study's.
    """
    if dataset.manifest.digest != study.dataset_digest:
        raise DataError(
            f"dataset {str(dataset.path)!r} has digest {dataset.manifest.digest[:12]}, but study "
            f"{study.name!r} was searched on {study.dataset_digest[:12]}",
            hint="put that dataset back, or search again under a new --study name",
        )
    registry = read_registry(workspace)
    packer = _Packer(workspace, study, dataset)
    packages: list[Package] = []
    for trial in study.ranking():
        if len(packages) >= n:
            break
        try:
            packages.append(_package(registry, packer, trial))
        except _Unusable as problem:
            tell(f"trial {trial.number} is not registered: {problem}")
    return register(workspace, packages) if packages else ()


class _Unusable(Exception):
    """A trial's checkpoint is not what the ledger says."""


def _package(registry: Registry, packer: "_Packer", trial: TrialRecord) -> Package:
    """Return the intact package of a trial; write it where there is none.

    What is registered and intact needs no checkpoint any more, so `trials/` may be deleted.
    """
    known = [version for version in registry.versions if version.is_of(packer.study, trial)]
    for version in known:
        try:
            return open_package(registry.path_of(version), sha256=version.sha256)
        except DataError:
            pass  # it is written again below
    checkpoint = _final_checkpoint(packer.study, trial)
    weights_sha256 = hashlib.sha256(checkpoint.contents["ema"]).hexdigest()
    return packer.write(trial, checkpoint, weights_sha256)


def _final_checkpoint(study: StudyRecord, trial: TrialRecord) -> "Checkpoint":
    from dexsearch.training.checkpoint import open_checkpoint

    folder = study.checkpoint_path(trial)
    if folder is None:
        raise _Unusable("the ledger names no checkpoint")
    try:
        checkpoint = open_checkpoint(folder)
    except (ValueError, OSError) as error:
        raise _Unusable(f"its checkpoint cannot be used: {error}") from None
    state = checkpoint.state
    if state.epoch != trial.last_epoch or state.dataset_digest != study.dataset_digest:
        raise _Unusable(
            f"{folder} holds epoch {state.epoch} of dataset {state.dataset_digest[:12]}, "
            f"the ledger says epoch {trial.last_epoch} of {study.dataset_digest[:12]}"
        )
    return checkpoint


@dataclass(slots=True)
class _Packer:
    """Writes packages of one study; what its trials share is computed once, when needed."""

    workspace: Path
    study: StudyRecord
    dataset: "Dataset"
    _baselines: dict[str, dict[str, float]] | None = None

    def write(self, trial: TrialRecord, checkpoint: "Checkpoint", weights_sha256: str) -> Package:
        """Write the package of one trial, pictures included."""
        card = self._card(trial, checkpoint)
        curve = [trial.epochs[epoch] for epoch in sorted(trial.epochs)]
        return write_package(
            package_folder(self.workspace, card.content_hash(weights_sha256)),
            weights=checkpoint.contents["ema"],
            card=card,
            curve=curve,
            draw=lambda folder: self._draw(folder, card, curve),
        )

    def _draw(self, folder: Path, card: GeneratorCard, curve: list[dict[str, Any]]) -> None:
        """Load the weights from the package's own folder, check their score, draw."""
        import torch

        from dexsearch.data.pairs import load_pairs
        from dexsearch.inference.predict import load_predictor
        from dexsearch.jobs.portrait import draw_curve, draw_pictures, score_validation

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        manifest = self.dataset.manifest
        predictor = load_predictor(Package(folder, card, {}, ""), device)
        pairs = load_pairs(self.dataset, "validation", card.targets, device)
        portrait = score_validation(predictor, pairs, manifest.images["validation"])
        recorded = float(card.scores["val_ssim"] or 0.0)
        if abs(portrait.val_ssim - recorded) > LARGEST_SCORE_DIFFERENCE:
            raise _Unusable(
                f"its weights score val_ssim {portrait.val_ssim:.4f}, the ledger says "
                f"{recorded:.4f}"
            )
        draw_curve(folder, card, curve)
        draw_pictures(
            folder, predictor=predictor, portrait=portrait, pairs=pairs, manifest=manifest,
            heading=f"dexsearch-{card.task}, trial {card.trial}",
        )  # fmt: skip

    def _card(self, trial: TrialRecord, checkpoint: "Checkpoint") -> GeneratorCard:
        state = checkpoint.state
        manifest = self.dataset.manifest
        task = state.config.task
        last = trial.epochs[trial.last_epoch]
        return GeneratorCard(
            task=task.registered_as.value,
            targets=task.targets,
            trial_config=state.config.model_dump(mode="json"),
            normalization=state.normalization.as_dict(),
            units={name: manifest.units.get(name, "") for name in ("input", *task.targets)},
            study=self.study.name,
            trial=trial.number,
            params=trial.params,
            objective=self.study.objective,
            epochs=trial.last_epoch,
            n_parameters=_count_parameters(state.config.generator, len(task.predicted)),
            dataset=self.study.dataset_digest,
            size_px=manifest.size_px,
            pixel_mm=manifest.pixel_mm,
            metric=self.study.metric,
            scores={name: last.get(name) for name in SCORES} | _quality(last),
            baselines=self._baseline_scores(task.targets),
            inversion=self._inversion(task),
            libraries={
                "python": platform.python_version(),
                **{name: library_version(name) for name in LIBRARIES},
            },
        )

    def _inversion(self, task: Task) -> dict[str, Any] | None:
        """Return what computes the tissue of a derived head; None for the others."""
        from dexsearch.data.pairs import inversion_of

        if task is not Task.DERIVE:
            return None
        return inversion_of(self.dataset.manifest).as_dict()

    def _baseline_scores(self, targets: tuple[str, ...]) -> dict[str, dict[str, float]]:
        from dexsearch.training.baselines import baselines

        if self._baselines is None:
            self._baselines = baselines(self.dataset).masked()
        return {
            method: {target: scores[target] for target in targets}
            for method, scores in self._baselines.items()
        }


def _quality(record: Mapping[str, Any]) -> dict[str, float | None]:
    """Return what `training.quality` says of the final epoch; nothing in earlier ledgers."""
    return {f"quality_{name}": value for name, value in (record.get("quality") or {}).items()}


def _count_parameters(config: Any, n_targets: int) -> int:  # noqa: ANN401
    """Count the trainable values of a generator."""
    from dexsearch.models.generator import build_generator

    generator = build_generator(config, n_targets=n_targets)
    return sum(parameter.numel() for parameter in generator.parameters())

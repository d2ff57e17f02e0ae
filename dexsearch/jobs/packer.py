"""Pack the generator of one trial: weights, card, pictures, and what is measured of it."""

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version as library_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dexsearch.config.trial import Task
from dexsearch.errors import EnvironmentFault
from dexsearch.inference.package import WEIGHTS, GeneratorCard, Package, write_package
from dexsearch.jobs.measuring import (
    git_commit,
    machine_text,
    measure_latency,
    score_intervals,
)
from dexsearch.ledger.study import StudyRecord, TrialRecord
from dexsearch.registry.record import Registration
from dexsearch.registry.store import package_folder

if TYPE_CHECKING:
    from dexsearch.data.store import Dataset
    from dexsearch.training.checkpoint import Checkpoint

LARGEST_SCORE_DIFFERENCE = 0.01
"""Between the score in the ledger and that of the weights, which other hardware may round."""
LIBRARIES = ("dexsearch", "torch", "numpy", "safetensors", "mlflow")
SCORES = (
    "val_ssim",
    "val_ssim_bone",
    "val_ssim_tissue",
    "val_ssim_whole",
    "val_psnr",
    "val_mae",
)
COHORT = (
    "subjects", "poses", "size_px", "seed", "preset", "geometry", "voxel_mm", "kvp", "ct_kvp",
    "pair_kvp", "dose_mas", "target_dose_mas", "scatter", "blur_mm", "electronic_noise_kev",
    "filters_mm", "targets", "recipe", "layout",
)  # fmt: skip
"""What a card takes of a dataset's source; names of files, which may be those of patients, stay
behind."""


class Unusable(Exception):
    """A trial's checkpoint is not what the ledger says."""


@dataclass(frozen=True)
class Packer:
    """Writes packages of one study; what its trials share is computed once, when needed."""

    workspace: Path
    study: StudyRecord
    dataset: "Dataset"

    def write(
        self, trial: TrialRecord, checkpoint: "Checkpoint", before: Registration | None
    ) -> Package:
        """Write the package of one trial, pictures included; an intact one stays as it is.

        Args:
            trial: complete.
            checkpoint: its last one.
            before: what is registered of this trial; what was measured then is kept, so that a
                package that was lost comes back as it was.

        Raises:
            Unusable: if the weights do not score what the ledger says.
            EnvironmentFault: if the disk is full.
        """
        card = self._card(trial, checkpoint)
        if before is not None:
            card = replace(
                card,
                latency=before.latency,
                git_commit=before.git_commit or card.git_commit,
            )
        curve = [trial.epochs[epoch] for epoch in sorted(trial.epochs)]
        weights = checkpoint.contents["ema"]
        weights_sha256 = hashlib.sha256(weights).hexdigest()

        def complete(folder: Path) -> GeneratorCard:
            package = Package(folder, card, {WEIGHTS: weights_sha256}, "")
            return self._complete(package, checkpoint, curve)

        return write_package(
            package_folder(self.workspace, card.content_hash(weights_sha256)),
            weights=weights,
            card=card,
            curve=curve,
            draw=complete,
        )

    def _complete(
        self, package: Package, checkpoint: "Checkpoint", curve: list[dict[str, Any]]
    ) -> GeneratorCard:
        """Check the score of the weights in the package's own folder, measure, draw, export."""
        import torch

        from dexsearch.data.pairs import load_pairs
        from dexsearch.inference.predict import load_predictor
        from dexsearch.jobs.portrait import draw_curve, draw_pictures, score_validation
        from dexsearch.registry.served_model import write_served_model

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        card, manifest = package.card, self.dataset.manifest
        infos = manifest.images["validation"]
        predictor = load_predictor(package, device)
        pairs = load_pairs(self.dataset, "validation", card.targets, device)
        portrait = score_validation(predictor, pairs, infos)
        _compare(portrait.val_ssim, float(card.scores["val_ssim"] or 0.0))
        draw_curve(package.path, card, curve)
        draw_pictures(
            package.path, predictor=predictor, portrait=portrait, pairs=pairs, manifest=manifest,
            heading=f"dexsearch-{card.task}, trial {card.trial}",
        )  # fmt: skip
        write_served_model(package)
        config = checkpoint.state.config
        return replace(
            card,
            intervals=score_intervals(
                portrait.ssim, [info.subject for info in infos], card.targets
            ),
            latency=card.latency or measure_latency(config, manifest.size_px, device),
        )

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
            machine="; ".join(map(machine_text, self.study.machines)) or None,
            git_commit=git_commit(),
            trained_with=[arithmetic.as_dict() for arithmetic in state.trained_with],
            **self._about_the_data,
        )

    @cached_property
    def _about_the_data(self) -> dict[str, Any]:
        """What the card says of the dataset, beside its digest."""
        from dexsearch.data.split_file import split_file_of
        from dexsearch.data.splits import SUBSETS

        manifest = self.dataset.manifest
        known = {key: manifest.source[key] for key in COHORT if key in manifest.source}
        return {
            "cohort": {"kind": manifest.kind, "split_rule": manifest.split_rule, **known},
            "subjects": {subset: len(manifest.subjects(subset)) for subset in SUBSETS},
            "images": {subset: len(manifest.images[subset]) for subset in SUBSETS},
            "n_subjects": len(manifest.subjects("validation")),
            "split": hashlib.sha256(split_file_of(self.dataset).encode()).hexdigest(),
        }

    def _inversion(self, task: Task) -> dict[str, Any] | None:
        """Return what computes the tissue of a derived head; None for the others."""
        from dexsearch.data.inversions import inversion_of

        if task is not Task.DERIVE:
            return None
        return inversion_of(self.dataset.manifest).as_dict()

    @cached_property
    def _baselines(self) -> dict[str, dict[str, float]]:
        from dexsearch.training.baselines import baselines

        return baselines(self.dataset).masked()

    def _baseline_scores(self, targets: tuple[str, ...]) -> dict[str, dict[str, float]]:
        return {
            method: {target: scores[target] for target in targets}
            for method, scores in self._baselines.items()
        }


def final_checkpoint(study: StudyRecord, trial: TrialRecord) -> "Checkpoint":
    """Open the last checkpoint of a trial.

    Raises:
        Unusable: if it is damaged, missing or another one.
        EnvironmentFault: if it cannot be read from here and now.
    """
    from dexsearch.training.checkpoint import open_checkpoint

    location = study.checkpoint_location(trial)
    if location is None:
        raise Unusable("the ledger names no checkpoint")
    try:
        checkpoint = open_checkpoint(location)
    except OSError as error:
        raise EnvironmentFault(
            f"the checkpoint of trial {trial.number} cannot be read: {error}",
            hint="once the storage answers and lets you in, the same command registers the best",
        ) from None
    except ValueError as error:
        raise Unusable(f"its checkpoint cannot be used: {error}") from None
    state = checkpoint.state
    if state.epoch != trial.last_epoch or state.dataset_digest != study.dataset_digest:
        raise Unusable(
            f"{location} holds epoch {state.epoch} of dataset {state.dataset_digest[:12]}, "
            f"the ledger says epoch {trial.last_epoch} of {study.dataset_digest[:12]}"
        )
    return checkpoint


def _compare(found: float, recorded: float) -> None:
    """Raise Unusable where weights do not score what the ledger says."""
    if abs(found - recorded) > LARGEST_SCORE_DIFFERENCE:
        raise Unusable(f"its weights score val_ssim {found:.4f}, the ledger says {recorded:.4f}")


def _quality(record: Mapping[str, Any]) -> dict[str, float | None]:
    """Return what `training.quality` says of the final epoch; nothing in earlier ledgers."""
    return {f"quality_{name}": value for name, value in (record.get("quality") or {}).items()}


def _count_parameters(config: Any, n_targets: int) -> int:  # noqa: ANN401
    """Count the trainable values of a generator."""
    from dexsearch.models.generator import build_generator

    generator = build_generator(config, n_targets=n_targets)
    return sum(parameter.numel() for parameter in generator.parameters())

"""Networks, images and curve of one training run, and what one epoch does to them."""

import math
import time
from dataclasses import replace

import torch
from torch import Tensor

from dexsearch.config.trial import TrialConfig
from dexsearch.data.pairs import TrainingData
from dexsearch.models.layout import channels_last
from dexsearch.models.padding import pad_images
from dexsearch.training.affine import start_from_affine
from dexsearch.training.arithmetic import Arithmetic, arithmetic_here
from dexsearch.training.checkpoint import Checkpoint, RunState
from dexsearch.training.heads import build_head
from dexsearch.training.inputs import StoredInputs, TrainingInputs
from dexsearch.training.metrics import METRIC_DEFINITION
from dexsearch.training.networks import Networks
from dexsearch.training.normalization import Normalization
from dexsearch.training.out_of_memory import naming_memory
from dexsearch.training.precision import Precision
from dexsearch.training.quality import QualityScorer
from dexsearch.training.record import EpochRecord, TrainingDiverged
from dexsearch.training.restore import restore_networks
from dexsearch.training.schedule import length_that_matters, rate_factor
from dexsearch.training.validation import ValidationScores, Validator

_SEED_STRIDE = 1_000_003


class TrainingRun:
    """Networks, images and curve of one run."""

    def __init__(
        self,
        config: TrialConfig,
        data: TrainingData,
        device: torch.device,
        epochs: int,
        precision: Precision | None,
    ) -> None:
        self.config = config
        self.epochs = epochs
        self.digest = data.digest
        self.device = device
        self.curve: list[EpochRecord] = []
        self.normalization = Normalization(
            config.generator.input_normalization,
            mean=data.input_mean,
            std=data.input_std,
            data_ranges=data.data_ranges,
        )
        depth = config.generator.depth
        self.networks = Networks(config, device=device, precision=precision)
        here = arithmetic_here(device, self.networks.precision)
        self.trained_with: tuple[Arithmetic, ...] = (here,)
        head = build_head(config.task, self.normalization, data.inversion)
        quality = QualityScorer(data.validation, targets=data.targets, pixel_mm=data.pixel_mm)
        self.validator = Validator(
            data.validation, self.normalization, depth=depth, head=head, quality=quality
        )
        inputs = self.normalization.normalize_input(data.train.input)
        targets = self.normalization.from_physical(data.train.target)
        start_from_affine(self.networks.generator, inputs, targets, data.train.mask)
        self.networks.average.restart()
        self.inputs = self._training_inputs(data, inputs)
        self.targets = channels_last(pad_images(targets, depth=depth))

    def _training_inputs(self, data: TrainingData, normalized: Tensor) -> TrainingInputs:
        """Choose between the stored inputs and fresh exposures."""
        exposure, depth = self.config.exposure, self.config.generator.depth
        if not exposure.resample:
            return StoredInputs(normalized, depth=depth)
        from dexsearch.training.augmentation import FreshExposures  # noqa: PLC0415  (SciPy)

        return FreshExposures(
            exposure, data, self.normalization, depth=depth, seed=self.config.seed
        )

    def continue_from(self, checkpoint: Checkpoint) -> None:
        """Take over networks, optimisers and curve.

        Raises:
            ValueError: if the checkpoint is of another configuration, dataset, normalisation or
                metric definition, or of another length where steps depend on it: its curve would
                not go on, it would jump.
        """
        state = checkpoint.state
        parts = {
            "configuration": (state.config, self.config),
            "dataset": (state.dataset_digest, self.digest),
            "normalisation": (state.normalization, self.normalization),
            "metric definition": (state.metric, METRIC_DEFINITION),
        }
        different = [name for name, (theirs, ours) in parts.items() if theirs != ours]
        if different:
            raise ValueError(
                f"{checkpoint.location}: holds a run of another {' and '.join(different)}; "
                "choose another folder for checkpoints"
            )
        ours = length_that_matters(self.config.optimizer, self.epochs)
        if state.epochs != ours:
            raise ValueError(
                f"{checkpoint.location}: holds a run of {state.epochs} epochs, got {ours}; with "
                "optimizer.schedule='cosine' every step depends on the length, so keep it or "
                "choose another folder for checkpoints"
            )
        restore_networks(self.networks, checkpoint)
        if state.trained_with[-1:] == self.trained_with or not state.trained_with:
            self.trained_with = state.trained_with  # of old checkpoints it stays unknown
        else:
            self.trained_with = (*state.trained_with, *self.trained_with)
        # A shorter run's final epoch is none any more: its quality goes, as if never interrupted.
        # Asked for fewer epochs than are stored, the last of them has none: its generator is gone.
        self.curve = [
            record if record.epoch == self.epochs else replace(record, quality=None)
            for record in state.curve
        ]

    def state(self) -> RunState:
        """Return what a checkpoint says of the run beside its tensors."""
        return RunState(
            self.config,
            self.normalization,
            self.digest,
            self.networks.step,
            tuple(self.curve),
            trained_with=self.trained_with,
            epochs=length_that_matters(self.config.optimizer, self.epochs),
        )

    def train_epoch(self, epoch: int) -> EpochRecord:
        """See every image once (but for a partial last batch), then validate."""
        started = time.perf_counter()
        l1, generator, discriminator = self._mean_losses(epoch).tolist()
        _check_finite(epoch, {"L1": l1, "generator": generator, "discriminator": discriminator})
        with naming_memory(epoch, "validation"):
            scores = self.validator.score(
                self.networks.average.network, final=epoch == self.epochs
            )
        by_target = dict(zip(self.config.task.targets, scores.ssim, strict=True))
        record = EpochRecord(
            epoch=epoch,
            val_ssim=_mean(scores.ssim),
            val_ssim_bone=by_target.get("bone"),
            val_ssim_tissue=by_target.get("tissue"),
            val_ssim_whole=_mean(scores.whole_ssim),
            val_psnr=_mean(scores.psnr),
            val_mae=_mean(scores.mae),
            loss_l1=l1,
            loss_generator=generator,
            loss_discriminator=None if self.networks.adversary is None else discriminator,
            seconds=time.perf_counter() - started,
            quality=scores.quality,
        )
        _check_scores(epoch, scores)
        self.curve.append(record)
        return record

    def _mean_losses(self, epoch: int) -> Tensor:
        """Take every step of an epoch; on a CPU, where looking is free, stop at the first NaN."""
        losses = torch.zeros(3, device=self.device)
        batches = self._batches(epoch)
        n, size = batches.shape
        for number, batch in enumerate(batches):
            step = self.networks.step
            self.networks.set_rates(
                rate_factor(self.config.optimizer, step, steps_per_epoch=n, epochs=self.epochs)
            )
            place = f"step {step + 1} (batch {number + 1} of {n}, {size} images)"
            with naming_memory(epoch, place):
                x = self.inputs.batch(batch, epoch=epoch, number=number)
                y = channels_last(self.targets[batch])
                losses += self.networks.train_step(x, y)
            if self.device.type == "cpu" and not math.isfinite(float(losses.sum())):
                break
        return losses / n

    def _batches(self, epoch: int) -> Tensor:
        """Shuffle by seed and epoch alone; a partial last batch would upset BatchNorm."""
        n_images = len(self.targets)
        size = min(self.config.batch_size, n_images)
        rng = torch.Generator().manual_seed((self.config.seed * _SEED_STRIDE + epoch) % 2**63)
        order = torch.randperm(n_images, generator=rng)[: n_images // size * size]
        return order.view(-1, size).to(self.device)


def _mean(values: tuple[float, ...]) -> float:
    return math.fsum(values) / len(values)


def _check_finite(epoch: int, losses: dict[str, float]) -> None:
    for name, value in losses.items():
        if not math.isfinite(value):
            raise TrainingDiverged(epoch, f"the {name} loss is {value}")


def _check_scores(epoch: int, scores: ValidationScores) -> None:
    if not all(math.isfinite(v) for v in (*scores.ssim, *scores.whole_ssim, *scores.mae)):
        raise TrainingDiverged(epoch, "the validation scores are not finite")

"""Whole epochs (train and validate) of dexsearch against a plain pix2pix of the same networks.

Both see the same images, written as one .npy file per image for the plain one; both train the
default configuration with the same number of images and epochs. Epochs alternate in one process,
so that a busy machine slows both, and the ratio is the median over pairs of epochs. The plain
one uses the best of 0, 1 and 2 DataLoader workers, tried first.

Learning is equal by construction: networks, distribution of initial weights, affine start, losses,
Adam, moving average with its warm-up, number of steps, shuffling without a partial batch, scored
pixels. It differs in the random numbers drawn and in dexsearch's bfloat16 where the processor has
it; `--seeds N` repeats both and prints the final SSIM as mean +- standard error over the seeds.

Before the table: how fast the machine multiplies matrices on as many threads, in both precisions,
and what part of that a training step reaches. Only convolutions are counted, forward and backward,
by torch's flop counter.

    python benchmarks/training.py [--sizes 64 128 256] [--norms batch instance] [--epochs 8]
                                  [--seeds 1]
"""

import argparse
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from machine_speed import gemm_gflops, print_reach
from plain_pix2pix import Settings, plain_epochs
from scipy import ndimage

from dexsearch.config.trial import TrialConfig, trial_config
from dexsearch.data.pairs import Pairs, TrainingData
from dexsearch.models.discriminator import N_STRIDED
from dexsearch.training.loop import train
from dexsearch.training.metrics import EROSION_PX, erode
from dexsearch.training.normalization import Normalization

TARGETS = ("bone", "tissue")
REQUIRED = {64: 1.3, 128: 1.7, 256: 2.0}
N_IMAGES = {64: (192, 48), 128: (96, 24), 256: (48, 12)}


@dataclass(frozen=True)
class Comparison:
    """One row of the table: seconds per epoch, their ratio and the final scores of each seed."""

    size_px: int
    norm: str
    n_workers: int
    seconds: tuple[float, float]  # dexsearch, plain
    ratio: float
    scores: list[tuple[float, float]]

    def __str__(self) -> str:
        """Return the row as Markdown."""
        required = REQUIRED.get(self.size_px) if self.norm == "batch" else None
        ours, plain = (summary(list(column)) for column in zip(*self.scores, strict=True))
        difference = summary([a - b for a, b in self.scores])
        cells = (
            f"{self.size_px} px", self.norm, f"{self.seconds[1]:.2f} ({self.n_workers})",
            f"{self.seconds[0]:.2f}", f"{self.ratio:.2f}",
            "-" if required is None else f"{required:.1f}", plain, ours, difference,
        )  # fmt: skip
        return f"| {' | '.join(cells)} |"


COLUMNS = (
    "size", "norm", "plain s/epoch (workers)", "dexsearch s/epoch", "ratio", "required",
    "plain SSIM", "dexsearch SSIM", "difference",
)  # fmt: skip


def main() -> None:
    """Print one table, a row per size and norm as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--norms", nargs="+", default=["batch", "instance"])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.epochs < 2 or arguments.seeds < 1:
        parser.error("at least 2 epochs, the first of which warms up, and 1 seed")
    torch.set_num_threads(arguments.threads)
    print(
        f"{arguments.threads} threads, width {arguments.width}, {arguments.epochs} epochs, "
        f"{arguments.seeds} seeds; final validation SSIM"
        + (" as mean +- standard error" if arguments.seeds > 1 else "")
    )
    speeds = {dtype: gemm_gflops(dtype) for dtype in (torch.float32, torch.bfloat16)}
    for size_px in arguments.sizes:
        for norm in arguments.norms:
            settings = Settings(norm=norm, width=arguments.width)
            print_reach(same_config(settings, 0), size_px, speeds)
    print(f"\n| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    for size_px in arguments.sizes:
        data = draw_data(size_px, *N_IMAGES.get(size_px, (64, 16)))
        with tempfile.TemporaryDirectory() as folder:
            write_files(Path(folder), data)
            for norm in arguments.norms:
                settings = Settings(norm=norm, width=arguments.width)
                row = compare(Path(folder), data, settings, arguments.epochs, arguments.seeds)
                print(row, flush=True)


def compare(
    folder: Path, data: TrainingData, settings: Settings, epochs: int, n_seeds: int
) -> Comparison:
    """Alternate epochs of both, for each seed from 0."""
    n_workers = best_workers(folder, settings)
    times: list[tuple[float, float]] = []
    scores: list[tuple[float, float]] = []
    for seed in range(n_seeds):
        config = same_config(settings, seed)
        plain = plain_epochs(folder, replace(settings, seed=seed), n_workers=n_workers)
        ours = (
            (record.seconds, record.val_ssim)
            for record in train(config, data, epochs=epochs, device=torch.device("cpu"))
        )
        seconds, final = alternate(ours, plain, epochs)
        times += seconds[1:]  # the first epoch warms up
        scores.append(final)
    return Comparison(
        size_px=data.train.input.shape[-1],
        norm=settings.norm,
        n_workers=n_workers,
        seconds=(statistics.median(a for a, _ in times), statistics.median(b for _, b in times)),
        ratio=statistics.median(b / a for a, b in times),
        scores=scores,
    )


def same_config(settings: Settings, seed: int) -> TrialConfig:
    """Return the configuration of dexsearch that equals the plain one's settings."""
    return trial_config(
        {
            "task": "joint",
            "generator.depth": settings.depth,
            "generator.width": settings.width,
            "generator.norm": settings.norm,
            "generator.output": "residual",
            "generator.input_normalization": "absolute",
            "generator.kernel_px": 4,
            "discriminator.patch_px": next(
                px for px, n_strided in N_STRIDED.items() if n_strided == settings.n_strided
            ),
            "discriminator.width": settings.discriminator_width,
            "discriminator.norm": settings.norm,
            "loss.adversarial": "lsgan",
            "loss.l1_weight": settings.l1_weight,
            "optimizer.learning_rate": settings.learning_rate,
            "optimizer.beta1": settings.beta1,
            "batch_size": settings.batch_size,
            "ema_decay": settings.ema_decay,
            "seed": seed,
        }
    )


def summary(values: list[float]) -> str:
    """Return the mean, with its standard error where there are several values."""
    mean = statistics.fmean(values)
    if len(values) == 1:
        return f"{mean:.4f}"
    return f"{mean:.4f} +- {statistics.stdev(values) / len(values) ** 0.5:.4f}"


def alternate(
    ours: Iterator[tuple[float, float]], plain: Iterator[tuple[float, float]], epochs: int
) -> tuple[list[tuple[float, float]], tuple[float, float]]:
    """Return seconds of each pair of epochs, and both final scores."""
    times: list[tuple[float, float]] = []
    score_ours = score_plain = float("nan")
    for _ in range(epochs):
        seconds_ours, score_ours = next(ours)
        seconds_plain, score_plain = next(plain)
        times.append((seconds_ours, seconds_plain))
    return times, (score_ours, score_plain)


def best_workers(folder: Path, settings: Settings) -> int:
    """Try 0, 1 and 2 workers, two epochs each, the first one to warm up."""
    seconds = {}
    for n_workers in (0, 1, 2):
        epochs = plain_epochs(folder, settings, n_workers=n_workers)
        next(epochs)
        seconds[n_workers] = min(next(epochs)[0] for _ in range(2))
    return min(seconds, key=lambda n_workers: seconds[n_workers])


def draw_data(size_px: int, n_train: int, n_validation: int) -> TrainingData:
    """Draw ellipses of tissue crossed by bars of bone, seen by two energies at once."""
    train_pairs = draw_pairs(n_train, size_px, np.random.default_rng(0))
    inside = train_pairs.input[train_pairs.mask]
    ranges = []
    for channel in range(len(TARGETS)):
        values = train_pairs.target[:, channel : channel + 1][train_pairs.mask].numpy()
        ranges.append(float(np.quantile(values, 0.999) - np.quantile(values, 0.001)))
    return TrainingData(
        train=train_pairs,
        validation=draw_pairs(n_validation, size_px, np.random.default_rng(1)),
        targets=TARGETS,
        input_mean=float(inside.mean()),
        input_std=float(inside.std()),
        data_ranges=tuple(ranges),
        digest="drawn",
    )


def draw_pairs(n_images: int, size_px: int, rng: np.random.Generator) -> Pairs:
    """Draw the images of one subset."""
    rows, columns = np.mgrid[:size_px, :size_px] / size_px - 0.5
    images = np.zeros((n_images, 3, size_px, size_px), dtype=np.float32)
    masks = np.zeros((n_images, 1, size_px, size_px), dtype=bool)
    for index in range(n_images):
        body = (rows / 0.46) ** 2 + (columns / rng.uniform(0.38, 0.46)) ** 2
        smooth = ndimage.gaussian_filter(rng.normal(size=body.shape), size_px / 10)
        tissue = 16 * np.sqrt(np.clip(1 - body, 0, None)) * (1 + 0.3 * smooth / smooth.std())
        bone = np.zeros_like(tissue)
        for _ in range(6):
            angle, shift = rng.uniform(-0.6, 0.6), rng.uniform(-0.4, 0.4)
            distance = rows * np.cos(angle) + columns * np.sin(angle) - shift
            bone += rng.uniform(0.5, 1.5) * np.exp(-0.5 * (distance / 0.02) ** 2)
        masks[index, 0] = body < 1
        tissue, bone = np.clip(tissue, 0, None) * (body < 1), bone * (body < 1)
        beam = 0.5 * np.exp(-0.26 * tissue - bone) + 0.5 * np.exp(-0.21 * tissue - 0.6 * bone)
        images[index] = -np.log(beam) + 0.01 * rng.normal(size=beam.shape), bone, tissue
    tensor = torch.from_numpy(images)
    return Pairs(tensor[:, :1].clone(), tensor[:, 1:].clone(), torch.from_numpy(masks))


def write_files(folder: Path, data: TrainingData) -> None:
    """Write what the plain one reads: normalised already, so that it need not do it."""
    normalization = Normalization("absolute", data.input_mean, data.input_std, data.data_ranges)
    for subset, pairs in (("train", data.train), ("validation", data.validation)):
        (folder / subset).mkdir()
        inputs = normalization.normalize_input(pairs.input).numpy()
        targets = normalization.from_physical(pairs.target).numpy()
        masks = pairs.mask if subset == "train" else erode(pairs.mask, EROSION_PX)
        for index in range(len(inputs)):
            stem = folder / subset / f"{index:04d}"
            np.save(f"{stem}_input.npy", inputs[index])
            np.save(f"{stem}_target.npy", targets[index])
            np.save(f"{stem}_mask.npy", masks[index].numpy())


if __name__ == "__main__":
    main()

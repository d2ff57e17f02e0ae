"""Whole epochs (train and validate) of dexsearch against a plain pix2pix of the same networks.

Both see the same images, written as one .npy file per image for the plain one; both train the
default configuration with the same number of images and epochs. Epochs alternate in one process,
so that a busy machine slows both, and the ratio is the median over pairs of epochs. The plain
one uses the best of 0, 1 and 2 DataLoader workers, tried first.

    python benchmarks/training.py [--sizes 64 128 256] [--norms batch instance] [--epochs 8]
"""

import argparse
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from plain_pix2pix import Settings, plain_epochs
from scipy import ndimage

from dexsearch.config.trial import trial_config
from dexsearch.data.pairs import Pairs, TrainingData
from dexsearch.training.loop import train
from dexsearch.training.metrics import EROSION_PX, erode
from dexsearch.training.normalization import Normalization

TARGETS = ("bone", "tissue")
REQUIRED = {64: 1.3, 128: 1.7, 256: 2.0}
N_IMAGES = {64: (192, 48), 128: (96, 24), 256: (48, 12)}


def main() -> None:
    """Print one line per norm and size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--norms", nargs="+", default=["batch", "instance"])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(
        f"{arguments.threads} threads, width {arguments.width}, {arguments.epochs} epochs; s/epoch"
    )
    for size_px in arguments.sizes:
        data = draw_data(size_px, *N_IMAGES.get(size_px, (64, 16)))
        with tempfile.TemporaryDirectory() as folder:
            write_files(Path(folder), data)
            for norm in arguments.norms:
                compare(Path(folder), data, norm, arguments.width, arguments.epochs)


def compare(folder: Path, data: TrainingData, norm: str, width: int, epochs: int) -> None:
    """Alternate epochs of both and print the ratio."""
    size_px = data.train.input.shape[-1]
    settings = Settings(norm=norm, width=width)
    config = trial_config(
        {"generator.norm": norm, "discriminator.norm": norm, "generator.width": width}
    )
    n_workers = best_workers(folder, settings)
    plain = plain_epochs(folder, settings, n_workers=n_workers)
    ours = (
        (record.seconds, record.val_ssim)
        for record in train(config, data, epochs=epochs, device=torch.device("cpu"))
    )
    times, scores = alternate(ours, plain, epochs)
    ratio = statistics.median(b / a for a, b in times[1:])  # the first epoch warms up
    seconds = [statistics.median(column) for column in zip(*times[1:], strict=True)]
    required = (
        f" (required {REQUIRED[size_px]})" if norm == "batch" and size_px in REQUIRED else ""
    )
    print(
        f"{size_px:4d} px {norm:8s} plain {seconds[1]:6.2f} s ({n_workers} workers)  "
        f"dexsearch {seconds[0]:6.2f} s  ratio {ratio:.2f}{required}  "
        f"final SSIM plain {scores[1]:.4f} dexsearch {scores[0]:.4f}",
        flush=True,
    )


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

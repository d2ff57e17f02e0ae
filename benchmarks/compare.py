"""`compare` of two joint generators, against the plain way: one image at a time, scikit-image.

    python benchmarks/compare.py [--images 200] [--size 256] [--peer-images 10] [--threads 2]
                                 [--width 16] [--depth 4]

Times the whole look: hashes of the hold-out, both generators on every image, three bootstraps,
Wilcoxon, the gallery and both entries in the log. Required: under 30 s on two cores. The peer
predicts and scores the first images alone (`structural_similarity`, averaged inside the eroded
mask) and is scaled up to all of them; its scores have to agree with ours.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from scipy import ndimage
from skimage.metrics import structural_similarity

from dexsearch.config.trial import TrialConfig
from dexsearch.data.splits import Split, Subset
from dexsearch.data.store import Dataset, Sample, write_dataset
from dexsearch.inference.package import GeneratorCard, Package, write_package
from dexsearch.inference.predict import load_predictor
from dexsearch.models.generator import build_generator
from dexsearch.registry.looks import Candidate, LookResult, look_at_holdout
from dexsearch.training.metrics import EROSION_PX

REQUIRED_S = 30.0
TARGETS = ("bone", "tissue")
N_SUBJECTS = 20


def main() -> None:
    """Print how long the look took, what the peer would take, and the ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    for name, value in (
        ("images", 200), ("size", 256), ("peer-images", 10), ("threads", 2), ("width", 16),
        ("depth", 4),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder)
        dataset = invented_dataset(workspace / "dataset", args.images, args.size)
        packages = [
            invented_generator(workspace / f"g{seed}", dataset, seed, args.width, args.depth)
            for seed in range(2)
        ]
        begun = time.perf_counter()
        result = look(workspace, packages, dataset)
        our_s = time.perf_counter() - begun
        peer_s = peer(packages, dataset, result, args.peer_images)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    n_images = result.comparison.result.n_images
    print(
        f"{n_images} images of {args.size} px, 2 joint generators of depth {args.depth}, width "
        f"{args.width}, {args.threads} threads: {our_s:.1f} s (required {REQUIRED_S:g} s), peak "
        f"{peak_mib:.0f} MiB"
    )
    print(f"one image at a time, scikit-image: {peer_s:.1f} s, {peer_s / our_s:.1f}x")
    if our_s > REQUIRED_S:
        raise SystemExit("too slow")


def look(workspace: Path, packages: list[Package], dataset: Dataset) -> LookResult:
    """Look at the hold-out as `dexsearch compare` does."""
    a, b = (Candidate(package.path.name, package) for package in packages)
    return look_at_holdout(
        workspace, a, b, dataset, target=None, margin=0.005, purpose="compare",
        progress=lambda done, total: None,
    )  # fmt: skip


def peer(packages: list[Package], dataset: Dataset, ours: LookResult, n_images: int) -> float:
    """Return the seconds that all images would take; stop where the scores differ."""
    arrays = dataset.arrays("holdout")
    n_images = min(n_images, len(arrays.input))
    ball = np.ones((2 * EROSION_PX + 1,) * 2, dtype=bool)
    begun = time.perf_counter()
    scores = np.empty((n_images, 2, len(TARGETS)))
    for place, package in enumerate(packages):
        predictor = load_predictor(package)
        for index in range(n_images):
            images = predictor.predict(np.array(arrays.input[index]))
            inner = ndimage.binary_erosion(arrays.mask[index], ball)
            for channel, target in enumerate(TARGETS):
                truth = arrays.target(target)[index].astype(np.float32)
                _, similarity = structural_similarity(
                    truth, images[target], data_range=dataset.manifest.data_ranges[target],
                    gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True,
                )  # fmt: skip
                scores[index, place, channel] = similarity[inner].mean()
    seconds = time.perf_counter() - begun
    mine = [(image.a, image.b) for image in ours.comparison.images[:n_images]]
    np.testing.assert_allclose(scores, np.array(mine), atol=2e-5)
    return seconds * len(arrays.input) / n_images


def invented_dataset(path: Path, n_images: int, size_px: int) -> Dataset:
    """Write a dataset of smooth noise with so many hold-out images of `N_SUBJECTS` subjects."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:size_px, :size_px] / (size_px - 1) * 2 - 1
    mask = rows**2 + columns**2 < 0.9
    names = ["train", "validation", *(f"subject-{index:02d}" for index in range(N_SUBJECTS))]
    subsets: list[Subset] = ["train", "validation", *["holdout"] * N_SUBJECTS]
    each = -(-n_images // N_SUBJECTS)

    def sample(subject: str, pose: int) -> Sample:
        noise = rng.normal(size=(2, size_px, size_px))
        bone, soft = (ndimage.gaussian_filter(noise[i], (3, 8)[i]) for i in range(2))
        bone, soft = np.abs(bone / bone.std()) * mask, (8 + soft / soft.std()) * mask
        image = 0.2 * soft + 0.5 * bone
        images = (array.astype(np.float32) for array in (image, bone, soft))
        return Sample(subject, (0.0, 0.0, float(pose)), *images, mask)

    return write_dataset(
        path, (sample(name, pose) for name in names for pose in range(each)),
        Split("for timing", by_subject=dict(zip(names, subsets, strict=True))),
        kind="phantom", pixel_mm=None, units={"input": "log", "bone": "cm", "tissue": "cm"},
        source={},
    )  # fmt: skip


def invented_generator(path: Path, dataset: Dataset, seed: int, width: int, depth: int) -> Package:
    """Write a generator with random weights."""
    config = TrialConfig.model_validate(
        {"task": "joint", "generator": {"depth": depth, "width": width, "output": "plain"}}
    )
    rng = torch.Generator().manual_seed(seed)
    generator = build_generator(config.generator, n_targets=2, rng=rng)
    manifest = dataset.manifest
    card = GeneratorCard(
        task="joint", targets=TARGETS, trial_config=config.model_dump(mode="json"),
        normalization={
            "mode": "absolute", "mean": manifest.input_mean, "std": manifest.input_std,
            "data_ranges": [manifest.data_ranges[name] for name in TARGETS],
        },
        units={}, study="timing", trial=seed, params={}, objective="val_ssim", epochs=1,
        n_parameters=1, dataset=manifest.digest, size_px=manifest.size_px, pixel_mm=None, metric=1,
        scores={"val_ssim": 0.0, "val_ssim_bone": 0.0, "val_ssim_tissue": 0.0}, baselines={},
        libraries={},
    )  # fmt: skip
    weights = save({key: value.contiguous() for key, value in generator.state_dict().items()})
    return write_package(path, weights=weights, card=card, curve=[], draw=lambda _: None)


if __name__ == "__main__":
    main()

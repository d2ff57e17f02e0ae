"""Image scores, batched, against loops over images with scikit-image and SciPy.

    python benchmarks/metrics.py [--images 100] [--size 256] [--repeats 3] [--threads 1 2]

(a) masked SSIM of one target: required 2.5x;
(b) all of them: SSIM, PSNR and MAE of two targets, SDNR of ribs and tumour for input, prediction
    and truth, bone suppression and leakage, tumour localisation: required 5x.
Both sides get float32 images and the same number of threads, and take turns; the ratio is the
median over the turns. The filters of SciPy and scikit-image use one thread each, so the loop hands
its images to a pool of as many threads as ours has. It filters nothing twice, and finds by itself
where the structures are (`reference_quality`). The ratio of processor times is told too: other
work on the machine stretches the clock, but hardly them. What both compute is compared; the script
fails where it differs.

On a machine that is busy with other work, set OMP_WAIT_POLICY=passive: of two OpenMP threads that
share a core with others, the one that is done spins until the other has had its turn, which can
take ten times as long as the work. The loop's pool has no such threads.
"""

import argparse
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import reference_quality as plain
import torch
from numpy.typing import NDArray
from scipy import ndimage

from dexsearch.data.pairs import DevicePathLengths, Pairs
from dexsearch.data.tumours import Tumours
from dexsearch.training.metrics import masked_ssim, score_images
from dexsearch.training.quality import Quality, QualityScorer, mean_quality
from dexsearch.training.validation import scoring_batches

FIELD_MM, TUMOUR_MM = 320.0, 18.0
TARGETS, RANGES = ("bone", "tissue"), (2.5, 25.0)
REQUIRED = {"SSIM": 2.5, "all": 5.0}
Compute = Callable[[], dict[str, float]]


def main() -> None:
    """Print one line per number of threads and comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    args = parser.parse_args()
    torch.set_num_threads(min(args.threads))
    pairs, prediction = scene(args.images, args.size)
    pixel_mm = FIELD_MM / args.size
    rivals: dict[str, tuple[Compute, Compute]] = {
        "SSIM": (lambda: our_ssim(pairs, prediction), lambda: plain_ssim(pairs, prediction)),
        "all": (
            lambda: ours(pairs, prediction, pixel_mm),
            lambda: plain_loop(pairs, prediction, pixel_mm),
        ),
    }
    waiting = os.environ.get("OMP_WAIT_POLICY", "not set")
    print(
        f"{args.images} images of {args.size} px, {os.cpu_count()} cores, "
        f"OMP_WAIT_POLICY {waiting}"
    )
    for n_threads in args.threads:
        torch.set_num_threads(n_threads)
        for name, (mine, theirs) in rivals.items():
            print(f"{n_threads} threads, {name}: {compared(mine, theirs, args.repeats, name)}")


def compared(mine: Compute, theirs: Compute, repeats: int, name: str) -> str:
    """Time both in turns, check that they agree, tell the ratio."""
    mine()
    plain_s: list[NDArray[np.float64]] = []
    our_s: list[NDArray[np.float64]] = []
    for _ in range(repeats):
        expected = timed(theirs, plain_s)
        found = timed(mine, our_s)
    for key, value in expected.items():
        if not np.isclose(found[key], value, rtol=2e-3, atol=1e-3):
            raise SystemExit(f"{key}: ours {found[key]}, the plain loop {value}")
    ratio, cpu_ratio = np.median(np.divide(plain_s, our_s), axis=0)
    slow, fast = (np.median(times, axis=0)[0] for times in (plain_s, our_s))
    met = "met" if ratio >= REQUIRED[name] else "MISSED"
    return (
        f"plain {slow:.2f} s, ours {fast:.2f} s, ratio {ratio:.1f} (required {REQUIRED[name]}: "
        f"{met}), of processor times {cpu_ratio:.1f}; {len(expected)} values agree"
    )


def timed(compute: Compute, seconds: list[NDArray[np.float64]]) -> dict[str, float]:
    """Return what is computed; append the seconds on the clock and of the processor."""
    begun = np.array([time.perf_counter(), time.process_time()])
    found = compute()
    seconds.append(np.array([time.perf_counter(), time.process_time()]) - begun)
    return found


def scene(n_images: int, size_px: int) -> tuple[Pairs, torch.Tensor]:
    """Draw bodies with ribs and a tumour each, and a prediction that is nearly right."""
    rng = np.random.default_rng(0)
    rows, columns = (grid * 72 / size_px for grid in np.mgrid[:size_px, :size_px].astype(float))
    radius = np.hypot((rows - 35.5) / 33, (columns - 35.5) / 30)
    mask = np.broadcast_to(radius < 1, (n_images, size_px, size_px)).copy()
    ribs = (rows + 3 * np.sin(columns / 9)) % 9 < 3
    centres_px = rng.uniform(0.4, 0.6, (n_images, 2)) * size_px
    bone, soft = [], []
    for row, column in centres_px * 72 / size_px:
        texture = ndimage.gaussian_filter(rng.normal(size=ribs.shape), 0.03 * size_px)
        spot = 2.0 * (np.hypot(rows - row, columns - column) < 2)
        texture *= 0.3 / texture.std()
        bone.append(ribs * rng.uniform(0.6, 1.2) + 0.1 * texture)
        soft.append(16 * np.sqrt(np.clip(1 - radius**2, 0, None)) + texture + spot - 0.5 * ribs)
    bone_cm, soft_cm = ((np.stack(v) * mask).astype(np.float32) for v in (bone, soft))
    image = 0.21 * soft_cm + 0.6 * bone_cm + 0.01 * rng.normal(size=soft_cm.shape)
    pixel_mm = torch.full((n_images,), FIELD_MM / size_px)
    target = torch.from_numpy(np.stack((bone_cm, soft_cm), axis=1))
    pairs = Pairs(
        input=torch.from_numpy(image).float()[:, None],
        target=target,
        mask=torch.from_numpy(mask)[:, None],
        path_lengths=DevicePathLengths(soft_cm, bone_cm, torch.device("cpu")),
        tumours=Tumours(
            *torch.from_numpy(centres_px).float().unbind(1), TUMOUR_MM / pixel_mm, pixel_mm
        ),
    )
    return pairs, 0.97 * target + 0.1 * torch.from_numpy(rng.normal(size=target.shape)).float()


def our_ssim(pairs: Pairs, prediction: torch.Tensor) -> dict[str, float]:
    """Score the tissue images at once."""
    scores = masked_ssim(
        prediction[:, 1:], pairs.target[:, 1:], data_range=RANGES[1], mask=pairs.mask
    )
    return {"ssim_tissue": float(scores.mean())}


def plain_ssim(pairs: Pairs, prediction: torch.Tensor) -> dict[str, float]:
    """Score the tissue images one by one."""
    images = prediction[:, 1].numpy(), pairs.target[:, 1].numpy(), pairs.mask[:, 0].numpy()
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        values = list(pool.map(plain.masked_ssim, *images, [RANGES[1]] * len(pairs)))
    return {"ssim_tissue": float(np.mean(values))}


@torch.inference_mode()
def ours(pairs: Pairs, prediction: torch.Tensor, pixel_mm: float) -> dict[str, float]:
    """Compute everything as a validator does at the final epoch."""
    scorer = QualityScorer(pairs, targets=TARGETS, pixel_mm=pixel_mm)
    rows, batches = [], list[Quality]()
    for part in scoring_batches(pairs):
        scores = score_images(
            prediction[part], pairs.target[part], data_range=RANGES, mask=pairs.mask[part]
        )
        rows.append(torch.stack((scores.ssim, scores.psnr, scores.mae)))
        batches.append(scorer.score(prediction[part], part))
    means = torch.cat(rows, dim=1).mean(dim=1)
    named = {
        f"{name}_{target}": float(means[i, c])
        for i, name in enumerate(("ssim", "psnr", "mae"))
        for c, target in enumerate(TARGETS)
    }
    return named | mean_quality(batches)


def plain_loop(pairs: Pairs, prediction: torch.Tensor, pixel_mm: float) -> dict[str, float]:
    """Compute the same, image by image."""
    if pairs.path_lengths is None or pairs.tumours is None:
        raise SystemExit("the scene has path lengths and tumours")
    soft, bone = (
        a.float().numpy() for a in (pairs.path_lengths.soft_cm, pairs.path_lengths.bone_cm)
    )
    truth, masks, t = pairs.target.numpy(), pairs.mask[:, 0].numpy(), pairs.tumours
    copies = plain.input_copies(pairs.input[:, 0].numpy(), truth, masks)

    def scored(i: int) -> tuple[dict[str, float], NDArray[np.float64]]:
        stages = {"input": copies[i], "prediction": prediction[i].numpy(), "truth": truth[i]}
        spot = plain.Spot(float(t.row_px[i]), float(t.column_px[i]), float(t.diameter_px[i]))
        found, sums = plain.scores(stages, soft[i], bone[i], masks[i], spot, pixel_mm)
        for c, target in enumerate(TARGETS):
            pair = stages["prediction"][c], stages["truth"][c], masks[i]
            found[f"ssim_{target}"] = plain.masked_ssim(*pair, RANGES[c])
            found[f"psnr_{target}"] = plain.psnr(*pair, RANGES[c])
            found[f"mae_{target}"] = plain.mae(*pair)
        return found, sums

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        values, parts = zip(*pool.map(scored, range(len(pairs))), strict=True)
    means = {name: float(np.mean([v[name] for v in values])) for name in values[0]}
    sums = np.sum(parts, axis=0)
    return means | {"bone_suppression": 1 - sums[0] / sums[1], "bone_leakage": sums[2] / sums[3]}


if __name__ == "__main__":
    main()

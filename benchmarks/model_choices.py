"""What each choice in the generator's training brings, over seeds, on a cohort of phantoms.

    python benchmarks/model_choices.py [--dataset DIR] [--runs FILE] [--seeds 3] [--epochs 20]
                                       [--only NAME ...]

The reference is a joint U-Net of width 16 and depth 4: residual output, absolute input, moving
average of 0.995, batch norm, lsgan with L1 weight 100. Every variant changes one thing. The table
gives validation SSIM in the body mask at the last epoch, mean +- standard error over the seeds,
and the difference to the reference paired by seed: both draw the same batches. Seconds per epoch
are the median of all epochs but the last, which measures quality, too; runs that were recorded
before that was told apart have none.

Two processes of one thread each train. Every finished run is one line of the runs file, and the
same command continues with those that are missing: Ctrl-C loses only runs in progress. A line
counts only for the same configuration, epochs and dataset. The dataset is made where it is
absent: 20 subjects x 20 poses of 64 px.
"""

import argparse
import json
import multiprocessing
import statistics
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from functools import cache
from pathlib import Path

import torch

from dexsearch.config.data import PhantomDataConfig
from dexsearch.config.trial import Task, TrialConfig, trial_config
from dexsearch.data.generate import generate_phantom
from dexsearch.data.pairs import TrainingData, load_training_data
from dexsearch.data.store import open_dataset
from dexsearch.durable import flush_folder
from dexsearch.training.baselines import baselines
from dexsearch.training.loop import EpochRecord, train

REFERENCE = "reference"
VARIANTS: dict[str, dict[str, object]] = {
    REFERENCE: {},
    "plain output": {"generator.output": "plain"},
    "per-image input": {"generator.input_normalization": "per_image"},
    "no moving average": {"ema_decay": 0.0},
    "instance norm": {"generator.norm": "instance", "discriminator.norm": "instance"},
    "no adversarial loss": {"loss.adversarial": "none"},
    "1 - SSIM, weight 20": {"loss.ssim_weight": 20.0},
    "cosine schedule": {"optimizer.schedule": "cosine"},
    "warm-up of 1 epoch": {"optimizer.warmup_epochs": 1.0},
    "spectral norm": {"discriminator.spectral_norm": True},
    "discriminator 4x faster": {"optimizer.discriminator_ratio": 4.0},
    "fresh exposures": {"exposure.resample": True},
    **{f"head {task.value}": {"task": task.value} for task in Task if task is not Task.JOINT},
}
TARGETS = ("bone", "tissue")
N_PROCESSES = 2
Run = dict[str, object]


def main() -> None:
    """Train what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", type=Path, default=Path("model-choices/cohort"))
    parser.add_argument("--runs", type=Path, default=Path("model-choices/runs.jsonl"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--only", nargs="+", choices=VARIANTS, metavar="NAME")
    options = parser.parse_args()
    names = [name for name in VARIANTS if name in {REFERENCE, *(options.only or VARIANTS)}]
    if not (options.dataset / "manifest.json").exists():
        generate_phantom(options.dataset, PhantomDataConfig(subjects=20, poses=20, size_px=64))
    digest = open_dataset(options.dataset).manifest.digest
    wanted = [
        key_of(name, seed, options.epochs, digest)
        for seed in range(options.seeds)
        for name in names
    ]
    found = read_runs(options.runs)
    missing = [key for key in wanted if identity(key) not in found]
    print(f"{len(wanted)} runs of {options.epochs} epochs, {len(missing)} to train", flush=True)
    for run in trained(missing, options.dataset):
        append(options.runs, run)
        found[identity(run)] = run
        print(f"  {run['name']}, seed {run['seed']}: {run['scores']}", flush=True)
    print_table([found[identity(key)] for key in wanted], names)
    print_baselines(options.dataset)


def key_of(name: str, seed: int, epochs: int, digest: str) -> Run:
    """Return what identifies a run."""
    config = trial_config({**VARIANTS[name], "seed": seed}).model_dump(mode="json")
    return {"name": name, "seed": seed, "epochs": epochs, "dataset": digest, "config": config}


def identity(run: Run) -> str:
    """Return what a run is known by, whatever it scored."""
    return json.dumps({key: run[key] for key in ("seed", "epochs", "dataset", "config")})


def read_runs(path: Path) -> dict[str, Run]:
    """Read the finished runs; a last line that was cut off is left out."""
    text = path.read_text() if path.exists() else ""
    lines = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
    if text and len(lines) < len(text.splitlines()):
        path.write_text("".join(lines))
    return {identity(run): run for run in map(json.loads, lines)}


def append(path: Path, run: Run) -> None:
    """Add one finished run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(run) + "\n")
    flush_folder(path.parent)


def trained(keys: list[Run], dataset: Path) -> Iterator[Run]:
    """Train in two processes; yield each run as it ends."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(N_PROCESSES, mp_context=context) as pool:
        futures: list[Future[Run]] = [pool.submit(train_one, key, dataset) for key in keys]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def train_one(key: Run, dataset: Path) -> Run:
    """Train one configuration; return its key, the last epoch's scores and an epoch's seconds."""
    torch.set_num_threads(1)
    config, epochs = TrialConfig.model_validate(key["config"]), int(str(key["epochs"]))
    data = loaded(dataset, config.task)
    records = list(train(config, data, epochs=epochs, device=torch.device("cpu")))
    scores = {"bone": records[-1].val_ssim_bone, "tissue": records[-1].val_ssim_tissue}
    return {**key, "scores": scores, "median_epoch_s": median_epoch_s(records)}


def median_epoch_s(records: list[EpochRecord]) -> float:
    """Return an epoch's seconds without the last, which scores more, unless it is the only one."""
    return statistics.median(record.seconds for record in records[:-1] or records)


@cache
def loaded(dataset: Path, task: Task) -> TrainingData:
    """Load the images of a task once per process."""
    return load_training_data(open_dataset(dataset), task, torch.device("cpu"))


def print_table(runs: list[Run], names: list[str]) -> None:
    """Print a row per variant."""
    heads = [f"{target}{column}" for target in TARGETS for column in (" SSIM", " - reference")]
    print(f"\n| variant | {' | '.join(heads)} | s/epoch |\n|{'---|' * (len(heads) + 2)}")
    for name in names:
        mine = [run for run in runs if run["name"] == name]
        cells = [name]
        for target in TARGETS:
            scores = scores_of(runs, name, target)
            others = scores_of(runs, REFERENCE, target)
            differences = [scores[seed] - others[seed] for seed in scores]
            cells += [summary(list(scores.values())), summary(differences, sign="+")]
        seconds = [float(str(run["median_epoch_s"])) for run in mine if "median_epoch_s" in run]
        cells.append(f"{statistics.median(seconds):.2f}" if seconds else "-")
        print(f"| {' | '.join(cells)} |")


def scores_of(runs: list[Run], name: str, target: str) -> dict[int, float]:
    """Return a variant's scores by seed; empty where its head lacks the target."""
    scores = {}
    for run in runs:
        value = run["scores"][target]  # type: ignore[index]
        if run["name"] == name and value is not None:
            scores[int(str(run["seed"]))] = float(value)
    return scores


def summary(values: list[float], sign: str = "") -> str:
    """Return the mean with its standard error, where there are several values."""
    if not values:
        return "-"
    mean = f"{statistics.fmean(values):{sign}.4f}"
    if len(values) == 1:
        return mean
    return f"{mean} +- {statistics.stdev(values) / len(values) ** 0.5:.4f}"


def print_baselines(dataset: Path) -> None:
    """Print what doing nothing scores on the same images."""
    for method, scores in baselines(open_dataset(dataset)).masked().items():
        cells = [f"{scores[target]:.4f} | -" for target in TARGETS]
        print(f"| baseline {method} | {' | '.join(cells)} | - |")


if __name__ == "__main__":
    main()

"""How long does it take to show a search in MLflow? Against one call for each value.

The ledger of a search of 500 trials x 60 epochs x 8 metrics is invented and brought up into an
empty SQLite file, as `dexsearch sync` does. The peer logs a piece of the same values as most
scripts do, one `log_metric` each, into a file of its own; its time per value is compared.

    python benchmarks/sync.py                  # the whole, about a minute
    python benchmarks/sync.py --trials 50      # a first look, scaled up
"""

import argparse
import json
import random
import tempfile
import time
from pathlib import Path

from dexsearch.ledger.study import LEDGER_NAME, StudyRecord, read_study
from dexsearch.registry.mirror import sync_workspace
from dexsearch.registry.points import epoch_points
from dexsearch.registry.tracking import open_tracking, tracking_uri

N_TRIALS, N_EPOCHS, ALLOWED_S = 500, 60, 60.0
METRICS = ("val_ssim", "val_ssim_bone", "val_psnr", "val_mae", "loss_l1", "loss_adv", "loss_d")
"""With the seconds of the epoch, eight."""
CONFIG = {
    "task": "bone",
    "generator": {"depth": 3, "width": 16, "norm": "instance", "dropout": 0.1},
    "discriminator": {"patch_px": 34, "width": 16},
    "loss": {"l1_weight": 100.0, "adversarial": "lsgan"},
    "optimizer": {"learning_rate": 2e-4, "beta1": 0.5, "beta2": 0.999},
    "batch_size": 16,
}


def write_ledger(workspace: Path, n_trials: int) -> StudyRecord:
    """Invent a finished search."""
    draw = random.Random(0)
    events: list[dict[str, object]] = [
        {"event": "study", "study": "big", "task": "bone", "metric": 1,
         "space": {"objective": "val_ssim", "trials": n_trials}, "dataset": "datasets/invented",
         "dataset_digest": "d" * 64, "size_px": [64, 64]}
    ]  # fmt: skip
    for trial in range(n_trials):
        params = {"loss.l1_weight": draw.uniform(1, 1000)}
        started = {"params": params, "config": {**CONFIG, "seed": trial}}
        events.append(
            {
                "event": "trial_started",
                "trial": trial,
                **started,
                "immune": False,
                "enqueued": False,
            }
        )
        for epoch in range(1, N_EPOCHS + 1):
            record = {"epoch": epoch, "seconds": 0.5, **{name: draw.random() for name in METRICS}}
            events.append({"event": "epoch", "trial": trial, "record": record})
        events.append({"event": "trial_ended", "trial": trial, "state": "complete",
                       "reason": None, "kind": None, "checkpoint": None})  # fmt: skip
    folder = workspace / "studies" / "big"
    folder.mkdir(parents=True)
    lines = [json.dumps({**event, "time": 1.7e9 + i}) for i, event in enumerate(events)]
    (folder / LEDGER_NAME).write_text("\n".join(lines) + "\n")
    return read_study(folder)


def seconds_of(workspace: Path) -> tuple[float, float]:
    """Bring a store, made beforehand, up to the ledger; return the time and the processor's."""
    with open_tracking(workspace):
        pass
    begun, busy = time.perf_counter(), time.process_time()
    sync_workspace(workspace)
    return time.perf_counter() - begun, time.process_time() - busy


def peer_seconds_per_value(workspace: Path, study: StudyRecord, n_values: int) -> float:
    """Log values one by one."""
    with open_tracking(workspace) as store:
        run = store.client.create_run(store.experiment_id)
        points = epoch_points(study.trials[0])[:n_values]
        begun = time.perf_counter()
        for p in points:
            store.client.log_metric(run.info.run_id, p.key, p.value, p.timestamp_ms, p.step)
        return (time.perf_counter() - begun) / len(points)


def main() -> None:
    """Print the times and their ratio; exit with 1 if it is slower than allowed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=N_TRIALS)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = Path(folder, "ours"), Path(folder, "theirs")
        study = write_ledger(ours, asked.trials)
        took_s, busy_s = seconds_of(ours)
        again_s, _ = seconds_of(ours)
        per_value_s = peer_seconds_per_value(theirs, study, 200)
        size_mb = Path(tracking_uri(ours).removeprefix("sqlite:///")).stat().st_size / 1e6
    n_values = asked.trials * N_EPOCHS * (len(METRICS) + 1)
    whole_s = took_s * N_TRIALS / asked.trials
    print(
        f"{asked.trials} trials, {n_values} values: {took_s:.1f} s, of them "
        f"{busy_s:.1f} s of the processor; database {size_mb:.0f} MB"
    )
    print(f"{N_TRIALS} trials: {whole_s:.1f} s, allowed {ALLOWED_S:.0f} s")
    print(f"again, with nothing new: {again_s:.1f} s")
    print(f"one log_metric call each: {per_value_s * n_values:.0f} s for the same values")
    print(f"ratio: {per_value_s * n_values / took_s:.0f} times faster")
    raise SystemExit(whole_s > ALLOWED_S)


if __name__ == "__main__":
    main()

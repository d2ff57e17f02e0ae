"""Searches with invented curves: in this process, or on a real Ray in a process of its own."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from invented_curves import FUNCTIONS
from optuna.trial import TrialState

from dexsearch.config.space import SearchSpace
from dexsearch.errors import DexSearchError
from dexsearch.ledger.log import read_events
from dexsearch.ledger.study import StudyRecord, read_study
from dexsearch.search.in_process import InProcessBackend
from dexsearch.search.optuna_study import STATES
from dexsearch.search.progress import Progress, SilentProgress
from dexsearch.search.sharing import NO_GPU, GpuSharing
from dexsearch.search.study import StudyOutcome, run_study
from dexsearch.search.trial import TrialFunction

SUPPORT = Path(__file__).parent

SPACE: dict[str, Any] = {
    "task": "joint",
    "data": {"path": "datasets/x"},
    "trials": 8,
    "epochs": 9,
    "pruner": {"min_epochs": 3, "immune_every": 4},
    "search": {
        "generator.depth": {"int": [2, 4]},
        "loss.adversarial": {"choice": ["lsgan", "none"]},
        "discriminator.patch_px": {"choice": [1, 16]},
        "optimizer.learning_rate": {"float": [1e-4, 1e-2], "log": True},
    },
}


def space_with(**changes: object) -> SearchSpace:
    return SearchSpace.model_validate({**SPACE, **changes})


@dataclass(frozen=True)
class Ended:
    """How a search came back, the same for both backends."""

    exit_code: int
    error: str | None = None
    stderr: str = ""
    interrupted: int | None = None


SearchRunner = Callable[..., Ended]


def search_here(
    folder: Path,
    function: TrialFunction,
    *,
    slots: int = 2,
    patience: float = 0.0,
    sharing: GpuSharing = NO_GPU,
    time_s: float | None = None,
    clock: Callable[[], float] = time.monotonic,
    progress: Progress | None = None,
    digest: str = "digest",
    **changes: object,
) -> StudyOutcome:
    return run_study(
        space_with(**changes),
        study=folder.name,
        folder=folder,
        dataset=Path("datasets/x"),
        dataset_digest=digest,
        size_px=(64, 64),
        progress=progress or SilentProgress(),
        backend=InProcessBackend(function, slots, patience, sharing),
        time_s=time_s,
        clock=clock,
    )


def ray_command(
    folder: Path, function: str, *, gpus: int = 0, address: str | None = None,
    is_full: bool = False, **changes: object,
) -> list[str]:  # fmt: skip
    """`gpus` are pretended: Ray counts them, and nobody looks for them.

    With `is_full` no trial gets room.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    request = folder.with_suffix(".json")
    values = {"space": {**SPACE, **changes}, "function": function}
    values |= {"folder": str(folder), "gpus": gpus, "address": address, "is_full": is_full}
    request.write_text(json.dumps(values))
    return [sys.executable, str(SUPPORT / "drive_search.py"), str(request)]


def ray_environment(home: Path, epoch_s: float = 0.0) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "TUNE_"))}
    home.mkdir(exist_ok=True)
    more = {"HOME": str(home), "PYTHONPATH": str(SUPPORT), "DEXSEARCH_TEST_EPOCH_S": str(epoch_s)}
    return {**kept, **more}


def run_in_process(folder: Path, function: str, **changes: object) -> Ended:
    try:
        outcome = search_here(folder, FUNCTIONS[function], **changes)  # type: ignore[arg-type]
    except DexSearchError as error:
        return Ended(error.exit_code, error=str(error))
    return Ended(outcome.interrupted or 0, interrupted=outcome.interrupted)


def run_on_ray(
    folder: Path, function: str, *, gpus: int = 0, epoch_s: float = 0.0, **changes: object
) -> Ended:
    done = subprocess.run(
        ray_command(folder, function, gpus=gpus, **changes),
        env=ray_environment(folder.parent / "home", epoch_s),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.stdout, done.stderr
    answer = json.loads(done.stdout)
    return Ended(done.returncode, answer.get("error"), done.stderr, answer.get("interrupted"))


def optuna_trials(folder: Path) -> list[optuna.trial.FrozenTrial]:
    storage = optuna.storages.RDBStorage(
        f"sqlite:///{folder}/study.db", skip_compatibility_check=True, skip_table_creation=True
    )
    return optuna.load_study(study_name=folder.name, storage=storage).get_trials()


def check_study(folder: Path, *, trials: int, epochs: int) -> StudyRecord:
    """Check what must hold after every search; return its record."""
    record = read_study(folder)
    assert [trial.number for trial in record.trials] == list(range(trials))
    events = [event for event in read_events(folder / "ledger.jsonl") if event["event"] == "epoch"]
    keys = Counter((event["trial"], event["record"]["epoch"]) for event in events)
    assert set(keys.values()) <= {1}, "a (trial, epoch) stands twice in the ledger"
    for trial in record.trials:
        assert sorted(trial.epochs) == list(range(1, trial.last_epoch + 1)), "an epoch is missing"
        assert trial.state != "running"
        assert (trial.last_epoch == epochs) == (trial.state == "complete")
    for frozen, trial in zip(optuna_trials(folder), record.trials, strict=True):
        assert frozen.state == STATES[trial.state]
        assert frozen.params == trial.params
        values = {epoch: trial.value_at(epoch, record.objective) for epoch in trial.epochs}
        assert frozen.intermediate_values == values
        if frozen.state == TrialState.COMPLETE:
            assert frozen.value == values[epochs]
        else:
            # Told without a value; Optuna itself keeps the last one of a pruned trial.
            assert frozen.value in (None, values.get(trial.last_epoch))
    assert not (folder / "tune").exists()
    return record

"""A search is the same on any number of nodes, and after all of them were lost."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest
from cluster_search import ClusterSearch
from searching import check_study

from dexsearch.data.store import Dataset
from dexsearch.ledger.study import StudyRecord

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

TRIALS, EPOCHS = 5, 2
TINY: dict[str, Any] = {
    "task": "joint", "data": {"path": "datasets/x"}, "trials": TRIALS, "epochs": EPOCHS,
    "sampler": {"kind": "qmc"}, "pruner": {"kind": "none"}, "resources": {"cpus": 1},
    "search": {
        "generator.width": {"int": [4, 6]},
        "loss.adversarial": {"choice": ["lsgan", "none"]},
        "discriminator.patch_px": {"choice": [1, 16]},
        "optimizer.learning_rate": {"float": [1e-4, 1e-2], "log": True},
    },
    "fixed": {"generator.depth": 2, "batch_size": 2, "discriminator.width": 4},
}  # fmt: skip


def what_was_trained(record: StudyRecord) -> list[dict[str, Any]]:
    """Return everything about the trials of a study but where and when they ran."""
    return [
        {
            "params": trial.params,
            "config": trial.config,
            "state": trial.state,
            "immune": trial.immune,
            "curve": [
                {key: value for key, value in epoch.items() if key != "seconds"}
                for epoch in trial.epochs.values()
            ],
            "weights": weights_of(record.folder / "trials" / str(trial.number)),
        }
        for trial in record.trials
    ]


def weights_of(checkpoints: Path) -> dict[str, str]:
    """Return the sha256 of every tensor file of the final checkpoint."""
    files = sorted((checkpoints / f"{EPOCHS:05d}").glob("*.safetensors"))
    assert files
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_one_node_and_four_that_lack_data_and_code_train_the_same_trials_bit_for_bit(
    exposed_cohort: Dataset, tmp_path: Path
) -> None:
    dataset, digest = tmp_path / "cohort", exposed_cohort.manifest.digest
    shutil.copytree(exposed_cohort.path, dataset)
    broken = tmp_path / "broken" / "dexsearch"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('this node has no dexsearch')\n")
    without_code = {"num_cpus": 1, "env_vars": {"PYTHONPATH": str(broken.parent)}}
    one = ClusterSearch(
        space=TINY, folder=str(tmp_path / "one"), scenario="training",
        nodes={"a": {"num_cpus": 1}}, begin=("a",), dataset=str(dataset), digest=digest,
    ).run()  # fmt: skip
    assert one["exit_code"] == 0, one
    four = ClusterSearch(
        space=TINY, folder=str(tmp_path / "four"), scenario="training_far_away",
        nodes=dict.fromkeys("abcd", without_code), begin=tuple("abcd"),
        dataset=str(dataset), digest=digest, ship_code=True,
    ).run()  # fmt: skip
    assert four["exit_code"] == 0, four
    assert four["without"] == "ImportError: this node has no dexsearch"
    assert not dataset.exists(), "the nodes could have read the folder"
    records = [
        check_study(tmp_path / name, trials=TRIALS, epochs=EPOCHS) for name in ("one", "four")
    ]
    assert {trial.state for record in records for trial in record.trials} == {"complete"}
    for alone, among in zip(*map(what_was_trained, records), strict=True):
        assert alone == among

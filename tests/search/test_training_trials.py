"""A real trial as a search runs it, and the latency in the record of its first epoch."""

import re
from pathlib import Path

import pytest
import torch

from dexsearch.config.trial import trial_config
from dexsearch.data.store import Dataset
from dexsearch.search.data_source import FolderSource
from dexsearch.search.training_trials import TrainingTrials
from dexsearch.search.trial import Assignment, Record, TrialStepper
from dexsearch.training.checkpoint_store import WRITER
from dexsearch.training.networks import Networks


def records_of(dataset: Dataset, folder: Path, *, measure_latency: bool) -> list[Record]:
    config = trial_config(
        {"generator.depth": 2, "generator.width": 4, "loss.adversarial": "none", "batch_size": 4}
    )
    assignment = Assignment(
        0, config.model_dump(mode="json"), epochs=2, checkpoints=str(folder), attempt=1, token=3
    )
    trials = TrainingTrials(FolderSource(dataset.path), cpus=1, measure_latency=measure_latency)
    return list(trials(assignment))


def scores(records: list[Record]) -> list[dict[str, object]]:
    return [
        {key: value for key, value in record.items() if key.startswith("val_")}
        for record in records
    ]


@pytest.mark.slow
def test_only_a_search_that_limits_the_latency_measures_it_and_nothing_else_changes(
    exposed_cohort: Dataset, tmp_path: Path
) -> None:
    plain = records_of(exposed_cohort, tmp_path / "plain", measure_latency=False)
    timed = records_of(exposed_cohort, tmp_path / "timed", measure_latency=True)
    assert ["latency_ms" in record for record in plain] == [False, False]
    assert ["latency_ms" in record for record in timed] == [True, False]
    assert timed[0]["latency_ms"] > 0
    assert scores(plain) == scores(timed)
    continued = records_of(exposed_cohort, tmp_path / "timed", measure_latency=True)
    assert ["latency_ms" in record for record in continued] == [True, False], "re-sent with it"
    mark = (tmp_path / "timed" / WRITER).read_text()
    assert mark.startswith("3.1."), "token and attempt rank the writer"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "where"), [("train_step", "in epoch 1"), ("__init__", "while setting up the run")]
)
def test_out_of_memory_tells_how_much_the_configuration_needs_by_estimate(
    exposed_cohort: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    where: str,
) -> None:
    def too_large(*_: object, **__: object) -> torch.Tensor:
        return torch.empty(2**60, dtype=torch.uint8)  # a real refusal of torch's allocator

    monkeypatch.setattr(Networks, step, too_large)
    config = trial_config({"generator.depth": 2, "generator.width": 4, "batch_size": 4})
    stepper = TrialStepper(TrainingTrials(FolderSource(exposed_cohort.path), cpus=1))
    stepper.begin(
        Assignment(0, config.model_dump(mode="json"), epochs=2, checkpoints=str(tmp_path))
    )
    failure = stepper.step().failure
    assert failure is not None
    assert failure.kind == "memory"
    assert re.search(r"; by estimate this configuration needs \d+\.\d\d GiB$", failure.reason)
    assert f"out of memory {where}" in failure.reason

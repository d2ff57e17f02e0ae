"""A real trial as a search runs it, and the latency in the record of its first epoch."""

from pathlib import Path

import pytest

from dexsearch.config.trial import trial_config
from dexsearch.data.store import Dataset
from dexsearch.search.training_trials import TrainingTrials
from dexsearch.search.trial import Assignment, Record


def records_of(dataset: Dataset, folder: Path, *, measure_latency: bool) -> list[Record]:
    config = trial_config(
        {"generator.depth": 2, "generator.width": 4, "loss.adversarial": "none", "batch_size": 4}
    )
    assignment = Assignment(0, config.model_dump(mode="json"), epochs=2, checkpoints=folder)
    trials = TrainingTrials(dataset.path, cpus=1, measure_latency=measure_latency)
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

"""What a dry run tells, with the training loop really timed on tiny networks."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dexsearch.config.trial import TrialConfig
from dexsearch.data.pairs import TrainingData
from dexsearch.errors import ConfigurationError
from dexsearch.jobs.forecast import _at_once, epochs_left, forecast
from dexsearch.jobs.forecast_result import Forecast
from dexsearch.jobs.plan import SearchPlan, plan_search
from dexsearch.jobs.planned_data import image_counts
from dexsearch.jobs.probe import ImageCounts, seconds_per_epoch
from dexsearch.ledger.log import EventLog
from dexsearch.ledger.study import LEDGER_NAME
from dexsearch.training import loop
from dexsearch.training.record import EpochRecord

HEAD = """\
task: derive
data:
  phantom: {subjects: 20, poses: 2, size_px: 32}
trials: 9
epochs: 9
pruner: {kind: successive_halving, min_epochs: 3, reduction: 3, immune_every: 0}
fixed: {batch_size: 4, discriminator.patch_px: 1, exposure.resample: true}
"""
SEARCH = """\
search:
  generator.depth: {int: [1, 2]}
  generator.width: {choice: [2, 4]}
  loss.adversarial: {choice: [none, lsgan]}
  discriminator.width: {choice: [2, 4]}
"""


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dexsearch.jobs.probe.BUDGET_S", 0.05)
    monkeypatch.setattr("dexsearch.jobs.forecast.N_DRAWN", 32)


def planned(folder: Path, text: str) -> SearchPlan:
    (folder / "mine.yaml").write_text(text)
    return plan_search(str(folder / "mine.yaml"), workspace=folder / "workspace")


def test_a_forecast_counts_measures_and_writes_nothing(tmp_path: Path, brief: None) -> None:
    told: list[str] = []
    found = forecast(planned(tmp_path, HEAD + SEARCH), tell=told.append)
    assert (found.n_configurations, found.n_continuous) == (2 * 2 * (1 + 2), 0)
    assert 0 < found.parameters[0] < found.parameters[1]
    assert 0 < found.memory_bytes[0] <= found.memory_bytes[1]
    assert [probe.label for probe in found.probes] == ["cheapest", "median", "dearest"]
    assert all(probe.seconds_per_epoch > 0 for probe in found.probes)
    seconds = [probe.seconds_per_epoch for probe in found.probes]
    assert min(seconds) <= found.seconds_per_epoch <= max(seconds)
    assert (found.epochs_unpruned, found.epochs_expected) == (81, pytest.approx(9 * (3 + 6 / 3)))
    assert told == [f"measuring an epoch of the {p.label} configuration" for p in found.probes]
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


def test_json_keeps_the_plan_and_adds_the_forecast(tmp_path: Path, brief: None) -> None:
    found = forecast(planned(tmp_path, HEAD + SEARCH), tell=lambda _: None)
    shown = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert shown["study"] == "mine"
    assert shown["forecast"]["n_configurations"] == 12
    assert shown["forecast"]["probes"][0]["label"] == "cheapest"
    assert shown["forecast"]["hours_at_best"] == pytest.approx(found.hours_at_best)


def test_the_text_of_a_known_forecast(tmp_path: Path, brief: None) -> None:
    endless = SEARCH + "  optimizer.learning_rate: {float: [1e-4, 1e-2], log: true}\n"
    found = forecast(planned(tmp_path, HEAD + endless), tell=lambda _: None)
    known: Forecast = replace(found, seconds_per_epoch=40.0, at_once=3, parameters=(90, 12345))
    text = str(known)
    assert "configurations: infinite: 1 continuous" in text
    assert "generator: 90 to 12,345 parameters" in text
    assert (
        "time: at best about 10 min with 3 at once, if they do not slow each other down "
        "(18 min without pruning)"
    ) in text
    assert "time: at best about 30 min with 1 at once (54 min" in str(replace(known, at_once=1))
    assert (
        "expected to save 44% of the 81 epochs left, if one trial in 3 survives each rung" in text
    )
    assert "discriminator.width: one of 2, 4, when loss.adversarial != none" in text


def test_replicates_are_told_beside_the_search_that_comes_first(
    tmp_path: Path, brief: None
) -> None:
    found = forecast(planned(tmp_path, HEAD + SEARCH), tell=lambda _: None)
    assert "replicates after" not in str(found)
    known = replace(found, plan=replace(found.plan, replicates=4), seconds_per_epoch=40.0)
    n_best = found.plan.space.n_register
    assert known.epochs_replicates == 4 * n_best * 9
    assert f"replicates after that: {4 * n_best * 9} epochs, at best about" in str(known)
    assert known.hours_at_best == replace(found, seconds_per_epoch=40.0).hours_at_best


def test_generators_over_the_limit_are_neither_timed_nor_told(tmp_path: Path, brief: None) -> None:
    plan = planned(tmp_path, HEAD + SEARCH + "limits: {parameters: 600}\n")
    found = forecast(plan, tell=lambda _: None)
    free = forecast(planned(tmp_path, HEAD + SEARCH), tell=lambda _: None)
    assert free.parameters[1] > 600 >= found.parameters[1] > free.parameters[0]
    assert found.memory_bytes[1] <= free.memory_bytes[1]
    assert found.probes[-1].multiply_adds < free.probes[-1].multiply_adds
    assert "configurations: 12, those over limits.parameters included" in str(found)
    nothing = planned(tmp_path, HEAD + SEARCH + "limits: {parameters: 20}\n")
    with pytest.raises(ConfigurationError, match=r"limits\.parameters is 20, and the smallest"):
        forecast(nothing, tell=lambda _: None)


def test_the_median_rule_is_told_with_the_number_of_trials(tmp_path: Path, brief: None) -> None:
    """Of 9 trials the first five are complete before the rule begins."""
    text = HEAD.replace("successive_halving", "median") + SEARCH
    found = forecast(planned(tmp_path, text), tell=lambda _: None)
    assert 5 * 9 < found.epochs_expected < 9 * 9
    assert "a trial stops at epoch 3 where it is below the median of those" in str(found)


def test_one_configuration_is_timed_once(tmp_path: Path, brief: None) -> None:
    found = forecast(planned(tmp_path, HEAD), tell=lambda _: None)
    assert (found.n_configurations, len(found.probes)) == (1, 1)


def test_an_epoch_is_scaled_to_all_images(
    tmp_path: Path, brief: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock by which an image takes 10 ms, so that nothing depends on the machine."""
    really_train, trained = loop.train, []

    def clocked(
        config: TrialConfig, data: TrainingData, *, epochs: int, device: torch.device
    ) -> Iterator[EpochRecord]:
        trained.append(len(data.train))
        for record in really_train(config, data, epochs=epochs, device=device):
            yield replace(record, seconds=0.01 * len(data.train))

    monkeypatch.setattr(loop, "train", clocked)
    plan = planned(tmp_path, HEAD)
    assert image_counts(plan) == ImageCounts(24, 6)
    config = plan.space.config_for({}, seed=0)
    for n_images in (8, 8000):
        images = ImageCounts(n_images, n_images // 4)
        told = seconds_per_epoch(config, (32, 32), images, cpus=1)
        assert told == pytest.approx(0.01 * n_images)
    assert trained[1] < 8000, "not all of them were trained"


def test_a_study_in_progress_is_told_what_it_lacks(tmp_path: Path) -> None:
    plan = planned(tmp_path, HEAD)
    assert epochs_left(plan) == 9 * 9
    states = ("complete", "pruned", "running")
    with EventLog(plan.folder / LEDGER_NAME) as log:
        log.append({"event": "study", "study": "mine", "task": "derive", "metric": 1,
                    "dataset": "d", "dataset_digest": "d", "size_px": [32, 32],
                    "space": plan.space.model_dump(mode="json", by_alias=True)})  # fmt: skip
        for number, state in enumerate(states):
            log.append({"event": "trial_started", "trial": number, "params": {}, "config": {},
                        "immune": False, "enqueued": False})  # fmt: skip
            log.append({"event": "epoch", "trial": number,
                        "record": {"epoch": 1, "val_ssim": 0.5}})  # fmt: skip
            if state != "running":
                log.append({"event": "trial_ended", "trial": number, "state": state,
                            "reason": None, "kind": None, "checkpoint": None})  # fmt: skip
    assert epochs_left(plan) == 6 * 9 + 8, "six are new, one has eight epochs to go"


def test_a_space_of_which_nothing_can_run_is_refused(tmp_path: Path) -> None:
    plan = planned(tmp_path, HEAD)
    fixed = {**plan.space.fixed, "loss.adversarial": "none", "loss.l1_weight": 0.0}
    broken = replace(plan, space=plan.space.model_copy(update={"fixed": fixed}))
    with pytest.raises(ConfigurationError, match="can be run"):
        forecast(broken, tell=lambda _: None)


@pytest.mark.parametrize(
    ("resources", "at_once"),
    [
        ("{gpus: auto, gpu_memory_gib: 80}", 8),  # 16 processors, 2 GPUs: 8 each; a third of 24
        ("{gpus: auto, gpu_memory_gib: 0.1}", 2),  # not even one fits by estimate; one on each
        ("{gpus: 1}", 2),
        ("{gpus: 0}", 8),
        ("{cpus: 99}", 1),
    ],
)
def test_trials_at_once_are_counted_as_the_search_counts_them(
    resources: str, at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    text = HEAD.replace("trials: 9", "trials: 24") + f"resources: {resources}\n" + SEARCH
    assert _at_once(planned(tmp_path, text), ImageCounts(20, 4)) == at_once

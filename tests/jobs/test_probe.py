"""What is timed is what the search would train, and what memory refuses is told."""

from typing import Any

import pytest
import torch

from dexsearch.config.trial import TrialConfig, trial_config
from dexsearch.errors import EnvironmentFault
from dexsearch.jobs.probe import ImageCounts, seconds_per_epoch
from dexsearch.physics.exposure import Exposure
from dexsearch.physics.geometry import Detector
from dexsearch.training import augmentation
from dexsearch.training.networks import Networks
from dexsearch.training.validation import Validator

COUNTS = ImageCounts(8, 2)


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dexsearch.jobs.probe.BUDGET_S", 0.05)


def small(**values: object) -> TrialConfig:
    sizes = {"generator.depth": 1, "generator.width": 2, "discriminator.patch_px": 1}
    return trial_config({**sizes, "batch_size": 4, **values})


def exposures(monkeypatch: pytest.MonkeyPatch) -> list[Exposure]:
    """Return a list that fills with the settings of the exposures made from now on."""
    made: list[Exposure] = []
    real = augmentation.log_projections

    def counted(*lengths_and_exposure: Any, **options: Any) -> torch.Tensor:  # noqa: ANN401
        made.append(lengths_and_exposure[2])
        return real(*lengths_and_exposure, **options)

    monkeypatch.setattr(augmentation, "log_projections", counted)
    return made


@pytest.mark.parametrize("task", ["joint", "derive"])
def test_fresh_exposures_are_timed_as_the_dataset_was_exposed(
    task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = exposures(monkeypatch)
    setting = Exposure(kvp=90.0, dose_mas=0.3, scatter_to_primary=0.5)
    fresh = small(task=task, **{"exposure.resample": True, "exposure.dose_jitter": 0.5})
    exposed = (setting, Detector(32, 4.0))
    assert seconds_per_epoch(fresh, (32, 32), COUNTS, cpus=1, exposed=exposed) > 0
    assert set(made) == {setting}
    assert seconds_per_epoch(fresh, (32, 24), COUNTS, cpus=1) > 0
    assert set(made) == {setting, Exposure()}


def test_stored_inputs_are_not_exposed(monkeypatch: pytest.MonkeyPatch) -> None:
    made = exposures(monkeypatch)
    assert seconds_per_epoch(small(), (32, 32), COUNTS, cpus=1) > 0
    assert not made


@pytest.mark.parametrize(
    ("owner", "method", "told"),
    [
        (Networks, "__init__", "while setting up the run"),
        (Validator, "__init__", "while setting up the run"),
        (Networks, "train_step", r"in epoch 1, step 1 \(batch 1 of"),
    ],
)
def test_no_memory_is_told_with_what_helps_wherever_it_is_missing(
    owner: type, method: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*_: object, **__: object) -> None:
        torch.empty(2**60, dtype=torch.uint8)  # a real refusal of torch's allocator

    threads = torch.get_num_threads()
    monkeypatch.setattr(owner, method, too_large)
    with pytest.raises(EnvironmentFault, match=f"out of memory {told}") as caught:
        seconds_per_epoch(small(), (32, 32), COUNTS, cpus=threads + 1)
    assert "generator.width" in str(caught.value.hint)
    assert torch.get_num_threads() == threads


def test_images_that_no_memory_holds_are_told_alike() -> None:
    with pytest.raises(EnvironmentFault, match="out of memory while making images"):
        seconds_per_epoch(small(), (2**22, 2**22), COUNTS, cpus=1)

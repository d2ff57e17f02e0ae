"""Laws of heads, and of training the one whose tissue is computed."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from dexsearch.config.trial import Task, TrialConfig, trial_config
from dexsearch.data.inversions import inversion_for, inversion_of
from dexsearch.data.pairs import TrainingData, load_training_data
from dexsearch.data.views import UNITS
from dexsearch.errors import ConfigurationError
from dexsearch.physics.detector import log_projections
from dexsearch.physics.exposure import Exposure
from dexsearch.training.checkpoint import newest_valid_checkpoint
from dexsearch.training.heads import DerivedHead, DirectHead, Head, build_head
from dexsearch.training.loop import EpochRecord, train
from dexsearch.training.metrics import masked_ssim
from dexsearch.training.networks import Networks
from dexsearch.training.normalization import Normalization

if TYPE_CHECKING:
    from dexsearch.data.store import Dataset

CPU = torch.device("cpu")
NORMALIZATION = Normalization("absolute", 2.0, 0.5, (2.0, 20.0))


def derive(**dotted: object) -> TrialConfig:
    values = {
        "task": "derive", "generator.depth": 3, "generator.width": 4, "discriminator.width": 4,
        "discriminator.patch_px": 16, "batch_size": 2,
    }  # fmt: skip
    return trial_config(values | {key.replace("__", "."): value for key, value in dotted.items()})


def run(config: TrialConfig, data: TrainingData, epochs: int, **more: object) -> list[EpochRecord]:
    records = train(config, data, epochs=epochs, device=CPU, **more)  # type: ignore[arg-type]
    return [dataclasses.replace(record, seconds=0.0) for record in records]


def weights(folder: Path) -> bytes:
    checkpoint = newest_valid_checkpoint(folder)
    assert checkpoint is not None
    return checkpoint.contents["ema"]


@pytest.fixture(scope="module")
def data(exposed_cohort: "Dataset") -> TrainingData:
    return load_training_data(exposed_cohort, Task.DERIVE, CPU)


def head_of(data: TrainingData, normalization: Normalization = NORMALIZATION) -> Head:
    return build_head(Task.DERIVE, normalization, data.inversion)


@pytest.mark.parametrize("task", [Task.BONE, Task.TISSUE, Task.JOINT])
def test_what_is_predicted_directly_takes_its_units_alone(task: Task) -> None:
    assert task.predicted == task.targets
    assert task.registered_as is task
    ranges = (2.0, 20.0)[: len(task.targets)]
    head = build_head(task, Normalization("absolute", 2.0, 0.5, ranges), None)
    assert isinstance(head, DirectHead)
    output = torch.rand(2, len(ranges), 4, 5)
    expected = output * torch.tensor(ranges).view(-1, 1, 1)
    assert torch.equal(head.images(output, torch.rand(2, 1, 4, 5)), expected)


def test_a_derived_head_predicts_bone_and_gives_bone_and_tissue(data: TrainingData) -> None:
    assert Task.DERIVE.predicted == ("bone",)
    assert Task.DERIVE.targets == Task.JOINT.targets == data.targets
    assert Task.DERIVE.registered_as is Task.JOINT
    head = head_of(data)
    assert isinstance(head, DerivedHead)
    output = torch.rand(2, 1, 4, 5)
    images = head.images(output, torch.full((2, 1, 4, 5), 3.0))
    assert images.shape == (2, 2, 4, 5)
    assert torch.equal(images[:, :1], output * 2.0)


def test_derived_images_make_their_input_again(data: TrainingData) -> None:
    """Whatever bone is predicted, as long as it alone makes less signal than there is."""
    assert data.exposure is not None
    signal = data.validation.input
    bone = torch.rand(signal.shape, generator=torch.Generator().manual_seed(0)) * 0.5
    images = head_of(data).images(bone / 2.0, signal)
    again = log_projections(
        images[:, 1].clamp_min(0.0), images[:, 0], data.exposure[0], detector=data.exposure[1],
        rays_per_pixel=1, rng=None,
    )  # fmt: skip
    possible = images[:, 1] >= 0
    assert bool(possible[data.validation.mask[:, 0]].float().mean() > 0.9)
    assert float((again - signal[:, 0])[possible].abs().max()) < 2e-4


def test_true_bone_gives_the_tissue_target_but_for_noise_and_edges(
    data: TrainingData, exposed_cohort: "Dataset"
) -> None:
    pairs, lengths = data.validation, data.validation.path_lengths
    assert lengths is not None
    assert lengths.edges is not None
    bone, tissue = pairs.target[:, :1], pairs.target[:, 1:]
    head = head_of(data)
    without_edges = pairs.input + lengths.edges[:, None].float()
    scores = []
    for signal in (pairs.input, without_edges):
        derived = head.images(bone / 2.0, signal)[:, 1:]
        ssim = masked_ssim(derived, tissue, data_range=data.data_ranges[1:], mask=pairs.mask)
        scores.append(float(ssim.mean()))
    assert scores[0] > 0.998  # pixels of 11 mm, several rays in each
    assert scores[1] > 0.9999
    error = (head.images(bone / 2.0, without_edges)[:, 1:] - tissue)[pairs.mask]
    assert float(error.square().mean().sqrt()) < 0.02
    assert exposed_cohort.manifest.units["tissue"] == "cm"


def test_training_images_have_the_predicted_targets_and_validation_images_all(
    data: TrainingData,
) -> None:
    assert data.train.target.shape[1] == 1
    assert data.validation.target.shape[1] == len(data.data_ranges) == 2


@pytest.mark.parametrize("normalization", ["absolute", "per_image"])
@pytest.mark.parametrize("adversarial", ["lsgan", "none"])
def test_a_derived_head_trains_and_is_scored_on_both_images(
    data: TrainingData, normalization: str, adversarial: str
) -> None:
    config = derive(generator__input_normalization=normalization, loss__adversarial=adversarial)
    last = run(config, data, 2)[-1]
    assert last.val_ssim_bone is not None
    assert last.val_ssim_tissue is not None
    assert last.val_ssim == pytest.approx((last.val_ssim_bone + last.val_ssim_tissue) / 2)


def test_a_derived_head_is_a_bone_head_that_gives_tissue_as_well(
    data: TrainingData, exposed_cohort: "Dataset", tmp_path: Path
) -> None:
    """The same network, learning the same: only what comes out differs."""
    bone_data = load_training_data(exposed_cohort, Task.BONE, CPU)
    derived = run(derive(), data, 2, checkpoints=tmp_path / "derive")
    bone = run(derive(task="bone"), bone_data, 2, checkpoints=tmp_path / "bone")
    assert [r.val_ssim_bone for r in derived] == [r.val_ssim_bone for r in bone]
    assert [r.loss_l1 for r in derived] == [r.loss_l1 for r in bone]
    assert weights(tmp_path / "derive") == weights(tmp_path / "bone")


def test_a_network_of_a_derived_head_has_one_output() -> None:
    assert Networks(derive(), device=CPU).generator.n_targets == 1


def test_continuing_a_derived_head_equals_an_uninterrupted_run_bit_for_bit(
    data: TrainingData, tmp_path: Path
) -> None:
    whole = run(derive(), data, 3, checkpoints=tmp_path / "whole")
    broken = train(
        derive(), data, epochs=3, device=CPU, checkpoints=tmp_path / "b", checkpoint_every_s=0.0
    )
    next(broken)
    broken.close()  # type: ignore[attr-defined]
    assert run(derive(), data, 3, checkpoints=tmp_path / "b") == whole
    assert weights(tmp_path / "b") == weights(tmp_path / "whole")


def test_fresh_exposures_teach_bone_and_leave_the_stored_exposure_to_be_inverted(
    data: TrainingData,
) -> None:
    """Another tube voltage in training changes what bone is learned from, and no inversion."""
    config = derive(exposure__resample=True, exposure__kvp_jitter=20.0, exposure__dose_jitter=0.7)
    (record,) = run(config, data, 1)
    assert record.val_ssim_tissue is not None
    assert record.val_ssim_tissue > 0.5


def test_data_of_another_head_are_refused(data: TrainingData, exposed_cohort: "Dataset") -> None:
    joint = load_training_data(exposed_cohort, Task.JOINT, CPU)
    with pytest.raises(ValueError, match="2 targets; task 'derive' predicts bone: load the data"):
        train(derive(), joint, epochs=1, device=CPU)
    with pytest.raises(ValueError, match="1 targets; task 'joint' predicts bone and tissue"):
        train(derive(task="joint"), data, epochs=1, device=CPU)
    with pytest.raises(ValueError, match="without the inversion of an exposure"):
        train(derive(), dataclasses.replace(data, inversion=None), epochs=1, device=CPU)


@pytest.mark.parametrize(
    ("exposure", "kind", "told"),
    [
        (None, "basis", "no simulated exposures"),
        (Exposure(), "wls", "no thicknesses in cm: bone in 'w_s p_low - p_high'"),
        (Exposure(scatter_to_primary=2.0), "basis", "scatter_to_primary=2.0"),
    ],
)
def test_what_tissue_cannot_be_computed_from_is_refused(
    exposure: Exposure | None, kind: str, told: str
) -> None:
    with pytest.raises(ConfigurationError, match=told) as caught:
        inversion_for(exposure, UNITS[kind])
    assert "choose the task joint" in str(caught.value.hint)


def test_a_dataset_says_how_it_is_inverted(exposed_cohort: "Dataset") -> None:
    manifest = exposed_cohort.manifest
    assert inversion_of(manifest).kvp == 120.0
    with pytest.raises(ConfigurationError, match="no simulated exposures"):
        inversion_of(dataclasses.replace(manifest, source={}))

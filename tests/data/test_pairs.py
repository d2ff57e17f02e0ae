import shutil
from dataclasses import asdict, replace

import numpy as np
import torch

from dexsearch.config.trial import Task
from dexsearch.data.exposures import exposure_of
from dexsearch.data.manifest import PathLengths, as_json_values
from dexsearch.data.pairs import DevicePathLengths, load_pairs, load_training_data
from dexsearch.data.store import Dataset
from dexsearch.physics.exposure import Exposure
from dexsearch.physics.geometry import Detector

CPU = torch.device("cpu")


def test_channels_follow_the_order_of_the_targets(dataset: Dataset) -> None:
    arrays = dataset.arrays("validation")
    pairs = load_pairs(dataset, "validation", ("tissue", "bone"), CPU)
    assert np.array_equal(pairs.target[:, 0].numpy(), arrays.tissue)
    assert np.array_equal(pairs.target[:, 1].numpy(), arrays.bone)
    assert np.array_equal(pairs.input[:, 0].numpy(), arrays.input)
    assert pairs.mask.dtype is torch.bool
    assert len(pairs) == len(arrays.mask)


def test_a_joint_task_has_two_channels_and_two_data_ranges(dataset: Dataset) -> None:
    data = load_training_data(dataset, Task.JOINT, CPU)
    assert data.train.target.shape[1] == len(data.data_ranges) == 2
    assert data.targets == ("bone", "tissue")
    assert data.data_ranges[0] == dataset.manifest.data_ranges["bone"]


def test_tensors_are_copies_that_may_be_written(dataset: Dataset) -> None:
    data = load_training_data(dataset, Task.BONE, CPU)
    data.train.input.zero_()
    assert dataset.arrays("train").input.any()


def test_training_data_loads_without_the_holdout(dataset: Dataset) -> None:
    shutil.rmtree(dataset.path / "holdout")
    assert len(load_training_data(dataset, Task.TISSUE, CPU).validation)


def test_the_exposure_of_simulated_inputs_comes_back_from_the_manifest(dataset: Dataset) -> None:
    exposure = Exposure(kvp=80.0, dose_mas=0.2, filters_mm=(("copper", 0.1),))
    detector = Detector(size_px=24, pixel_mm=2.0)
    source = as_json_values({"exposure": asdict(exposure), "detector": asdict(detector)})
    lengths = PathLengths(soft="tissue", bone="bone")
    simulated = replace(dataset.manifest, source=source, path_lengths=lengths)
    assert exposure_of(simulated) == (exposure, detector)
    assert exposure_of(replace(simulated, path_lengths=None)) is None
    assert exposure_of(replace(simulated, source={})) is None


def test_path_lengths_stay_on_disk_until_they_are_used() -> None:
    soft = np.linspace(0, 30, 24, dtype=np.float16).reshape(2, 3, 4)
    lengths = DevicePathLengths(soft, soft / 10, CPU)
    assert not set(vars(lengths)) & {"soft_cm", "bone_cm"}
    assert lengths.soft_cm is lengths.soft_cm
    assert lengths.soft_cm.dtype is torch.float16
    assert np.array_equal(lengths.bone_cm.numpy(), soft / 10)


def test_pairs_without_path_lengths_say_so(dataset: Dataset) -> None:
    poor = replace(dataset, manifest=replace(dataset.manifest, path_lengths=None))
    data = load_training_data(poor, Task.BONE, CPU)
    assert data.train.path_lengths is None
    assert data.exposure is None

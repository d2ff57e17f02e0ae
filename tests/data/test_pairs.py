import shutil

import numpy as np
import torch

from dexsearch.config.trial import Task
from dexsearch.data.pairs import load_pairs, load_training_data
from dexsearch.data.store import Dataset

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

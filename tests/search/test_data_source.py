"""Images from a folder or from arrays that were sent: the same, or an error that says where."""

import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
import torch

from dexsearch.config.trial import Task
from dexsearch.data.dataset import OPEN_SUBSETS
from dexsearch.data.pairs import SubsetImages, load_training_data
from dexsearch.data.store import Dataset
from dexsearch.errors import DataError
from dexsearch.search.data_source import ArrayTable, FolderSource, array_name

CPU = torch.device("cpu")


def table_of(dataset: Dataset) -> ArrayTable:
    return ArrayTable(
        dataset.manifest,
        {
            array_name(subset, name): np.load(dataset.path / subset / f"{name}.npy")
            for subset in OPEN_SUBSETS
            for name in dataset.manifest.arrays
        },
    )


@pytest.mark.parametrize("task", list(Task))
def test_arrays_that_were_sent_train_like_the_folder(exposed_cohort: Dataset, task: Task) -> None:
    folder = load_training_data(exposed_cohort, task, CPU)
    sent = load_training_data(table_of(exposed_cohort), task, CPU)
    assert (sent.digest, sent.input_mean, sent.data_ranges) == (
        folder.digest, folder.input_mean, folder.data_ranges,
    )  # fmt: skip
    for theirs, ours in ((folder.train, sent.train), (folder.validation, sent.validation)):
        assert torch.equal(theirs.input, ours.input)
        assert torch.equal(theirs.target, ours.target)
        assert torch.equal(theirs.mask, ours.mask)
        assert theirs.path_lengths is not None
        assert ours.path_lengths is not None
        assert torch.equal(theirs.path_lengths.soft_cm, ours.path_lengths.soft_cm)
        assert torch.equal(theirs.path_lengths.bone_cm, ours.path_lengths.bone_cm)
        assert (theirs.path_lengths.edges is None) == (ours.path_lengths.edges is None)


def test_a_folder_and_sent_arrays_are_the_same_kind_of_thing(exposed_cohort: Dataset) -> None:
    assert isinstance(exposed_cohort, SubsetImages)
    assert isinstance(table_of(exposed_cohort), SubsetImages)


def test_the_holdout_is_never_among_what_was_sent(exposed_cohort: Dataset) -> None:
    sent = table_of(exposed_cohort)
    assert not [name for name in sent.table if name.startswith("holdout")]
    with pytest.raises(ValueError, match="got subset 'holdout'; a search sees train and valid"):
        sent.arrays("holdout")


def test_another_dataset_under_the_same_path_is_refused_with_the_name_of_the_machine(
    exposed_cohort: Dataset,
) -> None:
    source = FolderSource(exposed_cohort.path, "0" * 64)
    with pytest.raises(DataError, match="holds another dataset") as caught:
        source.open()
    assert str(caught.value).startswith(f"on {socket.gethostname()}: ")


def test_an_absent_folder_is_refused_with_the_name_of_the_machine(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"on {socket.gethostname()}: .* does not exist"):
        FolderSource(tmp_path / "nowhere", "0" * 64).open()


def test_a_copy_with_one_other_byte_is_refused_where_bytes_are_checked(
    exposed_cohort: Dataset, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(exposed_cohort.path, copy)
    digest = exposed_cohort.manifest.digest
    assert FolderSource(copy, digest, check_bytes=True).open().manifest.digest == digest
    path = copy / "train" / "input.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    FolderSource(copy, digest).open()
    with pytest.raises(DataError, match=r"input\.npy: changed since it was written"):
        FolderSource(copy, digest, check_bytes=True).open()


def test_a_search_does_not_need_the_holdout_where_bytes_are_checked(
    exposed_cohort: Dataset, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(exposed_cohort.path, copy, ignore=shutil.ignore_patterns("holdout"))
    FolderSource(copy, exposed_cohort.manifest.digest, check_bytes=True).open()

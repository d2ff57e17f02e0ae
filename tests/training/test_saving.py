"""What training tells of the checkpoints that it saves, or cannot save."""

import errno
from collections.abc import Mapping

import pytest
import torch

from dexsearch.config.trial import trial_config
from dexsearch.data.pairs import TrainingData
from dexsearch.search.trial import failure_of
from dexsearch.training.checkpoint_folder import FolderStore
from dexsearch.training.checkpoint_interface import StorageDeniedError
from dexsearch.training.loop import train
from dexsearch.training.saving import heard_saves

EPOCHS = 3
SMALL: dict[str, object] = {
    "generator.depth": 2, "generator.width": 4, "loss.adversarial": "none", "batch_size": 8,
}  # fmt: skip


class Place:
    """A folder whose errors the tests choose, by epoch."""

    def __init__(self, folder: str, data: TrainingData) -> None:
        self.folder, self.data = folder, data
        self.errors: Mapping[int, OSError] = {}

    def saves_of_each_epoch(self) -> list[list[int]]:
        records = train(
            trial_config(SMALL), self.data, epochs=EPOCHS, device=torch.device("cpu"),
            checkpoints=self.folder, checkpoint_every_s=0.0,
        )  # fmt: skip
        told = []
        for _ in range(EPOCHS):
            with heard_saves() as saves:
                next(records)
            told.append(saves)
        return told


@pytest.fixture
def place(
    tmp_path_factory: pytest.TempPathFactory, joint_data: TrainingData,
    monkeypatch: pytest.MonkeyPatch,
) -> Place:  # fmt: skip
    place = Place(str(tmp_path_factory.mktemp("trial")), joint_data)
    write = FolderStore.write

    def refusing(store: FolderStore, epoch: int, *rest: object) -> None:
        if epoch in place.errors:
            raise place.errors[epoch]
        write(store, epoch, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(FolderStore, "write", refusing)
    return place


def test_training_tells_of_a_checkpoint_only_once_it_is_stored(place: Place) -> None:
    place.errors = {2: ConnectionError("silent")}
    assert place.saves_of_each_epoch() == [[1], [], [3]]


@pytest.mark.parametrize("error", [OSError(errno.EDQUOT, "quota"), StorageDeniedError(13, "no")])
def test_full_storage_and_refused_keys_are_no_secret_in_mid_run(
    error: OSError, place: Place
) -> None:
    place.errors = {2: error}
    with pytest.raises(type(error)) as raised:
        place.saves_of_each_epoch()
    assert not failure_of(raised.value).is_trained


def test_the_error_of_a_last_save_says_that_nothing_else_is_left_to_do(place: Place) -> None:
    place.errors = {EPOCHS: ConnectionError("silent")}
    with pytest.raises(ConnectionError) as raised:
        place.saves_of_each_epoch()
    assert failure_of(raised.value).is_trained

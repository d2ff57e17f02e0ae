"""A run that is continued elsewhere: the one that was thought to be dead stops by itself."""

import errno
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dexsearch.config.trial import trial_config
from dexsearch.data.pairs import TrainingData
from dexsearch.training import checkpoint_folder
from dexsearch.training.checkpoint import newest_valid_checkpoint
from dexsearch.training.checkpoint_store import SupersededError
from dexsearch.training.loop import train
from dexsearch.training.object_storage import ObjectStorage
from dexsearch.training.record import EpochRecord
from tests.s3_server import S3Server

CONFIG = trial_config(
    {"generator.depth": 2, "generator.width": 4, "loss.adversarial": "none", "batch_size": 8}
)


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.slow)])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "trial")
    server: S3Server = request.getfixturevalue("s3")
    server.bucket("takeover")
    return server.uri("takeover/trial")


def begin(
    data: TrainingData, location: str, *, rank: tuple[int, int] = (0, 0)
) -> Iterator[EpochRecord]:
    return train(
        CONFIG,
        data,
        epochs=4,
        device=torch.device("cpu"),
        checkpoints=location,
        checkpoint_every_s=0.0,
        rank=rank,
    )


def test_of_two_iterators_on_one_run_the_older_stops_and_the_newer_is_as_if_alone(
    joint_data: TrainingData, location: str, tmp_path: Path
) -> None:
    alone = list(begin(joint_data, str(tmp_path / "alone")))
    older = begin(joint_data, location)
    assert len(list(itertools.islice(older, 2))) == 2
    newer = begin(joint_data, location)
    resent = list(itertools.islice(newer, 3))
    with pytest.raises(SupersededError, match="continues this run"):
        next(older)
    kept = newest_valid_checkpoint(location)
    assert kept is not None
    assert kept.state.epoch == 3
    assert [r.val_ssim for r in [*resent, *newer]] == [r.val_ssim for r in alone]
    final, expected = (
        newest_valid_checkpoint(location),
        newest_valid_checkpoint(tmp_path / "alone"),
    )
    assert final is not None
    assert expected is not None
    assert final.contents["ema"] == expected.contents["ema"]


def test_an_attempt_that_was_cut_off_while_it_loaded_its_data_is_refused(
    joint_data: TrainingData, tmp_path: Path
) -> None:
    current = begin(joint_data, str(tmp_path), rank=(2, 1))
    assert next(current).epoch == 1
    with pytest.raises(SupersededError, match="lease 2, attempt 1"):
        begin(joint_data, str(tmp_path), rank=(2, 0))
    assert len(list(current)) == 3


@pytest.mark.parametrize(
    ("scheme", "broken", "error"),
    [  # as pyarrow raises it, and as the system does
        ("file://", (ObjectStorage, "put"), OSError("AWS Error NETWORK_CONNECTION")),
        ("", (checkpoint_folder, "write_durably"), OSError(errno.EIO, "NETWORK_CONNECTION")),
    ],
)
def test_storage_that_does_not_answer_costs_a_checkpoint_and_at_the_end_the_run(
    joint_data: TrainingData,
    scheme: str,
    broken: tuple[Any, str],
    error: OSError,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def unanswered(*_: object) -> None:
        raise error

    location = f"{scheme}{tmp_path}/trial"
    records = begin(joint_data, location)
    next(records)
    with monkeypatch.context() as patch:
        patch.setattr(*broken, unanswered)
        assert next(records).epoch == 2
    assert "no checkpoint of epoch 2" in caplog.text
    assert next(records).epoch == 3
    kept = newest_valid_checkpoint(location)
    assert kept is not None
    assert kept.state.epoch == 3
    monkeypatch.setattr(*broken, unanswered)
    with pytest.raises(ConnectionError, match="NETWORK_CONNECTION"):
        next(records)

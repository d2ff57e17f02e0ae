"""A run that is continued elsewhere: the one that was thought to be dead stops by itself."""

import itertools
from pathlib import Path

import pytest
import torch

from dexsearch.config.trial import trial_config
from dexsearch.data.pairs import TrainingData
from dexsearch.training.checkpoint import newest_valid_checkpoint
from dexsearch.training.checkpoint_store import SupersededError
from dexsearch.training.loop import train
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


def test_of_two_iterators_on_one_run_the_older_stops_and_the_newer_is_as_if_alone(
    joint_data: TrainingData, location: str, tmp_path: Path
) -> None:
    def begin(place: str) -> "itertools.islice[object]":
        return train(  # type: ignore[return-value]
            CONFIG,
            joint_data,
            epochs=4,
            device=torch.device("cpu"),
            checkpoints=place,
            checkpoint_every_s=0.0,
        )

    alone = list(begin(str(tmp_path / "alone")))
    older = begin(location)
    assert len(list(itertools.islice(older, 2))) == 2
    newer = begin(location)
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

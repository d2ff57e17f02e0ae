"""Laws of checkpoints: atomic, verified, two kept, damaged ones passed over."""

import dataclasses
import logging
import os
import socket
from pathlib import Path

import pytest
import torch

from dexsearch.config.trial import TrialConfig
from dexsearch.training.checkpoint import (
    RunState,
    newest_valid_checkpoint,
    open_checkpoint,
    save_checkpoint,
)
from dexsearch.training.checkpoint_store import WRITER, checkpoint_store
from dexsearch.training.checkpoint_writer import CheckpointWriter
from dexsearch.training.normalization import Normalization
from dexsearch.training.record import EpochRecord


def record(epoch: int) -> EpochRecord:
    return EpochRecord(epoch, 0.1 + 0.2, 0.3, None, 0.4, 30.0, 0.01, 0.02, 1.5, None, 0.7)


def state(epoch: int) -> RunState:
    normalization = Normalization("absolute", 1.5, 0.5, (2.0, 20.0))
    curve = tuple(record(e) for e in range(1, epoch + 1))
    return RunState(TrialConfig(), normalization, "digest", 12 * epoch, curve)


def save(folder: Path, epoch: int) -> Path:
    ema = {"weight": torch.full((3, 2, 4, 4), float(epoch)).to(memory_format=torch.channels_last)}
    return Path(save_checkpoint(writing(folder), state(epoch), {"ema": ema, "generator": ema}))


def writing(folder: Path) -> CheckpointWriter:
    return CheckpointWriter(checkpoint_store(folder))


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != WRITER)


def partial_of(folder: Path, name: str, process: int) -> Path:
    return folder / f"{name}.partial-{socket.gethostname()}-{process}"


def test_what_is_saved_is_what_is_opened(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(save(tmp_path, 3))
    assert checkpoint.state == state(3)
    assert checkpoint.state.epoch == 3
    torch.testing.assert_close(checkpoint.tensors("ema")["weight"], torch.full((3, 2, 4, 4), 3.0))


def test_the_two_newest_are_kept_and_nothing_half_written_stays(tmp_path: Path) -> None:
    partial_of(tmp_path, "00001", 2**22 + 1).mkdir()  # no process has so high a number
    for epoch in (1, 2, 3, 10):
        save(tmp_path, epoch)
    assert names_in(tmp_path) == ["00003", "00010"]


@pytest.mark.parametrize("victim", ["ema.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "delete"])
def test_damaged_checkpoints_are_passed_over(
    tmp_path: Path, victim: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path, 1)
    path = save(tmp_path, 2) / victim
    content = bytearray(path.read_bytes())
    if damage == "delete":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 0x10
        path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        found = newest_valid_checkpoint(tmp_path)
    assert found is not None
    assert found.state.epoch == 1
    assert "00002" in caplog.text


def test_a_damaged_checkpoint_is_replaced_when_its_epoch_is_reached_again(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (save(tmp_path, 2) / "state.json").unlink()
    save(tmp_path, 2)
    found = newest_valid_checkpoint(tmp_path)
    assert found is not None
    assert found.state.epoch == 2


@pytest.mark.parametrize("spoil", ["delete", "format"])
def test_unusable_checkpoints_of_later_epochs_do_not_outlive_what_is_saved(
    tmp_path: Path, spoil: str
) -> None:
    for epoch in (1, 7, 8, 9):
        path = save(tmp_path, epoch)
        if epoch > 1 and spoil == "delete":
            (path / "state.json").unlink()
        elif epoch > 1:
            (path / "manifest.json").write_text('{"format": 99}')
    save(tmp_path, 1)
    (tmp_path / "00008").mkdir()
    for epoch in (2, 3, 4):
        assert save(tmp_path, epoch).is_dir()
        found = newest_valid_checkpoint(tmp_path)
        assert found is not None
        assert found.state.epoch == epoch
    assert names_in(tmp_path) == ["00003", "00004"]


def test_the_partial_folder_of_a_living_process_is_spared(tmp_path: Path) -> None:
    living = partial_of(tmp_path, "00002", os.getppid())
    elsewhere = tmp_path / "00002.partial-othermachine-1"
    living.mkdir(), elsewhere.mkdir()
    save(tmp_path, 1)
    assert living.is_dir()
    assert elsewhere.is_dir()


def test_epochs_are_compared_as_numbers(tmp_path: Path) -> None:
    for epoch in (99_999, 100_000):
        curve = (dataclasses.replace(record(1), epoch=epoch),)
        save_checkpoint(writing(tmp_path), dataclasses.replace(state(1), curve=curve), {})
    found = newest_valid_checkpoint(tmp_path)
    assert found is not None
    assert found.state.epoch == 100_000


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert newest_valid_checkpoint(tmp_path / "missing") is None
    (tmp_path / "00001").mkdir()
    assert newest_valid_checkpoint(tmp_path) is None


def test_a_crash_while_writing_leaves_the_last_one_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 1)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dexsearch.durable.os.fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        save(tmp_path, 2)
    assert names_in(tmp_path) == ["00001"]
    found = newest_valid_checkpoint(tmp_path)
    assert found is not None
    assert found.state.epoch == 1


def test_nothing_is_pickled(tmp_path: Path) -> None:
    names = {path.suffix for path in save(tmp_path, 1).iterdir()}
    assert names == {".safetensors", ".json"}


def test_the_curve_keeps_every_bit(tmp_path: Path) -> None:
    odd = dataclasses.replace(record(1), val_ssim=0.1 + 0.2 + 1e-17)
    kept = RunState.from_dict(dataclasses.replace(state(1), curve=(odd,)).as_dict())
    assert kept.curve[0].val_ssim == odd.val_ssim

"""Of several writers of one run the rightful one wins, however late another one wakes up."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dexsearch.training.checkpoint import newest_valid_checkpoint
from dexsearch.training.checkpoint_store import (
    MANIFEST,
    WRITER,
    FolderStore,
    SupersededError,
    checkpoint_store,
)
from dexsearch.training.checkpoint_writer import CheckpointWriter
from dexsearch.training.object_storage import ObjectStorage

FILES = {"state.json": b"{}"}


@pytest.fixture(params=["folder", "file"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"file://{tmp_path}/trial" if request.param == "file" else str(tmp_path / "trial")


def writing(location: str, *, rank: tuple[int, int] = (0, 0)) -> CheckpointWriter:
    return CheckpointWriter(checkpoint_store(location), rank=rank)


def before_it_counts(
    patch: pytest.MonkeyPatch, location: str, meanwhile: Callable[[], None]
) -> None:
    """Let something happen once, between a writer's last look at the mark and the one step that
    makes its checkpoint count."""
    owner, name = (ObjectStorage, "put") if "://" in location else (Path, "rename")
    real = getattr(owner, name)

    def stalling(*arguments: Any) -> object:  # noqa: ANN401
        if owner is Path or arguments[1].endswith(MANIFEST):
            patch.undo()
            with patch.context() as of_another_process:
                of_another_process.setattr("dexsearch.durable.os.getpid", os.getppid)
                meanwhile()
        return real(*arguments)

    patch.setattr(owner, name, stalling)


def test_a_zombie_that_stalls_inside_a_save_deletes_nothing_of_who_replaced_it(
    location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    zombie = writing(location)
    zombie.save(9, FILES)

    def meanwhile() -> None:
        newer = writing(location, rank=(0, 1))
        for epoch in (10, 11, 12):
            newer.save(epoch, FILES)

    before_it_counts(monkeypatch, location, meanwhile)
    with pytest.raises(SupersededError, match=r"lease 0, attempt 1"):
        zombie.save(10, FILES)
    store = checkpoint_store(location)
    assert set(store.epochs()) >= {12, 11}
    assert store.files(12) == store.files(11) == FILES
    again = writing(location, rank=(0, 2))
    again.save(13, FILES)
    assert store.epochs() == [13, 12], "what the zombie left goes with the next checkpoint"


def test_later_checkpoints_go_only_if_they_were_there_when_the_writer_began(
    location: str,
) -> None:
    writing(location).save(8, FILES)
    newer = writing(location)
    store = checkpoint_store(location)
    store.write(9, {}, {MANIFEST: b"{}"}, lambda: None)
    newer.save(5, FILES)
    assert store.epochs() == [9, 5], "8 was passed over, 9 came since"


@pytest.mark.parametrize("late", [(3, 0), (2, 9)])
def test_an_attempt_that_starts_late_does_not_supersede_the_current_one(
    location: str, late: tuple[int, int]
) -> None:
    current = writing(location, rank=(3, 1))
    with pytest.raises(SupersededError, match="lease 3, attempt 1") as refused:
        writing(location, rank=late)
    assert refused.value.token == 3
    current.save(1, FILES)
    assert checkpoint_store(location).epochs() == [1]


@pytest.mark.parametrize("later", [(3, 1), (3, 2), (4, 0)])
def test_a_rank_as_high_or_higher_takes_over(location: str, later: tuple[int, int]) -> None:
    older = writing(location, rank=(3, 1))
    writing(location, rank=later).save(1, FILES)
    with pytest.raises(SupersededError):
        older.save(2, FILES)


def test_a_mark_of_an_earlier_version_has_the_lowest_rank(location: str) -> None:
    checkpoint_store(location).set_owner("9" * 32)
    writing(location).save(1, FILES)


def test_without_any_mark_nobody_writes(location: str) -> None:
    writer = writing(location)
    (Path(location.removeprefix("file://")) / WRITER).unlink()
    with pytest.raises(SupersededError):
        writer.save(1, FILES)
    assert checkpoint_store(location).epochs() == []


def failing(number: int) -> Callable[..., object]:
    def fail(*_: object, **__: object) -> object:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
@pytest.mark.parametrize(
    "broken",
    ["dexsearch.durable.os.fsync", "dexsearch.training.checkpoint_folder.Path.rename",
     "dexsearch.training.checkpoint_folder.Path.read_text"],
)  # fmt: skip
def test_a_folder_out_of_reach_is_told_like_any_storage_that_does_not_answer(
    tmp_path: Path, number: int, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = writing(str(tmp_path / "trial"))
    writer.save(1, FILES)
    with monkeypatch.context() as patch:
        patch.setattr(broken, failing(number))
        with pytest.raises(ConnectionError, match=os.strerror(number)):
            writer.save(2, FILES)
    writer.save(3, FILES)
    assert checkpoint_store(tmp_path / "trial").epochs() == [3, 1]


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES])
@pytest.mark.parametrize("broken", ["read_bytes", "scandir"])
def test_a_checkpoint_that_cannot_be_read_here_is_neither_damaged_nor_absent(
    tmp_path: Path, number: int, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing(str(tmp_path)).save(1, FILES)
    owner = Path if broken == "read_bytes" else os
    monkeypatch.setattr(owner, broken, failing(number))
    with pytest.raises(OSError, match=os.strerror(number)) as told:
        newest_valid_checkpoint(tmp_path)
    assert isinstance(told.value, ConnectionError) or (number, broken) == (errno.EACCES, "scandir")


def test_what_cannot_be_cleared_away_now_is_cleared_away_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unanswered(store: FolderStore, epoch: int) -> None:
        raise ConnectionError(f"{store.location}: epoch {epoch}")

    writer = writing(str(tmp_path))
    for epoch in (1, 2):
        writer.save(epoch, FILES)
    with monkeypatch.context() as patch:
        patch.setattr(FolderStore, "delete", unanswered)
        writer.save(3, FILES)
    assert checkpoint_store(tmp_path).epochs() == [3, 2, 1]
    writer.save(4, FILES)
    assert checkpoint_store(tmp_path).epochs() == [4, 3]

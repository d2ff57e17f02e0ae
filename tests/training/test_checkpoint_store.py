"""Laws of every place for checkpoints: whole or passed over, two kept, one writer at a time."""

import errno
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dexsearch.training.checkpoint_store import (
    MANIFEST,
    WRITER,
    CheckpointStore,
    FolderStore,
    ObjectStore,
    SupersededError,
    checkpoint_store,
)
from dexsearch.training.checkpoint_writer import CheckpointWriter
from dexsearch.training.object_storage import ObjectStorage, open_storage
from tests.s3_server import S3Server

FILES = ("ema.safetensors", "generator.safetensors", "state.json")


@pytest.fixture(params=["folder", "file", pytest.param("s3", marks=pytest.mark.slow)])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "trial")
    if request.param == "file":
        return f"file://{tmp_path}/trial"
    server: S3Server = request.getfixturevalue("s3")
    bucket = tmp_path.name.replace("_", "-").lower()
    server.bucket(bucket)
    return server.uri(f"{bucket}/trials/0")


def raw(location: str) -> ObjectStorage:
    """Reach the stored files past the store."""
    return open_storage(location if "://" in location else f"file://{location}")


def stored(location: str) -> dict[str, bytes]:
    from pyarrow.fs import FileSelector, FileType

    place = raw(location)
    found = place.filesystem.get_file_info(FileSelector(place.root, recursive=True))
    paths = [info.path for info in found if info.type == FileType.File]
    names = [path.removeprefix(f"{place.root}/") for path in paths]
    return {name: place.get(name) for name in names}


def files(text: str) -> dict[str, bytes]:
    return {name: f"{name} {text} ".encode() * 40 for name in FILES}


def newest(location: str) -> tuple[int, dict[str, bytes]] | None:
    """Walk back as a reader does."""
    store = checkpoint_store(location)
    for epoch in store.epochs():
        try:
            return epoch, store.files(epoch)
        except ValueError:
            continue
    return None


class Killed(BaseException):
    """The process ends here."""


def kill_at(patch: pytest.MonkeyPatch, name: str, count: int) -> None:
    """End the process at the n-th call of one of the things that change what is stored."""
    left = [count]

    def watched(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: object) -> object:
            left[0] -= 1
            if left[0] == 0:
                raise Killed
            return real(*arguments)

        return call

    patch.setattr(ObjectStorage, name, watched(getattr(ObjectStorage, name)))
    if name == "put":
        module = "dexsearch.training.checkpoint_folder.write_durably"
        from dexsearch.durable import write_durably

        patch.setattr(module, watched(write_durably))


def test_what_is_saved_is_what_is_read(location: str) -> None:
    place = CheckpointWriter(checkpoint_store(location)).save(3, files("three"))
    assert newest(location) == (3, files("three"))
    assert place.partition("?")[0] == f"{location.partition('?')[0]}/00003"
    assert place.partition("?")[1:] == location.partition("?")[1:]


def test_a_place_where_nothing_was_written_holds_nothing(location: str) -> None:
    store = checkpoint_store(location)
    assert store.epochs() == []
    assert store.owner() is None


def test_the_two_newest_are_kept(location: str) -> None:
    writer = CheckpointWriter(checkpoint_store(location))
    for epoch in (9, 99_999, 100_000):
        writer.save(epoch, files(str(epoch)))
    assert checkpoint_store(location).epochs() == [100_000, 99_999]
    assert not [name for name in stored(location) if name.startswith("00009")]


def test_one_that_is_saved_again_is_the_new_one(location: str) -> None:
    for text in ("first", "second"):
        CheckpointWriter(checkpoint_store(location)).save(1, files(text))
    assert newest(location) == (1, files("second"))


@pytest.mark.parametrize("count", range(1, len(FILES) + 2))
def test_an_upload_torn_at_any_file_leaves_the_one_before(
    location: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = CheckpointWriter(checkpoint_store(location))
    writer.save(1, files("one"))
    with monkeypatch.context() as patch:
        kill_at(patch, "put", count)
        with pytest.raises(Killed):
            writer.save(2, files("two"))
    assert newest(location) == (1, files("one"))
    again = CheckpointWriter(checkpoint_store(location))
    for epoch in (2, 3, 4):
        again.save(epoch, files(str(epoch)))
        assert newest(location) == (epoch, files(str(epoch)))
    assert checkpoint_store(location).epochs() == [4, 3]


@pytest.mark.parametrize("call", ["delete", "delete_folder"])
def test_a_deletion_broken_off_leaves_no_part_that_counts(
    location: str, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "://" not in location:
        pytest.skip("the kernel deletes the files of a folder")
    writer = CheckpointWriter(checkpoint_store(location))
    writer.save(1, files("one"))
    writer.save(2, files("two"))
    with monkeypatch.context() as patch:
        kill_at(patch, call, 1)
        with pytest.raises(Killed):
            writer.save(3, files("three"))
    assert newest(location) == (3, files("three"))
    writer.save(4, files("four"))
    assert checkpoint_store(location).epochs() == [4, 3]


@pytest.mark.parametrize("victim", [*FILES, MANIFEST])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "delete"])
def test_a_damaged_one_is_passed_over_for_the_one_before(
    location: str, victim: str, damage: str
) -> None:
    if location.startswith("s3") and damage in ("flip", "empty"):
        pytest.skip("hashes are compared alike wherever the bytes come from")
    writer = CheckpointWriter(checkpoint_store(location))
    writer.save(1, files("one"))
    writer.save(2, files("two"))
    place = raw(location)
    (name,) = (name for name in stored(location) if name.startswith("00002/") and victim in name)
    content = bytearray(place.get(name))
    if damage == "delete":
        place.delete(name)
    elif damage == "flip":
        content[len(content) // 2] ^= 0x10
        place.put(name, bytes(content))
    else:
        place.put(name, bytes(content[: len(content) // 2 if damage == "cut" else 0]))
    with pytest.raises(ValueError, match="00002"):
        checkpoint_store(location).files(2)
    assert newest(location) == (1, files("one"))


@pytest.mark.parametrize("name", ["../00001/state.json", "/etc/hostname", "a/b"])
def test_a_manifest_that_names_files_elsewhere_is_refused(location: str, name: str) -> None:
    CheckpointWriter(checkpoint_store(location)).save(1, files("one"))
    raw(location).put(f"00001/{MANIFEST}", json.dumps({"sha256": {name: "0" * 64}}).encode())
    with pytest.raises(ValueError, match="is no name of a file in it"):
        checkpoint_store(location).files(1)


def test_a_writer_that_was_taken_over_from_writes_and_deletes_nothing(location: str) -> None:
    older = CheckpointWriter(checkpoint_store(location))
    older.save(1, files("one"))
    older.save(2, files("two"))
    newer = CheckpointWriter(checkpoint_store(location))
    before = stored(location)
    for epoch in (1, 2, 3):
        with pytest.raises(SupersededError, match="another process continues"):
            older.save(epoch, files("late"))
    assert stored(location) == before
    newer.save(3, files("three"))
    assert newest(location) == (3, files("three"))


@pytest.mark.parametrize("count", range(1, len(FILES) + 1))
def test_one_taken_over_from_in_the_middle_of_a_checkpoint_leaves_none_of_it(
    location: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = CheckpointWriter(checkpoint_store(location))
    older.save(1, files("one"))
    with monkeypatch.context() as patch:
        kill_at(patch, "put", count)  # a network that is cut: the rest of the upload comes late
        with pytest.raises(Killed):
            older.save(2, files("of the older"))
    newer = CheckpointWriter(checkpoint_store(location))
    newer.save(2, files("of the newer"))
    store = checkpoint_store(location)
    late = dict.fromkeys(FILES, "0" * 64), {**files("of the older"), MANIFEST: b"{}"}

    def refuse() -> None:
        raise SupersededError

    with pytest.raises(SupersededError):
        store.write(2, *late, refuse)
    assert newest(location) == (2, files("of the newer"))


def test_a_full_disk_is_told_as_the_system_tells_it(
    location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if location.startswith("s3"):
        pytest.skip("a bucket has no end")
    writer = CheckpointWriter(checkpoint_store(location))
    writer.save(1, files("one"))
    if location.startswith("file"):
        (tmp_path / "trial" / "00002").mkdir()
        (tmp_path / "trial" / "00002" / MANIFEST).symlink_to("/dev/full")
    else:

        def fail(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("dexsearch.durable.os.fsync", fail)
    with pytest.raises(OSError, match="No space left") as full:
        writer.save(2, files("two"))
    assert full.value.errno == errno.ENOSPC
    assert not isinstance(full.value, ConnectionError)
    assert newest(location) == (1, files("one"))


@pytest.mark.slow
def test_storage_that_does_not_answer_is_not_taken_for_empty(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from dexsearch.training.checkpoint import newest_valid_checkpoint
    from tests.s3_server import s3_server

    with s3_server() as server:
        server.bucket("bucket")
        location = server.uri("bucket/trials/0")
        CheckpointWriter(checkpoint_store(location)).save(1, files("one"))
        store: CheckpointStore = checkpoint_store(location)
        assert store.epochs() == [1]
    with caplog.at_level(logging.WARNING), pytest.raises(ConnectionError, match="bucket/trials/0"):
        newest_valid_checkpoint(location)
    assert caplog.text == ""


def test_the_kind_of_place_follows_from_its_address(tmp_path: Path) -> None:
    assert isinstance(checkpoint_store(tmp_path), FolderStore)
    assert isinstance(checkpoint_store(f"file://{tmp_path}"), ObjectStore)
    with pytest.raises(ValueError, match="nfs"):
        checkpoint_store("nfs://server/export")


def test_a_folder_needs_no_pyarrow(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from dexsearch.training.checkpoint_store import checkpoint_store as s;"
        f"from dexsearch.training.checkpoint_writer import CheckpointWriter as W;"
        f"W(s({str(tmp_path)!r})).save(1, {{'a': b'b'}}); s({str(tmp_path)!r}).files(1);"
        "raise SystemExit('pyarrow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert (tmp_path / WRITER).is_file()

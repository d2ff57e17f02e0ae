"""Where checkpoints are kept, and what is refused before anything begins."""

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from dexsearch.errors import ConfigurationError, DexSearchError, EnvironmentFault
from dexsearch.search.storage import (
    checkpoint_for_ledger,
    refuse_unusable_storage,
    study_location,
    trial_location,
)
from dexsearch.training.checkpoint_store import FolderStore
from tests.s3_server import KEYS, S3Server, s3_server

URI = "s3://bucket/a?endpoint_override=10.0.0.9:9000&scheme=http"


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


def refused(storage: str, *, by_writing: bool = True) -> DexSearchError:
    with pytest.raises(DexSearchError) as error:
        refuse_unusable_storage(storage, by_writing=by_writing)
    return error.value


def test_a_study_has_its_own_place_in_the_storage(tmp_path: Path) -> None:
    study = tmp_path / "studies" / "ribs"
    assert study_location(study, None, "ribs") == str(study)
    assert study_location(study, str(tmp_path / "shared"), "ribs") == str(tmp_path / "shared/ribs")
    assert trial_location(study_location(study, URI, "ribs"), 7) == (
        "s3://bucket/a/ribs/trials/7?endpoint_override=10.0.0.9:9000&scheme=http"
    )


def test_the_ledger_names_what_the_study_holds_relative_to_it(tmp_path: Path) -> None:
    inside, outside = tmp_path / "study" / "trials" / "0", tmp_path / "shared" / "trials" / "0"
    for trial in (inside, outside):
        (trial / "00003").mkdir(parents=True)
    study = tmp_path / "study"
    told: list[str] = []

    def named(trial: str, epoch: int) -> str | None:
        return checkpoint_for_ledger(trial, epoch, study, tell=told.append)

    assert named(str(inside), 3) == "trials/0/00003"
    assert named(str(outside), 3) == str(outside / "00003")
    assert named(f"file://{inside}", 3) == f"file://{inside}/00003"
    assert named(str(inside), 4) is None
    assert told == []


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EACCES])
def test_a_checkpoint_that_cannot_be_looked_at_is_taken_to_be_there(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(store: FolderStore) -> list[int]:
        raise OSError(number, os.strerror(number), store.location)

    monkeypatch.setattr(FolderStore, "epochs", fail)
    told: list[str] = []
    trial = str(tmp_path / "trials" / "0")
    assert checkpoint_for_ledger(trial, 3, tmp_path, tell=told.append) == "trials/0/00003"
    (line,) = told
    assert os.strerror(number) in line


@pytest.mark.parametrize(
    ("storage", "told"),
    [
        ("nfs://server/export", "nfs"),
        ("s3:///folder", "names no bucket"),
        ("s3://bucket/a?endpoint=1.2.3.4", "unknown option 'endpoint'"),
        ("file://relative", "relative"),
        ("mock://x/y", "mock:// is not one of"),
        ("abfss://box/x", "abfss:// is not one of"),
        ("s3:/bucket/a", "neither a URI"),
        ("", "it is empty"),
    ],
)
def test_what_can_be_no_place_for_checkpoints_is_a_wrong_configuration(
    storage: str, told: str
) -> None:
    error = refused(storage, by_writing=False)
    assert isinstance(error, ConfigurationError)
    assert told in str(error)
    assert "s3://BUCKET/FOLDER" in (error.hint or "")


@pytest.mark.parametrize(
    "storage",
    ["s3://ID:PRI/VATE@bucket/a", "s3://ID:PRIVATE@bucket/a", "s3://b/a?secret_key=PRIVATE",
     "s3://b/x?endpoint_override=ID:PRIVATE@h:1", "s3://ID:PRI?VATE@b", "s3:/ID:PRIVATE@b"],
)  # fmt: skip
def test_a_key_in_the_address_is_refused_and_not_repeated(storage: str) -> None:
    error = refused(storage, by_writing=False)
    assert isinstance(error, ConfigurationError)
    assert "PRI" not in f"{error} {error.hint}"
    assert "AWS_SECRET_ACCESS_KEY" in (error.hint or "")


def test_a_server_that_is_not_there_is_told_within_seconds(keys: None) -> None:
    error = refused("s3://bucket/a?endpoint_override=127.0.0.1:1&scheme=http")
    assert isinstance(error, EnvironmentFault)
    assert "Could not connect" in str(error)
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in f"{error} {error.hint}"


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Of a machine that takes connections and never says a word."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(16)
        yield server.getsockname()[1]


@pytest.mark.slow
def test_a_server_that_never_answers_is_given_up(keys: None, silent_port: int) -> None:
    error = refused(f"s3://bucket/a?endpoint_override=127.0.0.1:{silent_port}&scheme=http")
    assert isinstance(error, EnvironmentFault)


@pytest.mark.slow
def test_who_is_not_let_in_is_told_where_keys_come_from(keys: None) -> None:
    with s3_server(INITIAL_NO_AUTH_ACTION_COUNT="1") as server:  # one request is free: the bucket
        error = refused(server.bucket("theirs"))
    assert isinstance(error, EnvironmentFault)
    assert "ACCESS_DENIED" in str(error)
    assert "AWS_SECRET_ACCESS_KEY" in (error.hint or "")
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in f"{error} {error.hint}"


@pytest.mark.slow
def test_a_bucket_has_to_be_there_and_is_left_as_it_was(s3: S3Server) -> None:
    from dexsearch.training.object_storage import open_storage

    error = refused(s3.uri("nobodys/a"))
    assert isinstance(error, EnvironmentFault)
    assert "no bucket 'nobodys'" in str(error)
    s3.bucket("mine")
    for by_writing in (False, True):
        refuse_unusable_storage(s3.uri("mine/a"), by_writing=by_writing)
    assert open_storage(s3.uri("mine")).filesystem.get_file_info("mine/a/x").size is None


def test_a_folder_is_checked_and_nothing_stays_in_it(tmp_path: Path) -> None:
    refuse_unusable_storage(str(tmp_path / "new"), by_writing=False)
    assert not (tmp_path / "new").exists()
    refuse_unusable_storage(str(tmp_path / "new"), by_writing=True)
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "file").write_text("")
    for by_writing in (False, True):
        error = refused(str(tmp_path / "file"), by_writing=by_writing)
        assert isinstance(error, EnvironmentFault)


@pytest.mark.parametrize("by_writing", [False, True])
@pytest.mark.parametrize(
    "place", ["/proc/nowhere/x", "/sys/nowhere", "file:///proc/nowhere", f"/tmp/{'long' * 100}"]
)
def test_a_folder_that_cannot_be_made_is_told_before_it_is_needed(
    place: str, by_writing: bool
) -> None:
    error = refused(place, by_writing=by_writing)
    assert isinstance(error, EnvironmentFault)
    assert error.hint

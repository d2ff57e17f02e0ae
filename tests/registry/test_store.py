import errno
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from dexsearch.errors import DataError, EnvironmentFault
from dexsearch.inference.package import Package, write_package
from dexsearch.ledger.log import read_events
from dexsearch.registry.record import CHALLENGER, CHAMPION, LOG_NAME, PREVIOUS, read_registry
from dexsearch.registry.store import download, open_log, open_registered, register

MakePackage = Callable[..., Package]


def test_registering_twice_writes_one_version_and_one_alias(
    tmp_path: Path, make_package: MakePackage
) -> None:
    package = make_package(0, 0.8)
    first = register(tmp_path, [package])
    assert register(tmp_path, [package]) == first
    kinds = [event["event"] for event in read_events(tmp_path / LOG_NAME)]
    assert kinds == ["registered", "alias"]


def test_versions_are_numbered_by_name(tmp_path: Path, make_package: MakePackage) -> None:
    packages = [make_package(0, 0.8), make_package(1, 0.7, task="joint"), make_package(2, 0.6)]
    assert [(v.name, v.version) for v in register(tmp_path, packages)] == [
        ("dexsearch-bone", 1),
        ("dexsearch-joint", 1),
        ("dexsearch-bone", 2),
    ]


def test_the_champion_stays_when_a_better_one_is_registered(
    tmp_path: Path, make_package: MakePackage
) -> None:
    register(tmp_path, [make_package(0, 0.8)])
    register(tmp_path, [make_package(1, 0.9)])
    assert read_registry(tmp_path).find("dexsearch-bone").trial == 0


def alias(workspace: Path, name: str = CHALLENGER) -> int | None:
    return read_registry(workspace).aliases.get(("dexsearch-bone", name))


def move(workspace: Path, name: str, version: int | None) -> None:
    with open_log(workspace) as log:
        event = {"event": "alias", "name": "dexsearch-bone", "alias": name}
        log.append({**event, "version": version, "reason": "by a test"})


def test_the_best_newcomer_above_the_champion_becomes_its_challenger(
    tmp_path: Path, make_package: MakePackage
) -> None:
    register(tmp_path, [make_package(0, 0.8)])
    assert alias(tmp_path) is None, "a champion has no challenger of its own"
    register(tmp_path, [make_package(1, 0.85), make_package(2, 0.9), make_package(3, 0.7)])
    assert (alias(tmp_path, CHAMPION), alias(tmp_path)) == (1, 3)
    log = (tmp_path / LOG_NAME).read_bytes()
    register(tmp_path, [make_package(1, 0.85), make_package(2, 0.9)])
    assert (tmp_path / LOG_NAME).read_bytes() == log


def test_a_newcomer_below_the_champion_or_the_challenger_changes_nothing(
    tmp_path: Path, make_package: MakePackage
) -> None:
    register(tmp_path, [make_package(0, 0.8)])
    register(tmp_path, [make_package(1, 0.8)])
    assert alias(tmp_path) is None
    register(tmp_path, [make_package(2, 0.9)])
    register(tmp_path, [make_package(3, 0.85)])
    assert alias(tmp_path) == 3
    register(tmp_path, [make_package(4, 0.95)])
    assert alias(tmp_path) == 5


def test_a_newcomer_of_another_dataset_challenges_nobody(
    tmp_path: Path, make_package: MakePackage
) -> None:
    register(tmp_path, [make_package(0, 0.8)])
    register(tmp_path, [make_package(1, 0.99, dataset="e" * 64)])
    assert alias(tmp_path) is None


def test_who_was_refused_or_rolled_back_does_not_challenge_again(
    tmp_path: Path, make_package: MakePackage
) -> None:
    packages = [make_package(0, 0.8)], [make_package(1, 0.9)], [make_package(2, 0.95)]
    for package in packages[:2]:
        register(tmp_path, package)
    move(tmp_path, CHALLENGER, None)  # somebody decided against it
    register(tmp_path, packages[1])
    assert alias(tmp_path) is None
    register(tmp_path, packages[2])
    move(tmp_path, PREVIOUS, 1)
    move(tmp_path, CHAMPION, 3)
    move(tmp_path, CHALLENGER, None)
    move(tmp_path, CHAMPION, 1)  # rolled back
    register(tmp_path, packages[2])
    assert alias(tmp_path) is None


def test_a_registration_tells_what_its_card_knows(
    tmp_path: Path, make_package: MakePackage
) -> None:
    plain = make_package(0, 0.8)
    latency = {"ms": 1.5, "size_px": [32, 32], "device": "cpu", "threads": 2, "machine": "EPYC"}
    card = replace(
        plain.card, intervals={"val_ssim": [0.7, 0.9]}, n_subjects=5, latency=latency,
        git_commit="abc", trial_config={"seed": 7, "task": "bone"},
    )  # fmt: skip
    package = write_package(
        plain.path.with_name("known"), weights=b"12345", card=card, curve=[],
        draw=lambda folder: None,
    )  # fmt: skip
    (version,) = register(tmp_path, [package])
    assert version == read_registry(tmp_path).versions[0]
    assert (version.head, version.seed, version.git_commit) == ("bone", 7, "abc")
    assert (version.size_bytes, version.n_subjects, version.latency) == (5, 5, latency)
    assert version.scores == card.scores
    assert version.intervals == {"val_ssim": [0.7, 0.9]}


def test_a_registration_of_an_earlier_version_stays_as_it_is(
    tmp_path: Path, make_package: MakePackage
) -> None:
    package = make_package(0, 0.8)
    register(tmp_path, [package])
    log = tmp_path / LOG_NAME
    new = ("head", "scores", "intervals", "n_subjects", "size_bytes", "latency", "seed",
           "git_commit")  # fmt: skip
    events = [
        {key: value for key, value in event.items() if key not in new}
        for event in read_events(log)
    ]
    log.write_text("".join(json.dumps(event) + "\n" for event in events))
    before = log.read_bytes()
    (version,) = register(tmp_path, [package])
    assert (version.head, version.scores, version.latency) == ("", {}, None)
    assert log.read_bytes() == before


def test_wherever_the_disk_fills_up_the_same_call_completes_what_was_begun(
    tmp_path: Path, make_package: MakePackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = [make_package(0, 0.8), make_package(1, 0.7, task="joint"), make_package(2, 0.6)]
    newcomer = make_package(3, 0.9)
    calls = ([*packages], [newcomer])
    for calls_to_write in range(6):  # three versions, two champions; then one and its challenger
        (tmp_path / LOG_NAME).unlink(missing_ok=True)
        for call in calls:
            with full_after(calls_to_write, monkeypatch):
                register(tmp_path, call)
            register(tmp_path, call)
        registry = read_registry(tmp_path)
        told = [(v.name, v.version, v.trial) for v in registry.versions]
        assert told == [
            ("dexsearch-bone", 1, 0), ("dexsearch-joint", 1, 1), ("dexsearch-bone", 2, 2),
            ("dexsearch-bone", 3, 3),
        ]  # fmt: skip
        assert registry.aliases == {
            ("dexsearch-bone", CHAMPION): 1, ("dexsearch-joint", CHAMPION): 1,
            ("dexsearch-bone", CHALLENGER): 3,
        }  # fmt: skip


@contextmanager
def full_after(n_writes: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the log take so many events, half of the next one, and no more; refuse in one line."""
    real, count = os.write, 0

    def write(descriptor: int, content: bytes) -> int:
        nonlocal count
        count += 1
        if count <= n_writes:
            return real(descriptor, content)
        real(descriptor, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    told = ""
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        try:
            yield
        except EnvironmentFault as error:
            told = str(error)
    assert ("No space left on device" in told) == (count > n_writes)


def test_a_crash_before_the_alias_is_healed_by_registering_again(
    tmp_path: Path, make_package: MakePackage
) -> None:
    package = make_package(0, 0.8)
    register(tmp_path, [package])
    log = tmp_path / LOG_NAME
    log.write_text(log.read_text().splitlines(keepends=True)[0] + '{"event": "ali')
    register(tmp_path, [package])
    assert read_registry(tmp_path).find("dexsearch-bone").version == 1


def test_a_package_written_anew_keeps_its_version(
    tmp_path: Path, make_package: MakePackage
) -> None:
    package = make_package(0, 0.8)
    register(tmp_path, [package])
    package.weights.write_bytes(b"flipped")
    new = write_package(
        package.path, weights=b"weights ribs 0 0.8", card=package.card, curve=[],
        draw=lambda folder: None,
    )  # fmt: skip
    (version,) = register(tmp_path, [new])
    assert (version.version, version.sha256) == (1, new.sha256)
    assert len(read_registry(tmp_path).versions) == 1
    assert open_registered(tmp_path, "dexsearch-bone").sha256 == new.sha256


def test_a_workspace_may_move(tmp_path: Path, make_package: MakePackage) -> None:
    register(tmp_path, [make_package(0, 0.8)])
    (tmp_path / "moved").mkdir()
    for name in (LOG_NAME, "mlartifacts"):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    assert open_registered(tmp_path / "moved", "dexsearch-bone").card.trial == 0


def test_a_corrupted_package_is_neither_opened_nor_downloaded(
    tmp_path: Path, make_package: MakePackage
) -> None:
    package = make_package(0, 0.8)
    register(tmp_path, [package])
    package.weights.write_bytes(b"flipped")
    registry = read_registry(tmp_path)
    with pytest.raises(DataError, match=r"weights.safetensors"):
        open_registered(tmp_path, "dexsearch-bone")
    with pytest.raises(DataError, match=r"weights.safetensors"):
        download(registry, registry.versions[0], tmp_path / "out" / "copy")
    assert not (tmp_path / "out").exists()


def test_a_download_holds_weights_config_and_pictures(
    tmp_path: Path, make_package: MakePackage
) -> None:
    register(tmp_path, [make_package(0, 0.8)])
    registry = read_registry(tmp_path)
    copy = download(registry, registry.versions[0], tmp_path / "copy")
    names = {path.relative_to(copy.path).as_posix() for path in copy.path.rglob("*.*")}
    assert {"weights.safetensors", "config.json", "pictures/1-subject.png", "manifest.json"} <= (
        names
    )

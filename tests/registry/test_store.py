from collections.abc import Callable
from pathlib import Path

import pytest

from dexsearch.errors import DataError
from dexsearch.inference.package import Package, write_package
from dexsearch.ledger.log import read_events
from dexsearch.registry.record import LOG_NAME, read_registry
from dexsearch.registry.store import download, open_registered, register

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

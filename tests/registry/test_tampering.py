"""Whoever changes a registered generator is found out, and nothing that they add ever runs."""

import io
import json
import os
import pickle
import random
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dexsearch.durable import file_sha256
from dexsearch.errors import DataError
from dexsearch.inference.package import Package, open_package
from dexsearch.inference.package_copies import copy_package
from dexsearch.inference.predict import load_predictor
from dexsearch.registry.record import read_registry
from dexsearch.registry.store import download, open_registered

sys.path.insert(0, str(Path(__file__).parent / "support"))
from served import register_served

pytestmark = pytest.mark.slow
N_FLIPS = 100
GRAPH = "mlflow/data/model.pt2"
NAME = "dexsearch-joint"


@pytest.fixture(scope="module")
def _served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = tmp_path_factory.mktemp("served")
    register_served(workspace)
    return workspace


@pytest.fixture
def workspace(_served: Path, tmp_path: Path) -> Path:
    """A workspace with one registered generator, for a test to spoil."""
    shutil.copytree(_served, tmp_path / "workspace")
    return tmp_path / "workspace"


@pytest.fixture
def package(workspace: Path) -> Package:
    return open_registered(workspace, NAME)


class Burglar:
    """An object whose unpickling makes a folder."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return (os.mkdir, (str(self._mark),))


def rehash(package: Package) -> None:
    """Let the manifest say what the files are by now, as somebody who knows the format would."""
    manifest = package.path / "manifest.json"
    listing = json.loads(manifest.read_text())
    listing["files"] = {
        path.relative_to(package.path).as_posix(): file_sha256(path)
        for path in package.path.rglob("*")
        if path.is_file() and path != manifest
    }
    manifest.write_text(json.dumps(listing))


def refused_by_its_registered_hash(workspace: Path, tmp_path: Path) -> None:
    registry = read_registry(workspace)
    with pytest.raises(DataError, match="damaged"):
        open_registered(workspace, NAME)
    with pytest.raises(DataError, match="damaged"):
        download(registry, registry.find(NAME), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_hundred_random_flips_of_one_bit_are_all_refused(
    workspace: Path, package: Package
) -> None:
    rng = random.Random(0)
    names = ["weights.safetensors", "config.json", "manifest.json"]
    flipped: dict[str, int] = dict.fromkeys(names, 0)
    for _ in range(N_FLIPS):
        name = rng.choice(names)
        file = package.path / name
        content = bytearray(file.read_bytes())
        place, bit = rng.randrange(len(content)), rng.randrange(8)
        content[place] ^= 1 << bit
        file.write_bytes(content)
        with pytest.raises(DataError, match="damaged"):
            open_registered(workspace, NAME)
        content[place] ^= 1 << bit
        file.write_bytes(content)
        flipped[name] += 1
    assert all(count >= 20 for count in flipped.values())
    assert open_registered(workspace, NAME) == package


@pytest.mark.parametrize("name", [GRAPH, "mlflow/MLmodel", "model_card.md", "curve.json"])
def test_every_other_file_is_watched_too(workspace: Path, package: Package, name: str) -> None:
    file = package.path / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match=name):
        open_registered(workspace, NAME)


def test_a_pickle_as_weights_is_refused_and_never_runs(
    workspace: Path, package: Package, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    for crafted in (pickle.dumps(Burglar(mark)), _torch_pickle(mark)):
        package.weights.write_bytes(crafted)
        rehash(package)
        refused_by_its_registered_hash(workspace, tmp_path)
        with pytest.raises(DataError, match="cannot be loaded"):
            load_predictor(open_package(package.path))
    assert not mark.exists()
    pickle.loads(pickle.dumps(Burglar(mark)))
    assert mark.exists(), "the crafted pickle is none"


def _torch_pickle(mark: Path) -> bytes:
    content = io.BytesIO()
    torch.save(Burglar(mark), content)
    return content.getvalue()


def test_a_crafted_pt2_is_refused_and_never_runs(
    workspace: Path, package: Package, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    graph = package.path / GRAPH
    with zipfile.ZipFile(graph) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    (example,) = [name for name in records if name.endswith("sample_inputs/model.pt")]
    records[example] = _torch_pickle(mark)
    with zipfile.ZipFile(graph, "w", zipfile.ZIP_STORED) as archive:
        for name, content in records.items():
            archive.writestr(name, content)
    rehash(package)
    refused_by_its_registered_hash(workspace, tmp_path)
    unknown = open_package(package.path)  # whoever has no registered hash
    load_predictor(unknown)
    load_predictor(copy_package(unknown.path, tmp_path / "download"))
    assert not mark.exists()


def test_a_hostile_mlmodel_is_refused_and_never_runs(
    workspace: Path, package: Package, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    code = package.path / "mlflow" / "code"
    code.mkdir()
    (code / "burglar.py").write_text(f"open({str(mark)!r}, 'w')\n")
    (package.path / "mlflow" / "MLmodel").write_text(
        "flavors:\n  python_function:\n    loader_module: burglar\n    code: code\n"
        f"    data: !!python/object/apply:builtins.open [{str(mark)!r}, w]\n"
    )
    rehash(package)
    refused_by_its_registered_hash(workspace, tmp_path)
    load_predictor(open_package(package.path))
    load_predictor(copy_package(package.path, tmp_path / "download"))
    assert not mark.exists()
    assert "burglar" not in sys.modules


@pytest.mark.parametrize("name", ["data/model.pth", "data/pickle_module_info.txt", "code/x.py"])
def test_what_is_added_to_the_mlflow_model_is_refused(
    workspace: Path, package: Package, name: str
) -> None:
    """MLflow would take a model.pth, a pickle, instead of the model.pt2 that was hashed."""
    added = package.path / "mlflow" / name
    added.parent.mkdir(exist_ok=True)
    added.write_bytes(b"x")
    with pytest.raises(DataError, match="does not list it"):
        open_registered(workspace, NAME)


def test_what_mlflow_itself_leaves_there_is_no_damage(workspace: Path, package: Package) -> None:
    (package.path / "mlflow" / "registered_model_meta").write_text("model_name: x\n")
    assert open_registered(workspace, NAME) == package


@pytest.mark.parametrize("name", ["weights.safetensors", "mlflow/data", "mlflow", "manifest.json"])
def test_a_symbolic_link_is_refused_though_its_content_is_right(
    workspace: Path, package: Package, tmp_path: Path, name: str
) -> None:
    place = package.path / name
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError):
        open_registered(workspace, NAME)


@pytest.mark.parametrize(
    "name", ["../../registry.jsonl", "/etc/hostname", "mlflow/../../x", "a\\b", "x" * 5000, "a\0b"]
)
def test_a_name_that_leads_elsewhere_is_refused(package: Package, name: str) -> None:
    manifest = package.path / "manifest.json"
    listing = json.loads(manifest.read_text())
    listing["files"][name] = "0" * 64
    manifest.write_text(json.dumps(listing))
    with pytest.raises(DataError, match="damaged"):
        open_package(package.path)

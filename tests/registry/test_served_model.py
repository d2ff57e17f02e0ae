"""The MLflow model of a package: it predicts what dexsearch predicts, and carries nothing else."""

import io
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from dexsearch.inference.package import Package, open_package
from dexsearch.inference.predict import load_predictor
from dexsearch.registry.served_model import write_served_model

sys.path.insert(0, str(Path(__file__).parent / "support"))
from served import make_served

pytestmark = pytest.mark.slow
GRAPH = "mlflow/data/model.pt2"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """One of a head that computes tissue from bone; read only."""
    return make_served(tmp_path_factory.mktemp("served"), task="derive", depth=2)


def test_it_names_no_place_no_time_and_no_subject(package: Package) -> None:
    here = [str(Path(__file__).parents[2]), sys.prefix, str(package.path), str(Path.home())]
    for name in package.files:
        if name.startswith("mlflow/"):
            content = (package.path / name).read_bytes()
            for place in here:
                assert place.encode() not in content, f"{name} names {place}"
    described = yaml.safe_load((package.path / "mlflow" / "MLmodel").read_text())
    assert described["utc_time_created"].startswith("1980-01-01")
    assert described.get("run_id") is None


def test_written_again_it_is_the_same_to_the_last_bit(package: Package, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copyfile(package.weights, copy / package.weights.name)
    write_served_model(Package(copy, package.card, package.files, ""))
    written = {
        path.relative_to(copy).as_posix(): path.read_bytes()
        for path in copy.rglob("*")
        if path.is_file()
    }
    assert set(written) == {n for n in package.files if n.startswith("mlflow/")} | {
        "weights.safetensors"
    }
    for name, content in written.items():
        assert content == (package.path / name).read_bytes(), name


def test_its_signature_takes_any_number_of_images_of_any_size(package: Package) -> None:
    described = yaml.safe_load((package.path / "mlflow" / "MLmodel").read_text())
    shapes = {
        side: [spec["tensor-spec"]["shape"] for spec in json.loads(described["signature"][side])]
        for side in ("inputs", "outputs")
    }
    assert shapes == {"inputs": [[-1, 1, -1, -1]], "outputs": [[-1, 2, -1, -1]]}
    assert described["metadata"]["size_multiple_px"] == 4
    assert described["metadata"]["units"] == package.card.units
    assert "not for diagnosis" in described["metadata"]["disclaimer"]
    assert described["flavors"]["python_function"]["config"] == {"device": "cpu"}


def test_the_only_pickle_of_the_graph_is_the_example_and_holds_tensors(package: Package) -> None:
    with zipfile.ZipFile(package.path / GRAPH) as archive:
        for name in archive.namelist():
            content = archive.read(name)
            if re.search(r"/data/(weights|constants)/(weight|tensor)_\d+$", name):
                continue  # raw numbers, as the configuration beside them says
            if name.endswith("/data/sample_inputs/model.pt"):
                (example,), _ = torch.load(io.BytesIO(content), weights_only=True)
                assert example.shape == (2, 1, 12, 8)
                continue
            assert not content.startswith((b"\x80", b"PK")), name
        for name in archive.namelist():
            if name.endswith("_config.json"):
                entries = json.loads(archive.read(name))["config"].values()
                assert not any(entry["use_pickle"] for entry in entries)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("shape", [(1, 1, 32, 32), (3, 1, 48, 20), (2, 1, 8, 100)])
def test_mlflow_predicts_what_dexsearch_predicts(
    package: Package, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import pyfunc

    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    images = np.random.default_rng(0).uniform(0, 6, shape).astype(np.float32)
    model = pyfunc.load_model(str(package.path / "mlflow"))
    expected = load_predictor(open_package(package.path)).predict_batch(torch.from_numpy(images))
    np.testing.assert_allclose(model.predict(images), expected.numpy(), atol=1e-4)


def test_the_code_of_the_model_card_runs_without_dexsearch(package: Package) -> None:
    text = (package.path / "model_card.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    told = "print(tuple(bone.shape), tuple(tissue.shape), float(bone.abs().max()) > 0)\n"
    alone = "import sys\nsys.modules['dexsearch'] = sys.modules['mlflow'] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", alone + code + told],
        cwd=package.path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(16, 24) (16, 24) True"

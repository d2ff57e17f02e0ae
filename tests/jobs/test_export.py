"""A generator as a file for people without dexsearch: checked, described, whole or absent."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from typer.testing import CliRunner

from dexsearch.cli.app import app
from dexsearch.errors import ConfigurationError, DataError, EnvironmentFault, NotRegistered
from dexsearch.inference import agreement
from dexsearch.inference.agreement import largest_difference
from dexsearch.inference.formats import ExportFormat, chosen_format
from dexsearch.inference.package import Package
from dexsearch.inference.predict import load_predictor
from dexsearch.jobs.export import export_model
from dexsearch.registry.store import package_folder, register
from tests.inference import samples

IMAGES = 3 + 1.5 * torch.randn(2, 1, 20, 28, generator=torch.Generator().manual_seed(9))


@pytest.fixture
def package(tmp_path: Path) -> Package:
    """A registered generator of depth 2, in `tmp_path`."""
    made: Package = samples.make_package(package_folder(tmp_path, "g"), depth=2)
    register(tmp_path, [made])
    return made


def in_silence(text: str) -> None:
    pass


def expected(package: Package) -> np.ndarray:
    return load_predictor(package).predict_batch(IMAGES).numpy()


def check_facts(facts: dict[str, str], package: Package) -> None:
    assert facts["model"] == "dexsearch-joint"
    assert facts["version"] == "1"
    assert facts["weights_sha256"] == package.files["weights.safetensors"]
    assert "not for diagnosis" in facts["disclaimer"]
    assert json.loads(facts["target_units"]) == {"bone": "cm", "tissue": "cm"}
    assert facts["input_unit"] == "log"
    assert facts["multiple_px"] == "4"


@pytest.mark.slow
def test_an_onnx_file_answers_alike_and_says_what_it_is(package: Package, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    told: list[str] = []
    done = export_model(
        "dexsearch-joint@champion", tmp_path / "out" / "g.onnx", ExportFormat.ONNX,
        workspace=tmp_path, tell=told.append,
    )  # fmt: skip
    assert (done.model, done.version, done.multiple_px) == ("dexsearch-joint", 1, 4)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["g.onnx"]
    session = onnxruntime.InferenceSession(done.file)
    (found,) = session.run(None, {"image": IMAGES.numpy()})
    wanted = expected(package)
    np.testing.assert_allclose(found, wanted, atol=1e-5 * float(np.abs(wanted).max()))
    assert session.get_inputs()[0].shape == ["batch", 1, "height", "width"]
    assert session.get_outputs()[0].shape == ["batch", 2, "height", "width"]
    check_facts(dict(session.get_modelmeta().custom_metadata_map), package)
    assert b"site-packages" not in Path(done.file).read_bytes(), "no folder of this machine"
    assert "next: onnxruntime" in "\n".join(told)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["derive", "instance, per image"])
def test_every_kind_of_layer_goes_into_onnx(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("onnxruntime")
    settings: dict[str, object] = {"norm": "instance", "input_normalization": "per_image"}
    if kind == "derive":
        settings = {"task": "derive", "output": "residual", "kernel_px": 3}
    package = samples.make_package(tmp_path / "g", depth=1, **settings)
    done = export_model(
        str(package.path), tmp_path / "g.onnx", ExportFormat.ONNX, workspace=tmp_path,
        tell=in_silence,
    )  # fmt: skip
    assert done.version is None
    assert 0 <= done.largest_difference < 1e-5


def test_a_pt2_file_answers_alike_and_says_what_it_is(package: Package, tmp_path: Path) -> None:
    done = export_model(
        "dexsearch-joint", tmp_path / "g.pt2", ExportFormat.PT2, workspace=tmp_path,
        tell=in_silence,
    )  # fmt: skip
    extra = {"dexsearch.json": ""}
    program = torch.export.load(done.file, extra_files=extra)
    with torch.no_grad():
        found = program.module()(IMAGES).numpy()
    wanted = expected(package)
    np.testing.assert_allclose(found, wanted, atol=1e-5 * float(np.abs(wanted).max()))
    check_facts(json.loads(extra["dexsearch.json"]), package)


def test_a_safetensors_file_holds_the_same_weights_and_says_what_they_are(
    package: Package, tmp_path: Path
) -> None:
    done = export_model(
        "dexsearch-joint/1", tmp_path / "g.safetensors", ExportFormat.SAFETENSORS,
        workspace=tmp_path, tell=in_silence,
    )  # fmt: skip
    weights, copied = load_file(package.weights), load_file(done.file)
    assert set(weights) == set(copied)
    assert all(torch.equal(weights[name], copied[name]) for name in weights)
    with safe_open(done.file, "pt") as file:
        check_facts(file.metadata(), package)
        assert json.loads(file.metadata()["generator"])["depth"] == 2


def test_a_file_whose_answers_differ_never_gets_its_name(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "g.pt2").write_bytes(b"the one of yesterday")
    monkeypatch.setattr(agreement, "TOLERANCE", 1e-12)
    with pytest.raises(EnvironmentFault, match="differs from the generator"):
        export_model(
            "dexsearch-joint", tmp_path / "g.pt2", ExportFormat.PT2, workspace=tmp_path,
            tell=in_silence,
        )  # fmt: skip
    assert (tmp_path / "g.pt2").read_bytes() == b"the one of yesterday"
    assert list(tmp_path.glob("*partial*")) == []


@pytest.mark.parametrize("answer", [lambda x: x, lambda x: torch.cat((x, x), 1) * torch.nan])
def test_wrong_answers_are_found(package: Package, answer: agreement.Answer) -> None:
    with pytest.raises(EnvironmentFault, match="differs from the generator"):
        largest_difference(package, answer)


def test_without_onnx_the_command_that_installs_it_is_told(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "dexsearch.inference.onnx_file.find_spec", lambda name: None if name == "onnx" else name
    )
    with pytest.raises(
        EnvironmentFault, match="ONNX needs onnx, which is not installed"
    ) as caught:
        export_model(
            "dexsearch-joint", tmp_path / "g.onnx", ExportFormat.ONNX, workspace=tmp_path,
            tell=in_silence,
        )  # fmt: skip
    assert "pip install 'dexsearch[onnx]'" in str(caught.value.hint)
    assert list(tmp_path.glob("g.onnx*")) == []


def test_the_suffix_says_which_format() -> None:
    assert chosen_format(Path("a.ONNX"), None) is ExportFormat.ONNX
    assert chosen_format(Path("a.pt2"), ExportFormat.PT2) is ExportFormat.PT2
    assert chosen_format(Path("a.bin"), ExportFormat.SAFETENSORS) is ExportFormat.SAFETENSORS
    with pytest.raises(ConfigurationError, match="does not say which format"):
        chosen_format(Path("generator"), None)
    with pytest.raises(ConfigurationError, match="says onnx, but --format says pt2"):
        chosen_format(Path("a.onnx"), ExportFormat.PT2)


def test_what_is_not_there_or_damaged_is_not_exported(package: Package, tmp_path: Path) -> None:
    def export(model: str, out: Path) -> None:
        export_model(model, out, ExportFormat.SAFETENSORS, workspace=tmp_path, tell=in_silence)

    with pytest.raises(NotRegistered):
        export("dexsearch-joint/7", tmp_path / "g.safetensors")
    with pytest.raises(ConfigurationError, match="it is a folder"):
        export("dexsearch-joint", tmp_path)
    with pytest.raises(ConfigurationError, match="folder of the generator itself"):
        export("dexsearch-joint", package.weights)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match="cannot write"):
        export("dexsearch-joint", tmp_path / "thesis.txt" / "g.safetensors")
    package.weights.write_bytes(b"flipped")
    with pytest.raises(DataError, match="damaged"):
        export("dexsearch-joint", tmp_path / "g.safetensors")
    assert not (tmp_path / "g.safetensors").exists()


def test_a_downloaded_folder_knows_the_version_that_it_is(
    package: Package, tmp_path: Path
) -> None:
    other = samples.make_package(tmp_path / "elsewhere", depth=1)
    for folder, version in ((package.path, 1), (other.path, None)):
        done = export_model(
            str(folder), tmp_path / "g.safetensors", ExportFormat.SAFETENSORS,
            workspace=tmp_path, tell=in_silence,
        )  # fmt: skip
        assert done.version == version


def test_the_command_prints_the_file_and_nothing_else(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["export", "dexsearch-joint", "g.safetensors", "--workspace", str(tmp_path)]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0
    assert shown.stdout == "g.safetensors\n"
    assert "not for diagnosis" in shown.stderr

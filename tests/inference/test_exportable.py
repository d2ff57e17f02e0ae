"""The network for people without dexsearch equals the predictor, at sizes it never saw."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dexsearch.inference.exportable import (
    example_images,
    export_pt2,
    exportable,
    multiple_px,
)
from dexsearch.inference.package import Package
from dexsearch.inference.predict import load_predictor
from tests.inference import samples

KINDS = {
    "batch": {"norm": "batch", "depth": 3},
    "instance": {"norm": "instance", "depth": 3},
    "no norm, residual, kernel of 3": {
        "norm": "none", "depth": 2, "kernel_px": 3, "output": "residual",
    },
    "per image": {"norm": "batch", "depth": 2, "input_normalization": "per_image"},
    "bone": {"task": "bone", "depth": 2},
    "derive": {"task": "derive", "depth": 2},
    "derive per image": {
        "task": "derive", "depth": 1, "norm": "instance", "input_normalization": "per_image",
    },
}  # fmt: skip
SIZES = ((1, 2, 2), (1, 5, 2), (3, 2, 7), (5, 4, 4))  # batch; height and width in multiples


def images(package: Package, batch: int, height: int, width: int) -> torch.Tensor:
    step, rng = multiple_px(package), torch.Generator().manual_seed(5)
    return 3 + 1.5 * torch.randn(batch, 1, height * step, width * step, generator=rng)


@pytest.fixture(params=KINDS.values(), ids=list(KINDS))
def package(request: pytest.FixtureRequest, tmp_path: Path) -> Package:
    made: Package = samples.make_package(tmp_path / "generator", **request.param)
    return made


def test_the_exported_file_answers_what_the_predictor_answers(
    package: Package, tmp_path: Path
) -> None:
    export_pt2(package, tmp_path / "model.pt2")
    network = torch.export.load(tmp_path / "model.pt2").module()
    predictor = load_predictor(package)
    for size in SIZES:
        x = images(package, *size)
        expected = predictor.predict_batch(x)
        with torch.no_grad():
            found = network(x)
        assert found.shape == expected.shape
        scale = float(expected.abs().max())
        np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=2e-6 * scale, rtol=0)


def test_the_network_in_memory_answers_the_same(package: Package) -> None:
    network, predictor = exportable(package), load_predictor(package)
    assert not network.training
    x = images(package, 2, 3, 2)
    with torch.no_grad():
        found = network(x)
    expected = predictor.predict_batch(x)
    scale = float(expected.abs().max())
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=2e-6 * scale, rtol=0)


@pytest.mark.parametrize("size", [(32, 33), (31, 32), (8, 32)])
def test_a_size_that_is_no_multiple_is_refused_instead_of_answered(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    package = samples.make_package(tmp_path / "generator", depth=3)
    export_pt2(package, tmp_path / "model.pt2")
    network = torch.export.load(tmp_path / "model.pt2").module()
    with pytest.raises(AssertionError, match="Guard failed"), torch.no_grad():
        network(torch.zeros(1, 1, *size))


def test_the_example_is_noise_of_two_images_higher_than_wide(tmp_path: Path) -> None:
    package = samples.make_package(tmp_path / "generator", depth=3)
    example = example_images(package)
    assert multiple_px(package) == 8
    assert example.shape == (2, 1, 24, 16)
    assert float(example.mean()) == pytest.approx(3.0, abs=0.2)
    assert float(example.std()) == pytest.approx(1.5, abs=0.2)

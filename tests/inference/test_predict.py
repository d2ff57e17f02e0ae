from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from dexsearch.config.trial import TrialConfig
from dexsearch.errors import DataError
from dexsearch.inference.package import GeneratorCard, Package, write_package
from dexsearch.inference.predict import Predictor, load_predictor, match_grey_levels
from dexsearch.models.generator import build_generator
from dexsearch.models.padding import crop_images, pad_images
from dexsearch.training.normalization import Normalization

NORMALIZATION = Normalization("absolute", mean=2.0, std=0.5, data_ranges=(3.0, 20.0))


def make_package(path: Path, *, depth: int = 3, mode: str = "absolute") -> Package:
    config = TrialConfig.model_validate(
        {"generator": {"depth": depth, "width": 4, "output": "plain", "input_normalization": mode}}
    )
    generator = build_generator(config.generator, n_targets=2)
    values = {**NORMALIZATION.as_dict(), "mode": mode}
    card = GeneratorCard(
        task="joint", targets=("bone", "tissue"), trial_config=config.model_dump(mode="json"),
        normalization=values, units={"bone": "cm"}, study="s", trial=0, params={},
        objective="val_ssim", epochs=1, n_parameters=1, dataset="d", size_px=(32, 32),
        pixel_mm=None, metric=1, scores={"val_ssim": 0.5}, baselines={}, libraries={},
    )  # fmt: skip
    weights = save({k: v.contiguous() for k, v in generator.state_dict().items()})
    return write_package(path, weights=weights, card=card, curve=[], draw=lambda folder: None)


@pytest.fixture
def predictor(tmp_path: Path) -> Predictor:
    return load_predictor(make_package(tmp_path / "generator"))


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (1, 1), (5, 200), (16, 8), (257, 3)])
def test_any_height_and_width_comes_back(predictor: Predictor, size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).normal(2, 0.5, size).astype(np.float32)
    predicted = predictor.predict(image)
    assert list(predicted) == ["bone", "tissue"]
    for values in predicted.values():
        assert values.shape == size
        assert values.dtype == np.float32
        assert np.isfinite(values).all()


def test_a_prediction_is_the_generator_between_the_two_normalisations(
    predictor: Predictor,
) -> None:
    image = np.random.default_rng(1).normal(2, 0.5, (30, 42)).astype(np.float32)
    x = (torch.from_numpy(image)[None, None] - 2.0) / 0.5
    with torch.no_grad():
        padded = pad_images(x, depth=3).contiguous(memory_format=torch.channels_last)
        output = crop_images(predictor.generator(padded), (30, 42))[0].numpy()
    predicted = predictor.predict(image)
    for channel, (target, data_range) in enumerate({"bone": 3.0, "tissue": 20.0}.items()):
        expected = output[channel] * np.float32(data_range)
        np.testing.assert_allclose(predicted[target], expected, atol=1e-6 * data_range)


def test_predicting_twice_gives_the_same_bits(predictor: Predictor) -> None:
    image = np.random.default_rng(2).normal(2, 0.5, (40, 40)).astype(np.float32)
    first, second = predictor.predict(image), predictor.predict(image.copy())
    np.testing.assert_array_equal(first["bone"], second["bone"])


@pytest.mark.parametrize("image", [np.zeros((2, 3, 4), np.float32), np.zeros((0, 4), np.float32)])
def test_what_is_no_image_is_refused(predictor: Predictor, image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="height x width"):
        predictor.predict(image)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_pixel_that_is_no_number_is_refused(predictor: Predictor, value: float) -> None:
    image = np.ones((16, 16), np.float32)
    image[3, 4] = value
    with pytest.raises(ValueError, match="NaN or Inf"):
        predictor.predict(image)


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    package = make_package(tmp_path / "generator", depth=3)
    config = {**package.card.trial_config}
    config["generator"] = {**config["generator"], "depth": 4}
    other = replace(package, card=replace(package.card, trial_config=config))
    with pytest.raises(DataError, match="cannot be loaded"):
        load_predictor(other)


@pytest.mark.parametrize("inversion", [None, {}, {"kvp": 120.0, "coefficients": [["a"]]}])
def test_a_derived_head_without_a_whole_inversion_is_refused(
    tmp_path: Path, inversion: dict[str, object] | None
) -> None:
    package = make_package(tmp_path / "generator")
    config = {**package.card.trial_config, "task": "derive"}
    card = replace(package.card, trial_config=config, inversion=inversion)
    with pytest.raises(DataError, match="cannot be loaded"):
        load_predictor(replace(package, card=card))


def test_a_pickle_instead_of_weights_is_refused(tmp_path: Path) -> None:
    package = make_package(tmp_path / "generator")
    torch.save({"last.weight": torch.zeros(1)}, package.weights)
    with pytest.raises(DataError, match="cannot be loaded"):
        load_predictor(package)


def test_grey_levels_take_the_mean_and_spread_of_training_bodies() -> None:
    rng = np.random.default_rng(3)
    body = rng.normal(2.0, 0.5, (64, 64)).clip(1.0, 4.0)
    image = np.where(np.indices((64, 64))[1] < 16, 0.0, body).astype(np.float32)
    grey = np.round(image * 10_000).astype(np.float32)
    matched = match_grey_levels(grey, NORMALIZATION)
    inside = matched[:, 16:]
    assert inside.mean() == pytest.approx(2.0, abs=1e-3)
    assert inside.std() == pytest.approx(0.5, abs=1e-3)


def test_one_grey_level_becomes_the_training_mean() -> None:
    matched = match_grey_levels(np.full((8, 8), 7.0, np.float32), NORMALIZATION)
    np.testing.assert_array_equal(matched, np.full((8, 8), 2.0, np.float32))

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save

from dexsearch.config.trial import TrialConfig
from dexsearch.errors import DataError, NotRegistered
from dexsearch.images.reading import read_image
from dexsearch.inference.package import GeneratorCard, write_package
from dexsearch.jobs.predict import Options, Prediction, predict_image
from dexsearch.models.generator import build_generator
from dexsearch.registry.store import package_folder, register


def make_workspace(workspace: Path, mode: str = "absolute") -> Path:
    config = TrialConfig.model_validate(
        {"generator": {"depth": 2, "width": 4, "output": "plain", "input_normalization": mode}}
    )
    generator = build_generator(config.generator, n_targets=2)
    card = GeneratorCard(
        task="joint", targets=("bone", "tissue"), trial_config=config.model_dump(mode="json"),
        normalization={"mode": mode, "mean": 3.0, "std": 0.8, "data_ranges": [2.0, 16.0]},
        units={"input": "-ln(I/I0)", "bone": "cm", "tissue": "cm"},
        study="ribs", trial=1, params={},
        objective="val_ssim", epochs=1, n_parameters=1, dataset="d", size_px=(32, 32),
        pixel_mm=None, metric=1,
        scores={"val_ssim": 0.5, "val_ssim_bone": 0.5, "val_ssim_tissue": 0.5},
        baselines={}, libraries={},
    )  # fmt: skip
    weights = save({k: v.contiguous() for k, v in generator.state_dict().items()})
    package = write_package(
        package_folder(workspace, "0" * 16), weights=weights, card=card, curve=[],
        draw=lambda folder: None,
    )  # fmt: skip
    register(workspace, [package])
    return package.path


def predict(
    workspace: Path, image: Path, output: Path, model: str = "dexsearch-joint",
    options: Options | None = None,
) -> tuple[Prediction, list[str]]:  # fmt: skip
    told: list[str] = []
    done = predict_image(
        model, image, output, workspace=workspace, tell=told.append, options=options
    )
    return done, told


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "chest.npy"
    np.save(path, np.random.default_rng(0).normal(3, 0.8, (37, 50)))
    return path


@pytest.mark.parametrize(
    "model", ["dexsearch-joint", "dexsearch-joint@champion", "dexsearch-joint/1", "folder"]
)
def test_a_model_is_found_by_name_alias_version_or_folder(
    tmp_path: Path, image: Path, model: str
) -> None:
    folder = make_workspace(tmp_path / "w")
    name = str(folder) if model == "folder" else model
    done, told = predict(tmp_path / "w", image, tmp_path / "out", name)
    assert [file.name for file in done.files] == [
        "chest_bone.npy", "chest_bone.png", "chest_tissue.npy", "chest_tissue.png",
    ]  # fmt: skip
    for file in done.files:
        assert read_image(file).shape == (37, 50)
    assert told[-1] == "research software, not for diagnosis"


def test_a_path_with_suffix_is_a_stem(tmp_path: Path, image: Path) -> None:
    make_workspace(tmp_path / "w")
    done, _ = predict(tmp_path / "w", image, tmp_path / "new" / "mine.png")
    assert done.files[0] == tmp_path / "new" / "mine_bone.npy"


def test_grey_levels_of_a_tiff_count_like_those_of_a_png(tmp_path: Path) -> None:
    make_workspace(tmp_path / "w")
    levels = np.random.default_rng(1).integers(0, 60_000, (32, 32)).astype(np.uint16)
    pictures = {}
    for suffix in (".png", ".tif"):
        Image.fromarray(levels).save(tmp_path / f"chest{suffix}")
        pictures[suffix], told = predict(
            tmp_path / "w", tmp_path / f"chest{suffix}", tmp_path / suffix[1:]
        )
        assert any("grey levels have no unit" in line for line in told)
    png, tif = (read_image(done.files[0]) for done in pictures.values())
    assert np.array_equal(png, tif)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_levels_of_a_png_are_brought_to_the_training_scale(
    tmp_path: Path, dtype: type[np.unsignedinteger]
) -> None:
    make_workspace(tmp_path / "w")
    body = np.random.default_rng(1).normal(3, 0.8, (40, 40)).clip(0.5, 6)
    levels = ((body - 0.5) / 5.5 * 0.9 + 0.1) * np.iinfo(dtype).max
    Image.fromarray(levels.astype(dtype)).save(tmp_path / "chest.png")
    np.save(tmp_path / "same.npy", body)
    from_png, told = predict(tmp_path / "w", tmp_path / "chest.png", tmp_path / "out",
                             options=Options(kind="npy"))  # fmt: skip
    from_npy, _ = predict(tmp_path / "w", tmp_path / "same.npy", tmp_path / "out")
    assert "no unit" in told[0]
    difference = read_image(from_png.files[2]) - read_image(from_npy.files[2])
    assert np.abs(difference).max() < 0.15 * np.abs(read_image(from_npy.files[2])).max()


def test_a_per_image_model_takes_grey_levels_as_they_are(tmp_path: Path) -> None:
    make_workspace(tmp_path / "w", mode="per_image")
    levels = np.random.default_rng(1).integers(0, 255, (32, 32), dtype=np.uint8)
    Image.fromarray(levels).save(tmp_path / "a.png")
    np.save(tmp_path / "b.npy", levels * 7.0)
    from_png, _ = predict(
        tmp_path / "w", tmp_path / "a.png", tmp_path / "out", options=Options(kind="npy")
    )
    from_npy, _ = predict(tmp_path / "w", tmp_path / "b.npy", tmp_path / "out")
    np.testing.assert_allclose(
        read_image(from_png.files[0]), read_image(from_npy.files[0]), atol=1e-4
    )


def test_numbers_of_another_unit_are_warned_about(tmp_path: Path) -> None:
    make_workspace(tmp_path / "w")
    np.save(tmp_path / "counts.npy", np.random.default_rng(0).integers(0, 65535, (32, 32)))
    _, told = predict(tmp_path / "w", tmp_path / "counts.npy", tmp_path / "out")
    assert told[0].startswith("warning: counts.npy: pixels of ")
    assert "far from the training inputs (mean 3, spread 0.8" in told[0]


def test_a_model_without_a_name_is_not_registered(tmp_path: Path, image: Path) -> None:
    make_workspace(tmp_path / "w")
    with pytest.raises(NotRegistered):
        predict(tmp_path / "w", image, tmp_path / "out", "")


def test_an_unknown_model_lists_the_known_ones(tmp_path: Path, image: Path) -> None:
    make_workspace(tmp_path / "w")
    with pytest.raises(NotRegistered, match="known names: dexsearch-joint") as caught:
        predict(tmp_path / "w", image, tmp_path / "out", "dexsearch-jiont@champion")
    assert caught.value.hint == "did you mean 'dexsearch-joint@champion'?"
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_package_is_refused(tmp_path: Path, image: Path) -> None:
    with pytest.raises(DataError, match="no generator package"):
        predict(tmp_path / "w", image, tmp_path / "out", str(tmp_path))


def test_bad_input_writes_nothing(tmp_path: Path, image: Path) -> None:
    folder = make_workspace(tmp_path / "w")
    np.save(tmp_path / "nan.npy", np.full((8, 8), np.nan))
    with pytest.raises(DataError, match="NaN"):
        predict(tmp_path / "w", tmp_path / "nan.npy", tmp_path / "out")
    (folder / "weights.safetensors").write_bytes(b"flipped")
    with pytest.raises(DataError, match=r"weights.safetensors"):
        predict(tmp_path / "w", image, tmp_path / "out")
    assert not (tmp_path / "out").exists()

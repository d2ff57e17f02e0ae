import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dexsearch.config.trial import TrialConfig
from dexsearch.durable import file_sha256
from dexsearch.errors import ConfigurationError, DataError
from dexsearch.inference.card import card_from
from dexsearch.inference.package import (
    GeneratorCard,
    Package,
    open_package,
    write_package,
)
from dexsearch.inference.package_copies import copy_package

CARD = GeneratorCard(
    task="bone",
    targets=("bone",),
    trial_config={"task": "bone", "seed": 3},
    normalization={"mode": "absolute", "mean": 1.0, "std": 0.5, "data_ranges": [2.0]},
    units={"input": "1", "bone": "cm"},
    study="ribs",
    trial=4,
    params={"generator.depth": 3},
    objective="val_ssim",
    epochs=2,
    n_parameters=10,
    dataset="d" * 64,
    size_px=(32, 48),
    pixel_mm=None,
    metric=1,
    scores={"val_ssim": 0.9, "val_ssim_bone": 0.9, "val_ssim_tissue": None},
    baselines={"constant": {"bone": 0.3}},
    libraries={"torch": "2"},
)


def draw(folder: Path) -> None:
    (folder / "pictures").mkdir()
    (folder / "pictures" / "1-subject.png").write_bytes(b"png")
    (folder / "curve.png").write_bytes(b"curve")


def make(path: Path) -> Package:
    return write_package(path, weights=b"weights", card=CARD, curve=[{"epoch": 1}], draw=draw)


def test_a_package_reads_as_it_was_written(tmp_path: Path) -> None:
    package = make(tmp_path / "generator")
    assert package == open_package(tmp_path / "generator", sha256=package.sha256)
    assert package.card == CARD
    assert set(package.files) == {
        "weights.safetensors", "config.json", "curve.json", "curve.png", "pictures/1-subject.png",
        "model_card.md",
    }  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["generator"]


def test_writing_an_intact_package_again_leaves_it_alone(tmp_path: Path) -> None:
    first = make(tmp_path / "generator")
    again = write_package(tmp_path / "generator", weights=b"other", card=CARD, curve=[], draw=draw)
    assert again == first


def test_a_damaged_package_is_written_anew(tmp_path: Path) -> None:
    package = make(tmp_path / "generator")
    package.weights.write_bytes(b"flipped")
    assert make(tmp_path / "generator") == package


def test_a_failing_picture_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        raise ValueError("no rows")

    with pytest.raises(ValueError, match="no rows"):
        write_package(tmp_path / "g", weights=b"w", card=CARD, curve=[], draw=fail)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["weights.safetensors", "config.json", "pictures/1-subject.png"])
def test_one_flipped_bit_is_found_and_named(tmp_path: Path, name: str) -> None:
    package = make(tmp_path / "generator")
    file = package.path / name
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match=name) as caught:
        open_package(package.path)
    assert caught.value.exit_code == 7


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    package = make(tmp_path / "generator")
    (package.path / "curve.png").unlink()
    with pytest.raises(DataError, match=r"curve.png.*missing"):
        open_package(package.path)


def test_a_manifest_changed_with_its_files_is_found_by_the_registered_hash(
    tmp_path: Path,
) -> None:
    package = make(tmp_path / "generator")
    manifest = package.path / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    open_package(package.path)
    with pytest.raises(DataError, match=r"manifest.json"):
        open_package(package.path, sha256=package.sha256)


@pytest.mark.parametrize("name", ["../stolen", "/etc/passwd", "a/../../stolen"])
def test_a_manifest_that_names_files_outside_is_refused(tmp_path: Path, name: str) -> None:
    package = make(tmp_path / "generator")
    manifest = package.path / "manifest.json"
    listing = json.loads(manifest.read_text())
    listing["files"][name] = "0" * 64
    manifest.write_text(json.dumps(listing))
    with pytest.raises(DataError, match="outside the package"):
        open_package(package.path)


def test_a_link_out_of_the_package_is_refused(tmp_path: Path) -> None:
    package = make(tmp_path / "generator")
    (tmp_path / "copy").write_bytes(b"weights")
    package.weights.unlink()
    package.weights.symlink_to(tmp_path / "copy")
    with pytest.raises(DataError, match=r"weights.safetensors"):
        open_package(package.path)


@pytest.mark.parametrize("text", ["", "[]", '{"format": 1}', "{" * 100_000])
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    package = make(tmp_path / "generator")
    (package.path / "manifest.json").write_text(text)
    with pytest.raises(DataError):
        open_package(package.path)


def test_a_folder_without_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a generator package"):
        open_package(tmp_path)


def test_a_copy_equals_the_original(tmp_path: Path) -> None:
    package = make(tmp_path / "generator")
    copy = copy_package(package.path, tmp_path / "out" / "copy", sha256=package.sha256)
    assert replace(copy, path=package.path) == package
    assert copy_package(package.path, tmp_path / "out" / "copy") == copy


def test_copying_into_an_empty_folder_is_allowed(tmp_path: Path) -> None:
    package = make(tmp_path / "generator")
    (tmp_path / "copy").mkdir()
    assert copy_package(package.path, tmp_path / "copy").sha256 == package.sha256


def test_copying_over_something_else_is_refused(tmp_path: Path) -> None:
    package = make(tmp_path / "generator")
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match="not empty"):
        copy_package(package.path, tmp_path / "copy")
    assert (tmp_path / "copy" / "thesis.txt").read_text() == "mine"


def test_a_damaged_package_is_not_copied(tmp_path: Path) -> None:
    package = make(tmp_path / "generator")
    package.weights.write_bytes(b"flipped")
    with pytest.raises(DataError):
        copy_package(package.path, tmp_path / "copy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["generator"]


def test_the_content_hash_ignores_library_versions_only() -> None:
    same = replace(CARD, libraries={"torch": "3"})
    other = replace(CARD, trial=5)
    assert CARD.content_hash("w") == same.content_hash("w")
    assert CARD.content_hash("w") != other.content_hash("w")
    assert CARD.content_hash("w") != CARD.content_hash("v")


def test_two_writers_of_one_package_both_get_it(tmp_path: Path) -> None:
    first: list[Package] = []

    def draw_while_another_finishes(folder: Path) -> None:
        draw(folder)
        folder.rename(tmp_path / "mine")
        first.append(make(tmp_path / "generator"))
        (tmp_path / "mine").rename(folder)

    slower = write_package(
        tmp_path / "generator", weights=b"weights", card=CARD, curve=[{"epoch": 1}],
        draw=draw_while_another_finishes,
    )  # fmt: skip
    assert [slower] == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["generator"]


@pytest.mark.parametrize(
    ("key", "value"),
    [("targets", 5), ("targets", [5]), ("size_px", [32]), ("scores", []), ("task", None),
     ("epochs", "2"), ("pixel_mm", "x"), ("inversion", [1])],
)  # fmt: skip
def test_a_configuration_of_the_wrong_types_is_refused_though_its_hashes_agree(
    tmp_path: Path, key: str, value: object
) -> None:
    package = make(tmp_path / "generator")
    config, manifest = package.path / "config.json", package.path / "manifest.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), key: value}))
    listing = json.loads(manifest.read_text())
    listing["files"]["config.json"] = file_sha256(config)
    manifest.write_text(json.dumps(listing))
    with pytest.raises(DataError, match=f"config.json.*{key}"):
        open_package(package.path)


def make_format_1(path: Path) -> dict[str, Any]:
    """Make a package as earlier versions wrote it; return its configuration."""
    package = make(path)
    config, manifest = package.path / "config.json", package.path / "manifest.json"
    newer = {"inversion", "cohort", "subjects", "images", "split", "intervals", "n_subjects",
             "latency", "machine", "git_commit", "trained_with"}  # fmt: skip
    values = {k: v for k, v in json.loads(config.read_text()).items() if k not in newer}
    values["format"] = 1
    config.write_text(json.dumps(values))
    (path / "model_card.md").unlink()
    listing = json.loads(manifest.read_text())
    del listing["files"]["model_card.md"]
    listing["format"] = 1
    listing["files"]["config.json"] = file_sha256(config)
    manifest.write_text(json.dumps(listing))
    return values


def test_a_package_of_an_earlier_version_opens_and_keeps_its_name(tmp_path: Path) -> None:
    values = make_format_1(tmp_path / "generator")
    assert open_package(tmp_path / "generator").card == replace(CARD, format=1)
    named = {key: value for key, value in values.items() if key != "libraries"}
    text = json.dumps({**named, "weights": "w"}, sort_keys=True)
    assert CARD.content_hash("w") == hashlib.sha256(text.encode()).hexdigest()[:16]


OLD_CARD = """
{"task": "joint", "targets": ["bone", "tissue"], "trial_config": {"task": "joint", "generator":
{"depth": 3, "width": 16, "norm": "batch", "kernel_px": 4, "output": "residual",
"input_normalization": "absolute"}, "discriminator": {"patch_px": 34, "width": 16, "norm":
"batch"}, "loss": {"adversarial": "hinge", "l1_weight": 100.0}, "optimizer": {"learning_rate":
0.001, "beta1": 0.5}, "exposure": {"resample": false, "dose_jitter": 0.0, "kvp_jitter": 0.0},
"batch_size": 16, "ema_decay": 0.995, "seed": 7}, "normalization": {"mode": "absolute", "mean":
1.0, "std": 0.5, "data_ranges": [2.0, 20.0]}, "units": {"input": "1", "bone": "cm", "tissue":
"cm"}, "study": "ribs", "trial": 4, "params": {"generator.depth": 3, "loss.adversarial":
"hinge"}, "objective": "val_ssim", "epochs": 2, "n_parameters": 10, "dataset": "%s", "size_px":
[32, 48], "pixel_mm": null, "metric": 1, "scores": {"val_ssim": 0.9, "val_ssim_bone": 0.85,
"val_ssim_tissue": 0.95}, "baselines": {"constant": {"bone": 0.3, "tissue": 0.4}}, "libraries":
{"torch": "2"}, "format": 1}
""" % ("d" * 64)
OLD_NAME = "cab0fcf45cf033d6"  # computed by the version before the keys below existed, weights "w"


def test_a_trial_of_an_earlier_version_keeps_its_name_when_it_is_packed_again() -> None:
    old = card_from(json.loads(OLD_CARD))
    assert old.content_hash("w") == OLD_NAME
    config = TrialConfig.model_validate(old.trial_config).model_dump(mode="json")
    assert config != old.trial_config, "new keys are said by now"
    assert replace(old, trial_config=config).content_hash("w") == OLD_NAME


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("discriminator", "spectral_norm", True),
        ("loss", "ssim_weight", 1.0),
        ("optimizer", "discriminator_ratio", 2.0),
        ("optimizer", "schedule", "cosine"),
        ("optimizer", "warmup_epochs", 1.0),
    ],
)
def test_a_new_key_that_changes_training_changes_the_name(
    section: str, key: str, value: object
) -> None:
    old = card_from(json.loads(OLD_CARD))
    config = TrialConfig.model_validate(old.trial_config).model_dump(mode="json")
    config[section][key] = value
    assert replace(old, trial_config=config).content_hash("w") != OLD_NAME


def test_a_derived_head_without_its_inversion_is_a_damaged_package(tmp_path: Path) -> None:
    card = replace(CARD, trial_config={"task": "derive"})
    with pytest.raises(DataError, match=r"damaged: 'config.json': head 'derive'") as caught:
        write_package(tmp_path / "g", weights=b"w", card=card, curve=[], draw=draw)
    assert "download it again" in str(caught.value.hint)


def test_the_inversion_of_a_derived_head_is_part_of_its_name() -> None:
    one, two = (replace(CARD, inversion={"kvp": kvp}) for kvp in (80.0, 120.0))
    names = {card.content_hash("w") for card in (CARD, one, two)}
    assert len(names) == 3


def test_copying_below_a_file_is_refused(tmp_path: Path) -> None:
    package = make(tmp_path / "generator")
    (tmp_path / "thesis.txt").write_text("mine")
    for target in (tmp_path / "thesis.txt" / "copy", tmp_path / "thesis.txt" / "a" / "copy"):
        with pytest.raises(ConfigurationError, match="cannot copy"):
            copy_package(package.path, target)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_copying_into_a_place_that_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = make(tmp_path / "generator")

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(ConfigurationError, match="Permission denied"):
        copy_package(package.path, tmp_path / "out" / "copy")

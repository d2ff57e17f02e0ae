import json
from dataclasses import replace
from typing import Any

import pytest

from dexsearch.data.manifest import FORMAT, as_json_values, dataset_digest
from dexsearch.data.manifest_reading import read_manifest
from dexsearch.data.store import Dataset, ImageInfo, Tumour
from dexsearch.errors import DataError

CONSTANTS = {"input_mean": 1.5, "data_range/bone": 2.0}
FILES = {"train/bone.npy": "aa", "train/input.npy": "bb"}
TUMOUR = Tumour((1.0, 2.0, 3.0), 12.0, 4.5, 6.0)
IMAGES = {"train": (ImageInfo("a", (0.0, 0.0, 5.0)),), "validation": (), "holdout": ()}


def test_a_manifest_is_read_as_it_was_written(dataset: Dataset) -> None:
    path = dataset.path / "manifest.json"
    assert read_manifest(dataset.path) == dataset.manifest
    assert dataset.manifest.to_json() == path.read_text()
    assert json.loads(path.read_text())["source"]["kvp"] == [60.0, 120.0]


def test_the_manifest_names_no_place_and_no_time(dataset: Dataset) -> None:
    text = (dataset.path / "manifest.json").read_text()
    assert str(dataset.path.parent) not in text
    assert "time" not in json.loads(text)


def test_the_digest_does_not_depend_on_the_order_of_the_files() -> None:
    backwards = dict(reversed(FILES.items()))
    assert dataset_digest(FILES, IMAGES, (8, 8), CONSTANTS) == dataset_digest(
        backwards, IMAGES, (8, 8), CONSTANTS
    )


@pytest.mark.parametrize(
    "other",
    [
        (FILES | {"train/bone.npy": "ac"}, IMAGES, (8, 8), CONSTANTS),
        (FILES, IMAGES | {"train": (ImageInfo("b", (0.0, 0.0, 5.0)),)}, (8, 8), CONSTANTS),
        (FILES, {**IMAGES, "train": (), "validation": IMAGES["train"]}, (8, 8), CONSTANTS),
        (FILES, IMAGES | {"train": (ImageInfo("a", (0.0, 0.0, 5.0), "x"),)}, (8, 8), CONSTANTS),
        (
            FILES,
            IMAGES | {"train": (ImageInfo("a", (0.0, 0.0, 5.0), "", TUMOUR),)},
            (8, 8),
            CONSTANTS,
        ),
        (FILES, IMAGES, (8, 9), CONSTANTS),
        (FILES, IMAGES, (8, 8), CONSTANTS | {"data_range/bone": 2.1}),
    ],
)
def test_the_digest_depends_on_files_split_size_and_constants(other: tuple) -> None:  # type: ignore[type-arg]
    assert dataset_digest(*other) != dataset_digest(FILES, IMAGES, (8, 8), CONSTANTS)


def test_json_values_survive_a_round_trip() -> None:
    values = as_json_values({"a": (1, 2.5), "b": None})
    assert values == {"a": [1, 2.5], "b": None}
    assert as_json_values(values) == values


def test_the_manifest_says_what_the_arrays_hold(dataset: Dataset) -> None:
    values = json.loads((dataset.path / "manifest.json").read_text())
    assert values["format"] == FORMAT == 2
    assert values["arrays"] == {
        "input": "float32",
        "bone": "float16",
        "tissue": "float16",
        "mask": "bool",
    }
    assert values["path_lengths"] == {"soft": "tissue", "bone": "bone"}
    assert values["left_out"] == {"guard_band": 0, "unusable": 0}
    assert dataset.manifest.is_unchanged


@pytest.mark.parametrize(
    "change",
    [
        {"units": {}},
        {"source": {}},
        {"made_with": {"projector": "fast"}},
        {"split_rule": "by hand"},
        {"left_out": {"guard_band": 3, "unusable": 0}},
        {"pixel_mm": None},
    ],
)
def test_the_checksum_covers_what_the_digest_leaves_out(
    dataset: Dataset, change: dict[str, Any]
) -> None:
    changed = replace(dataset.manifest, **change)
    assert changed.digest_of_contents == dataset.manifest.digest
    assert not changed.is_unchanged


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"made_with": None}, "it lacks 'made_with'"),
        ({"made_with": None, "units": None}, "it lacks 'made_with', 'units'"),
        ({"colour": "blue"}, "it has unknown 'colour'"),
        ({"format": None}, "it lacks 'format'"),
        ({"path_lengths": {"soft": "tissue"}}, "an entry is of the wrong kind"),
        ({"size_px": 24}, "an entry is of the wrong kind"),
    ],
)
def test_a_manifest_that_lacks_or_misnames_an_entry_is_refused_by_its_name(
    dataset: Dataset, change: dict[str, Any], told: str
) -> None:
    """Given: entries to change; None takes an entry away."""
    path = dataset.path / "manifest.json"
    values = {**json.loads(path.read_text()), **change}
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))
    with pytest.raises(DataError, match=f"not a readable manifest .*{told}") as caught:
        read_manifest(dataset.path)
    assert "__init__" not in str(caught.value)
    assert caught.value.exit_code == 7
    assert "make the dataset again" in str(caught.value.hint)

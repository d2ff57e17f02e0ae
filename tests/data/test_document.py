"""docs/dataset.md is right: readers in other languages have nothing else."""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dexsearch.data.store import Dataset, Tumour
from tests.data.conftest import samples

DOCUMENT = Path(__file__).parents[2] / "docs" / "dataset.md"


def test_the_reader_in_the_document_reads_a_dataset(dataset: Dataset) -> None:
    (code,) = re.findall("```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code.replace("workspace/datasets/cohort", str(dataset.path)), names)
    assert names["bone"].dtype == np.float32
    assert np.array_equal(names["bone"], dataset.arrays("train").bone[0])


def test_the_digest_follows_from_the_rule_in_the_document(write: Callable[..., Dataset]) -> None:
    tumour = Tumour((1.0, -2.5, 3.0), 12.0, 4.5, 6.0)
    path = write(replace(sample, tumour=tumour, name="é") for sample in samples()).path
    values = json.loads((path / "manifest.json").read_text())
    listing = {
        "constants": {key: values[key] for key in ("input_mean", "input_std")}
        | {f"data_range/{name}": values["data_ranges"][name] for name in ("bone", "tissue")},
        "files": sorted(values["files"].items()),
        "images": {
            subset: [[i["subject"], i["pose_deg"], i["name"], i["tumour"]] for i in infos]
            for subset, infos in values["images"].items()
        },
        "size_px": values["size_px"],
    }
    checksum = values.pop("checksum")
    texts = [json.dumps(value, sort_keys=True) for value in (listing, values)]
    found = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
    assert found == [values["digest"], checksum]


def test_the_document_names_every_key_of_the_manifest(dataset: Dataset) -> None:
    (example,) = re.findall("```json\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    values = json.loads((dataset.path / "manifest.json").read_text())
    assert set(json.loads(example)) == set(values)

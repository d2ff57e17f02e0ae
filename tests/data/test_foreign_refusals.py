"""What cannot be imported is named, and nothing is written."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dexsearch.data.foreign import find_folders, find_pairs
from dexsearch.errors import ConfigurationError, DataError
from tests.data.test_foreign import (
    NAMES,
    SHAPE,
    dicom_of,
    imported,
    lay_out,
    radiograph,
    save_png,
    save_tiff,
)


def two_subjects(source: Path) -> None:
    for path in [*source.glob("*/p2*"), *source.glob("*/p3*"), *source.glob("*/p4*")]:
        path.unlink()


def colour(source: Path) -> None:
    Image.new("RGB", SHAPE[::-1], "red").save(source / "bone" / "p4_side.png")


def cut(source: Path) -> None:
    path = source / "tissue" / "p4_side.png"
    path.write_bytes(path.read_bytes()[:200])


def constant(source: Path) -> None:
    save_png(source / "tissue" / "p4_side", np.full(SHAPE, 7, np.uint16))


def speck(source: Path) -> None:
    image = np.zeros(SHAPE, np.uint16)
    image[18:21, 18:21] = 1000
    save_png(source / "input" / "p4_side", image)


def duplicate(source: Path) -> None:
    save_tiff(source / "input" / "p4_side", radiograph(0))


def other_patient(source: Path) -> None:
    for folder, patient in (("input", "A"), ("bone", "B")):
        (source / folder / "p4_side.png").unlink()
        dicom_of(patient)(source / folder / "p4_side", radiograph(0))


def some_patients(source: Path) -> None:
    for folder in ("input", "bone"):
        (source / folder / "p4_side.png").unlink()
        dicom_of("A")(source / folder / "p4_side", radiograph(0))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (two_subjects, r"4 images are of 2 subject\(s\) \(p0, p1; .*needs at least 3"),
        (colour, r"bone/p4_side\.png: a colour picture"),
        (cut, r"tissue/p4_side\.png: not a readable PNG"),
        (constant, r"tissue/p4_side\.png: every pixel is 7"),
        (speck, r"input/p4_side\.png: image p4 p4_side shows so little of the body"),
        (duplicate, r"input/p4_side\.tif stands beside p4_side\.png"),
        (other_patient, r"bone/p4_side\.dcm: is of patient B, but .*input/p4_side\.dcm of A"),
        (lambda s: (s / "bone" / "p0_side.png").unlink(), "the bone image of p0_side is missing"),
    ],
)
def test_what_cannot_be_imported_is_named_and_nothing_is_written(
    tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    source = lay_out(tmp_path / "src", NAMES)
    spoil(source)
    with pytest.raises(DataError, match=message) as hit:
        imported(source, subject_pattern=r"^(p\d+)")
    assert hit.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["src"]


def test_files_without_a_patient_beside_files_with_one_are_refused(tmp_path: Path) -> None:
    source = lay_out(tmp_path / "src", NAMES)
    some_patients(source)
    with pytest.raises(DataError, match="'p0_front': has no PatientID") as hit:
        find_pairs(find_folders(source))
    assert "--subject-pattern" in str(hit.value.hint)


def test_one_patient_id_for_all_is_refused_or_overruled_by_a_pattern(tmp_path: Path) -> None:
    source = lay_out(tmp_path / "src", NAMES, save=dicom_of("ANON"))
    with pytest.raises(DataError, match=r"are of 1 subject\(s\) \(ANON; ") as hit:
        imported(source)
    assert "--subject-pattern" in str(hit.value.hint)
    _, notes = imported(source, subject_pattern=r"^(p\d+)")
    assert "warning: PatientID ANON is in 5 subjects; the pattern was followed" in notes


@pytest.mark.parametrize(
    ("pattern", "error", "message"),
    [
        ("(", ConfigurationError, "not a regular expression"),
        ("p", ConfigurationError, "has 0 groups"),
        ("(p)(1)", ConfigurationError, "has 2 groups"),
        (r"^(q\d)", DataError, "'p0_front': --subject-pattern .* finds no subject"),
    ],
)
def test_a_pattern_that_tells_nothing_is_refused(
    tmp_path: Path, pattern: str, error: type[Exception], message: str
) -> None:
    source = lay_out(tmp_path / "src", NAMES)
    with pytest.raises(error, match=message):
        imported(source, subject_pattern=pattern)

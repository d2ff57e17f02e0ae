"""Which CTs are of one patient, by what their headers tell."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dexsearch.errors import DataError
from dexsearch.volumes.ct import CtInfo, refuse_mixed_patients
from dexsearch.volumes.scan import ScanHeader, ScanReader, Voxels

PLACE = ScanHeader((4, 5, 6), (3.0, 2.0, 2.0), centre_mm=(0.0, 10.0, -70.5))
ELSEWHERE = replace(PLACE, centre_mm=(0.0, 10.0, -90.0))


class Headers(ScanReader):
    """A CT of which only the headers are there."""

    def __init__(self, path: Path, header: ScanHeader) -> None:
        self.path, self.header = path, header

    def values(self) -> Voxels:
        """Return air."""
        return np.full(self.header.shape, -1000, np.int16)


def cts(*headers: ScanHeader) -> list[CtInfo]:
    """All of one name, in folders of their own."""
    return [
        CtInfo(
            path=Path(folder) / "ct.nii",
            name="ct",
            extent_mm=(12.0, 10.0, 12.0),
            kvp=header.kvp,
            contrast_agent=None,
            patient=header.patient,
            _reader=Headers(Path(folder) / "ct.nii", header),
        )
        for folder, header in zip("abc", headers, strict=False)
    ]


@pytest.mark.parametrize(
    ("tag", "shared"), [("patient", "PatientID"), ("frame_of_reference", "FrameOfReferenceUID")]
)
def test_cts_of_one_patient_are_not_several_subjects(tag: str, shared: str) -> None:
    known = [replace(PLACE, patient=str(index)) for index in range(3)]
    known[0], known[2] = (replace(known[index], **{tag: "the same"}) for index in (0, 2))  # type: ignore[arg-type]
    with pytest.raises(DataError, match=rf"a/ct.nii and c/ct.nii .* share the {shared}") as told:
        refuse_mixed_patients(cts(*known), same_patient=False)
    assert "--same-patient" in str(told.value.hint)
    assert "the same" not in str(told.value)


def test_cts_of_two_patients_are_not_one() -> None:
    ann, bob = replace(PLACE, patient="Ann"), replace(PLACE, patient="Bob")
    with pytest.raises(DataError, match=r"a/ct.nii and c/ct.nii .* two patients") as told:
        refuse_mixed_patients(cts(ann, PLACE, bob), same_patient=True)
    assert told.value.hint == "leave --same-patient out"
    assert "Ann" not in str(told.value)
    assert refuse_mixed_patients(cts(ann, bob), same_patient=False) == ()


def test_one_position_with_two_patient_ids_names_the_way_out() -> None:
    ann, bob = (replace(PLACE, patient=name, frame_of_reference="1.2") for name in ("Ann", "Bob"))
    with pytest.raises(DataError, match="different PatientIDs") as told:
        refuse_mixed_patients(cts(ann, bob), same_patient=True)
    assert "correct the PatientID" in str(told.value.hint)


def test_one_patient_is_one_whatever_the_position() -> None:
    ann = [replace(one, patient="Ann") for one in (PLACE, ELSEWHERE)]
    assert refuse_mixed_patients(cts(*ann, PLACE), same_patient=True) == ()


def test_cts_without_an_id_at_one_place_may_be_one_patient_and_the_user_is_told() -> None:
    (note,) = refuse_mixed_patients(cts(PLACE, ELSEWHERE, PLACE), same_patient=False)
    assert note.startswith("a/ct.nii, c/ct.nii look like one patient")
    assert "--same-patient" in note
    assert "\n" not in note


@pytest.mark.parametrize(
    "others",
    [
        (ELSEWHERE,),
        (replace(PLACE, spacing_mm=(3.0, 2.0, 2.1)),),
        (replace(PLACE, shape=(4, 5, 7)),),
    ],
)
def test_cts_on_other_grids_look_like_several_patients(others: tuple[ScanHeader]) -> None:
    assert refuse_mixed_patients(cts(PLACE, *others), same_patient=False) == ()


def test_a_grid_whose_position_is_unknown_says_nothing() -> None:
    unknown = replace(PLACE, centre_mm=None)
    assert refuse_mixed_patients(cts(unknown, unknown, PLACE), same_patient=False) == ()


def test_ids_stay_out_of_what_is_printed() -> None:
    (info,) = cts(replace(PLACE, patient="Ann", frame_of_reference="1.2.99"))
    assert "Ann" not in repr(info) + repr(info.header)
    assert "1.2.99" not in repr(info.header)

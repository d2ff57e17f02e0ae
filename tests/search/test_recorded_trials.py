"""Recorded curves as trials: the same ones every time, and only what was recorded."""

import pickle
from itertools import islice
from pathlib import Path

import pytest
from searching import check_study, search_here, space_with

from dexsearch.errors import DataError
from dexsearch.search.curves import CurveRow, CurveTable, read_table, write_table
from dexsearch.search.recorded_trials import RecordedTrials
from dexsearch.search.trial import Assignment, Record, TrialStepper

EPOCHS = 9
ROWS = 5


def table_file(folder: Path, *, rows: int = ROWS) -> Path:
    made = tuple(
        CurveRow(
            number=number, params={}, seed=number, seconds=3.0,
            curves={"val_ssim": tuple(number / 10 + epoch / 100 for epoch in range(EPOCHS))},
        )
        for number in range(rows)
    )  # fmt: skip
    table = CurveTable(
        space=space_with().model_dump(mode="json", by_alias=True), dataset_digest="digest",
        metric=1, epochs=EPOCHS, objectives=("val_ssim",), rows=made,
    )  # fmt: skip
    path = folder / "curves.jsonl"
    write_table(table, path)
    return path


def assigned(number: int, folder: Path, *, epochs: int = EPOCHS) -> Assignment:
    config = {"seed": number, "optimizer": {"learning_rate": 1e-3}}
    return Assignment(number, config, epochs, str(folder / "trials" / str(number)))


def scores(records: list[Record]) -> tuple[float, ...]:
    return tuple(record["val_ssim"] for record in records)


def test_a_configuration_has_the_same_curve_in_every_process(tmp_path: Path) -> None:
    trials = RecordedTrials(table_file(tmp_path))
    elsewhere = pickle.loads(pickle.dumps(trials))
    for number in range(20):
        assignment = assigned(number, tmp_path)
        again = list(trials(assignment))
        assert list(trials(assignment)) == again == list(elsewhere(assignment))


def test_every_curve_is_one_of_the_table_from_its_first_epoch(tmp_path: Path) -> None:
    path = table_file(tmp_path)
    recorded = {row.curves["val_ssim"] for row in read_table(path).rows}
    trials = RecordedTrials(path)
    played = [list(trials(assigned(number, tmp_path))) for number in range(60)]
    assert {scores(records) for records in played} == recorded
    for records in played:
        assert [record["epoch"] for record in records] == list(range(1, EPOCHS + 1))


def test_a_trial_shorter_than_its_curve_plays_the_beginning(tmp_path: Path) -> None:
    trials = RecordedTrials(table_file(tmp_path))
    whole = list(trials(assigned(1, tmp_path)))
    assert list(trials(assigned(1, tmp_path, epochs=4))) == whole[:4]


def test_a_trial_begun_again_plays_from_its_first_epoch_and_leaves_no_files(
    tmp_path: Path,
) -> None:
    slept: list[float] = []
    trials = RecordedTrials(table_file(tmp_path), epoch_s=2.5, sleep=slept.append)
    first = list(islice(trials(assigned(3, tmp_path)), 6))
    assert slept == [2.5] * 6
    again = list(trials(assigned(3, tmp_path)))
    assert len(slept) == 6 + EPOCHS
    assert again[:6] == first
    assert {record["seconds"] for record in again} == {2.5}
    assert not (tmp_path / "trials").exists()


def test_a_closed_trial_plays_no_further(tmp_path: Path) -> None:
    slept: list[float] = []
    trials = RecordedTrials(table_file(tmp_path), epoch_s=1.0, sleep=slept.append)
    stepper = TrialStepper(trials, patience=0)
    stepper.begin(assigned(0, tmp_path))
    stepper.step()
    stepper.close()
    assert slept == [1.0]
    stepper.begin(assigned(1, tmp_path))
    assert stepper.step().records[0]["epoch"] == 1


def test_a_table_that_is_missing_too_short_or_empty_is_a_fault_of_the_data(
    tmp_path: Path,
) -> None:
    with pytest.raises(DataError, match="not a readable table"):
        next(RecordedTrials(tmp_path / "none.jsonl")(assigned(0, tmp_path)))
    path = table_file(tmp_path)
    with pytest.raises(DataError, match=f"of {EPOCHS} epochs, and a trial has {EPOCHS + 1}"):
        next(RecordedTrials(path)(assigned(0, tmp_path, epochs=EPOCHS + 1)))
    with pytest.raises(DataError, match="0 curves"):
        next(RecordedTrials(table_file(tmp_path, rows=0))(assigned(0, tmp_path)))


def test_a_negative_epoch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="epoch_s >= 0"):
        RecordedTrials(tmp_path, epoch_s=-1)


def test_a_search_over_recorded_curves_keeps_the_laws_of_every_search(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    search_here(folder, RecordedTrials(table_file(tmp_path)), trials=30)
    record = check_study(folder, trials=30, epochs=EPOCHS)
    assert record.in_state("complete")
    assert record.in_state("pruned")

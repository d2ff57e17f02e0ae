import json
from dataclasses import replace
from pathlib import Path

import pytest
from invented_tables import table_with
from searching import run_in_process

from dexsearch.errors import DataError
from dexsearch.ledger.study import read_study
from dexsearch.search.curves import read_table, table_of, write_table


def test_a_written_table_is_read_back_as_it_was(tmp_path: Path) -> None:
    table = replace(table_with(5), minutes=3.5, counts={"complete": 5, "failed": 1})
    write_table(table, tmp_path / "deep" / "table.jsonl")
    assert read_table(tmp_path / "deep" / "table.jsonl") == table
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["table.jsonl"]


def test_a_table_has_the_complete_trials_of_a_study_and_counts_the_others(tmp_path: Path) -> None:
    run_in_process(tmp_path / "s", "failing", pruner={"kind": "none"}, trials=8)
    record = read_study(tmp_path / "s")
    table = table_of(record, recorded_on="a test", minutes=1.25)
    assert [row.number for row in table.rows] == [0, 4]
    assert table.counts == {"complete": 2, "pruned": 0, "failed": 6, "running": 0}
    assert table.objectives == ("val_ssim",)
    assert all(row.params == record.trials[row.number].params for row in table.rows)
    assert all(row.seed == record.trials[row.number].config["seed"] for row in table.rows)
    assert table.rows[0].curves["val_ssim"] == pytest.approx(
        [record.trials[0].value_at(e, "val_ssim") for e in range(1, 10)], abs=1e-6
    )


def test_pruned_trials_are_no_rows(tmp_path: Path) -> None:
    run_in_process(tmp_path / "s", "rising", trials=12)
    table = table_of(read_study(tmp_path / "s"))
    assert table.counts["pruned"] > 0
    assert len(table.rows) == table.counts["complete"] == 12 - table.counts["pruned"]


def _lines(path: Path) -> list[str]:
    write_table(table_with(4), path)
    return path.read_text().splitlines()


def _damage(line: str, **changes: object) -> str:
    return json.dumps({**json.loads(line), **changes})


@pytest.mark.parametrize(
    ("line", "changes", "said"),
    [
        (1, {"format": "curves-9"}, "'curves-9' is not 'dexsearch-curves-1'"),
        (1, {"epochs": None}, "header cannot be read"),
        (1, {"epochs": 0}, "header says 0 epochs"),
        (1, {"objectives": []}, "header says 9 epochs of \\(\\)"),
        (1, {"counts": {"pruned": "some"}}, "header cannot be read"),
        (1, {"space": {}}, "its space is not valid: key 'task' is missing"),
        (
            1,
            {"space": {"task": "joint", "data": {"path": "x"}, "search": {}, "trails": 3}},
            "its space is not valid: ",
        ),
        (1, {"epochs": 8}, "has 9 epochs, the header says 8"),
        (3, {"curves": {"val_ssim": [0.5] * 8}}, "has 8 epochs, the header says 9"),
        (3, {"curves": {}}, "val_ssim"),
        (3, {"curves": {"val_ssim": [float("nan")] * 9}}, "not finite"),
        (3, {"seconds": -1}, "takes -1.0 seconds"),
        (3, {"number": 0}, "configuration 0 stands twice"),
        (3, {"params": {"generator.width": 8}}, "'generator.width' is no searched key"),
    ],
)
def test_a_damaged_table_is_refused_with_its_line(
    tmp_path: Path, line: int, changes: dict[str, object], said: str
) -> None:
    path = tmp_path / "table.jsonl"
    lines = _lines(path)
    lines[line - 1] = _damage(lines[line - 1], **changes)
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match=said) as caught:
        read_table(path)
    expected = 2 if changes == {"epochs": 8} else line
    assert f"table.jsonl:{expected}:" in str(caught.value)


@pytest.mark.parametrize("text", ["", "[1, 2]\n", "not JSON\n"])
def test_what_is_no_table_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x").write_text(text)
    with pytest.raises(DataError, match="x:1: expected a JSON object"):
        read_table(tmp_path / "x")


def test_a_torn_last_row_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "table.jsonl"
    path.write_text("\n".join(_lines(path))[:-20])
    with pytest.raises(DataError, match="5: expected a JSON object"):
        read_table(path)


def test_a_missing_table_is_an_error_for_people(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a readable table"):
        read_table(tmp_path / "nothing.jsonl")

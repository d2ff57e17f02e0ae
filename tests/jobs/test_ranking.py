"""The rows of `best` as text, CSV and markdown."""

import csv
import io
import json
import re
from typing import Any

import pytest

from dexsearch.jobs.best import Choice, Leaderboard, rank
from tests.jobs.ranking_samples import (
    alias,
    audit,
    holdout,
    measured,
    registered,
    registry,
    replicated,
)

FULL = (
    measured(1, 0.80),
    measured(2, 0.85),
    alias(1),
    alias(2, "challenger"),
    audit(),
    *holdout(2, 1, "better"),
    replicated(2),
)
HOSTILE = '=HYPERLINK("http://x")|[red]`<b>*\x1b[2J\n'


def board(*events: Any, choice: Choice | None = None) -> Leaderboard:  # noqa: ANN401
    uri = "file:///here/{}".format
    return rank(registry(*events), choice or Choice(), uri_of=lambda v: uri(v.version))


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize("columns", ["200", "100", "90", "80"])
def test_no_line_is_wider_than_the_terminal_and_none_than_100(
    columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    study = "a-study-with-a-very-long-name-that-somebody-chose-in-2026"
    many = [measured(n, 0.9 - n / 100, study=study) for n in range(3, 14)]
    for choice in (Choice(), Choice(metric="quality_sdnr_rib_tissue_prediction", top=20)):
        shown = str(board(*FULL, *many, choice=choice))
        assert max(map(len, shown.splitlines())) <= min(100, int(columns))


def test_the_text_tells_everything_that_is_known() -> None:
    shown = " ".join(str(board(*FULL)).split())
    for told in (
        "95% intervals over 12 of them", "0.830..0.865", "6.18 MB", "12.3 ms",
        "generator.depth 5 4", "64 x 64 px on cpu, 1 thread (Some CPU @ 2.70GHz)",
        "with 3 other seeds: val_ssim 0.8400 (0.8300 to 0.8500)",
        "hold-out: dexsearch-bone/2 against dexsearch-bone/1: better, difference +0.0123 "
        "(+0.0041 to +0.0201)",
        "file:///here/2", f"sha256 {'3' * 64}", "nearest_pose", "study ribs 7 pruned",
    ):  # fmt: skip
        assert told in shown
    assert "generator.norm" not in shown  # the same for all, so it does not matter


def test_parameters_that_only_some_have_matter() -> None:
    lone = registered(2, 0.7, params={"generator.depth": 4, "discriminator.patch_px": 34})
    shown = str(board(registered(1, 0.8, params={"generator.depth": 4}), lone))
    assert [line.split() for line in shown.splitlines() if "patch_px" in line] == [
        ["discriminator.patch_px", "-", "34"]
    ]
    assert "generator.depth" not in shown


def test_old_registrations_show_scores_without_intervals_and_no_empty_columns() -> None:
    shown = str(board(registered(1, 0.8)))
    assert "0.8000" in shown
    assert ".." not in shown
    assert "latency" not in shown
    assert "size" not in shown


def test_json_has_nothing_that_json_does_not_know() -> None:
    broken = measured(
        1, float("nan"), scores={"val_mae": float("inf")}, intervals={"val_ssim": [0.1]},
        baselines={"constant": {"bone": float("nan")}}, params={"x": float("-inf")},
    )  # fmt: skip
    good, bad = json.loads(json.dumps(board(broken, measured(2, 0.8)).as_json(), allow_nan=False))
    assert good["version"] == 2
    assert bad["val_ssim"] is bad["scores"]["val_mae"] is bad["params"]["x"] is None
    assert bad["intervals"] == {"val_ssim": None}


def test_json_tells_evidence_and_replicates() -> None:
    first, second = board(*FULL).as_json()
    assert first["evidence"] == second["evidence"]
    assert first["evidence"]["verdict"] == "better"
    assert first["evidence"]["a"] == "dexsearch-bone/2"
    assert first["replicates"]["mean"] == 0.84
    assert second["replicates"] is None
    assert first["above_champion"] == pytest.approx(0.05)
    assert second["above_champion"] == 0
    assert first["intervals"]["val_ssim"] == pytest.approx([0.83, 0.865])


def test_csv_has_the_same_columns_whatever_is_known() -> None:
    full, old = table(board(*FULL).as_csv()), table(board(registered(1, 0.8)).as_csv())
    assert list(full[0]) == list(old[0])
    assert full[0]["aliases"] == "challenger"
    assert float(full[0]["val_ssim_low"]) == pytest.approx(0.83)
    assert full[0]["holdout_verdict"] == "better"
    assert full[0]["latency_size_px"] == "64x64"
    assert json.loads(full[0]["params"]) == {"generator.depth": 5, "generator.norm": "instance"}
    assert old[0]["latency_ms"] == old[0]["replicates"] == old[0]["val_ssim_low"] == ""


@pytest.mark.parametrize("start", ["=", "+", "-", "@", " =", "\t=", "\N{FULLWIDTH EQUALS SIGN}"])
def test_no_cell_of_the_csv_is_a_formula(start: str) -> None:
    text = board(registered(1, -0.2, study=f"{start}1+1", git_commit=f"{start}cmd")).as_csv()
    (row,) = table(text)
    assert row["study"][0] in "'\\"
    assert row["git_commit"][0] in "'\\"
    assert float(row["val_ssim"]) == -0.2  # a number stays one


def test_markdown_is_one_table_per_group_with_baselines() -> None:
    shown = board(*FULL).as_markdown()
    rows = [line for line in shown.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in rows}) == 1
    assert len(rows) == 2 + 2 + 3
    assert "| 1 | `dexsearch-bone/2` `@challenger` | `ribs/2` | 0.8500 (0.8300 to 0.8650)" in shown
    assert "|  | nearest_pose | baseline | 0.2000 | 0.2000 |" in shown
    assert "generator.depth=5" in shown
    assert "not for diagnosis" in shown


def test_hostile_names_break_no_table() -> None:
    event = registered(1, 0.8, study=HOSTILE, params={"x": HOSTILE}, git_commit=HOSTILE)
    evil = board(event, registered(2, 0.7))
    rows = [line for line in evil.as_markdown().splitlines() if line.startswith("|")]
    unescaped = [line.replace("\\|", "").count("|") for line in rows]
    assert len(set(unescaped)) == 1
    assert not re.search(r"(?<!\\)<b", re.sub("`[^`]*`", "", evil.as_markdown()))
    for text in (str(evil), evil.as_csv(), evil.as_markdown()):
        assert "\x1b" not in text
    assert len(table(evil.as_csv())) == 2


def test_nothing_registered_is_told_in_every_format() -> None:
    empty = board()
    assert empty.as_json() == []
    assert str(empty) == empty.as_markdown() == "no registered generators"
    assert len(empty.as_csv().splitlines()) == 1

from pathlib import Path

import pytest

from dexsearch.wording import duration, printable, workspace_flag


def test_control_characters_are_escaped_and_letters_stay() -> None:
    assert printable("r\u00f6ntgen \x1b[2J\r\u202e") == "r\u00f6ntgen \\x1b[2J\\r\\u202e"


def test_a_suggested_command_names_any_workspace_but_the_default_one() -> None:
    assert workspace_flag(Path("workspace")) == ""
    assert workspace_flag(Path("my files")) == " --workspace 'my files'"


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.5, "0.5 s"), (119, "119 s"), (120, "2 min"), (5400, "90 min"), (7200, "2 h"),
     (86400, "24 h"), (302400, "3.5 days")],
)  # fmt: skip
def test_a_time_is_told_in_the_unit_that_reads_best(seconds: float, told: str) -> None:
    assert duration(seconds) == told

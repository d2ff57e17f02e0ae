from pathlib import Path

from dexsearch.wording import printable, workspace_flag


def test_control_characters_are_escaped_and_letters_stay() -> None:
    assert printable("r\u00f6ntgen \x1b[2J\r\u202e") == "r\u00f6ntgen \\x1b[2J\\r\\u202e"


def test_a_suggested_command_names_any_workspace_but_the_default_one() -> None:
    assert workspace_flag(Path("workspace")) == ""
    assert workspace_flag(Path("my files")) == " --workspace 'my files'"

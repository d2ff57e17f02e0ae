"""The words that a developer types do something."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()


@pytest.mark.parametrize("word", re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.M)[0].split())
def test_every_word_has_a_rule(word: str) -> None:
    assert re.search(rf"^{word}:", MAKEFILE, re.M)


def test_one_case_of_the_lab_is_chosen_by_its_name() -> None:
    command = ["make", "--dry-run", "--always-make", "lab", "CASE=partition"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert 'tests/lab -m lab -k "partition"' in told

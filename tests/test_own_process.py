"""Laws of a module of dexsearch in a process of its own: the same dexsearch, and nothing else."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import dexsearch
from dexsearch.own_process import module_command, module_environment

ASKING = """
import os
os.environ["PYTHONSAFEPATH"] = "1"  # as the command does
from dexsearch.search.joining import ask
print(ask("127.0.0.1:1", os.environ))
"""


@pytest.fixture
def kept() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def test_a_process_of_its_own_runs_the_checkout_that_python_m_found(
    tmp_path: Path, kept: dict[str, str]
) -> None:
    package = tmp_path / "dexsearch"
    shutil.copytree(
        Path(dexsearch.__file__).parent, package,
        ignore=shutil.ignore_patterns("__pycache__", "*.npz", "report", "physics"),
    )  # fmt: skip
    (package / "asking.py").write_text(ASKING)
    (package / "search" / "cluster_probe.py").write_text("print('[\"of the checkout\"]')")
    done = subprocess.run(
        [sys.executable, "-m", "dexsearch.asking"], env=kept, cwd=tmp_path,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "['of the checkout']"


def test_a_module_is_not_looked_for_in_the_current_folder(
    tmp_path: Path, kept: dict[str, str]
) -> None:
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "tool.py").write_text("print('of the current folder')")
    (tmp_path / "json" / "__init__.py").touch()
    done = subprocess.run(
        module_command("json.tool"), env=module_environment(kept), cwd=tmp_path,
        input="{}", capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "{}"


def test_only_a_folder_ahead_of_the_standard_library_is_handed_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code = str(Path(dexsearch.__file__).resolve().parents[1])
    library = str(Path(os.__file__).parent)
    monkeypatch.setattr(sys, "path", [library, code])  # as an editable install has it
    assert module_environment({"PYTHONPATH": "mine"}) == {"PYTHONPATH": "mine"}
    monkeypatch.setattr(sys, "path", [code, library])
    assert module_environment({"A": "b"}) == {"A": "b", "PYTHONPATH": code}
    both = module_environment({"PYTHONPATH": "mine"})
    assert both == {"PYTHONPATH": f"{code}{os.pathsep}mine"}

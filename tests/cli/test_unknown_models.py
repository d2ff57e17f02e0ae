"""A generator that nobody registered: every command that takes one says so, and writes nothing."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "jobs" / "support"))
from small_studies import everything, pack

from dexsearch.registry.store import register

KNOWN = "dexsearch-bone"
COMMANDS = {
    "predict": ("predict", "MODEL", "in.npy", "out"),
    "export": ("export", "MODEL", "out.pt2"),
    "compare": ("compare", "MODEL", KNOWN),
    "compare with": ("compare", KNOWN, "MODEL"),
    "promote": ("promote", "MODEL"),
    "rollback": ("rollback", "NAME"),  # takes a name alone
    "reproduce": ("reproduce", "MODEL"),
}
MODELS = (f"{KNOWN}@winner", f"{KNOWN}/9", "dexsearch-bones", f"{KNOWN}/../..", "\x1b[31mred")


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dexsearch", *arguments],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    workspace = tmp_path / "workspace"
    register(workspace, [pack(workspace, 1, 0.9), pack(workspace, 0, 0.7)])
    np.save(tmp_path / "in.npy", np.ones((32, 32), np.float32))
    return tmp_path


CASES = [
    pytest.param(command, model, id=f"{name} {model!a}")
    for name, command in COMMANDS.items()
    for model in MODELS
    if "NAME" not in command or not model.startswith((f"{KNOWN}@", f"{KNOWN}/"))
]


@pytest.mark.slow
@pytest.mark.parametrize(("command", "model"), CASES)
def test_an_unknown_model_is_refused_in_one_line_with_what_there_is(
    folder: Path, command: tuple[str, ...], model: str
) -> None:
    before = everything(folder)
    done = run(folder, *(model if a in ("MODEL", "NAME") else a for a in command))
    assert done.returncode == 4, done.stderr
    assert done.stdout == ""
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "not registered" in errors[0]
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stderr
    assert KNOWN in done.stderr
    after = everything(folder)
    assert {name: after.get(name) for name in before} == before
    assert all(name.endswith(".lock") for name in after.keys() - before.keys())

"""The commands as they are typed: exit codes, stdout and stderr."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dexsearch.registry.record import read_registry

sys.path.insert(0, str(Path(__file__).parents[1] / "registry" / "support"))
from hold_out import HoldOut, make_hold_out

HEAVY = ("torch", "ray", "mlflow", "optuna", "scipy", "numpy")


def run(own: HoldOut, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dexsearch", *arguments, "--workspace", str(own.workspace)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def own(tmp_path: Path) -> HoldOut:
    found = make_hold_out(tmp_path / "workspace", 8, n_poses=1)
    found.register(0.6, 1.0, 0.2, task="bone")
    return found


@pytest.mark.slow
def test_compare_promote_history_and_rollback_as_a_person_types_them(own: HoldOut) -> None:
    done = run(own, "compare", "dexsearch-bone/2", "dexsearch-bone", "--format", "json")
    assert (done.returncode, json.loads(done.stdout)["verdict"]) == (0, "better")
    assert "next: dexsearch promote dexsearch-bone/2" in done.stderr
    assert "gallery.png" in done.stderr
    done = run(own, "promote", "dexsearch-bone/3")
    assert done.returncode == 5
    assert "verdict: worse" in done.stdout
    assert "dexsearch-bone@champion stays version 1" in done.stdout
    assert "error: dexsearch-bone/3 is not promoted: worse" in done.stderr
    done = run(own, "promote", "dexsearch-bone/2", "--format", "json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["champion"], told["evidence"]["n_looks"]) == (0, 2, 3)
    assert "next: dexsearch predict dexsearch-bone@champion" in done.stderr
    assert "to undo it: dexsearch rollback dexsearch-bone" in done.stderr
    assert in_mlflow(own) == {"champion": 2, "previous-champion": 1}
    done = run(own, "rollback", "dexsearch-bone", "--reason", "ghosts")
    assert done.returncode == 0
    assert "version 1 now, was 2: rolled back; ghosts" in done.stdout
    assert in_mlflow(own) == {"champion": 1, "previous-champion": 2}
    done = run(own, "history", "dexsearch-bone")
    assert [line.split("  ")[1].split(" ")[0] for line in done.stdout.splitlines()] == [
        "dexsearch-bone@champion", "look", "look", "look", "dexsearch-bone@previous-champion",
        "dexsearch-bone@champion", "dexsearch-bone@previous-champion", "dexsearch-bone@champion",
    ]  # fmt: skip


def in_mlflow(own: HoldOut) -> dict[str, int]:
    from dexsearch.registry.tracking import open_tracking

    with open_tracking(own.workspace) as store:
        found = store.client.get_registered_model("dexsearch-bone").aliases
    return {alias: int(version) for alias, version in found.items()}


@pytest.mark.slow
def test_a_broken_mlflow_loses_no_promotion(own: HoldOut) -> None:
    (own.workspace / "mlflow.db").write_bytes(b"no database at all" * 100)
    done = run(own, "promote", "dexsearch-bone/3", "--force", "--reason", "x")
    assert done.returncode == 0
    assert "MLflow does not show the move yet" in done.stderr
    assert read_registry(own.workspace).find("dexsearch-bone").version == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("compare", "dexsearch-bone/2", "dexsearch-bone/9"), 4),
        (("compare", "dexsearch-bone/2", "dexsearch-bone/1", "--target", "tissue"), 3),
        (("compare", "dexsearch-bone/2", "dexsearch-bone/1", "--margin", "nan"), 2),
        (("compare", "dexsearch-bone/2", "dexsearch-bone/1", "--margin", "-1"), 2),
        (("compare", "dexsearch-bone/2", "dexsearch-bone/1", "--dataset", "nowhere"), 7),
        (("promote", "dexsearch-bone/3", "--force"), 3),
        (("promote", "dexsearch-bone"), 3),
        (("rollback", "dexsearch-bone"), 3),
        (("rollback", "dexsearch-ribs"), 4),
        (("history", "dexsearch-ribs"), 4),
    ],
)
def test_what_cannot_be_done_is_one_line_and_costs_no_look(
    own: HoldOut, arguments: tuple[str, ...], code: int
) -> None:
    done = run(own, *arguments)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert read_registry(own.workspace).looks == ()


def test_history_imports_no_heavy_library(own: HoldOut) -> None:
    script = (
        "import sys; from dexsearch.cli.app import main\n"
        "try: main()\n"
        "except SystemExit as error: assert not error.code\n"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    command = [sys.executable, "-c", script, "history", "--workspace", str(own.workspace)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"
    assert "dexsearch-bone@champion version 1" in done.stdout

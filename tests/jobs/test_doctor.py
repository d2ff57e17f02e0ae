"""Laws of `doctor`: what it finds of this machine and in a workspace, without writing there."""

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from dexsearch.jobs import doctor_machine
from dexsearch.jobs.checkup import Check, Diagnosis, Findings, State
from dexsearch.jobs.doctor_machine import environment_checks, numbers
from dexsearch.jobs.doctor_workspace import workspace_checks
from dexsearch.jobs.gc import collect_garbage
from dexsearch.ledger.log import EventLog
from dexsearch.ledger.study import LEDGER_NAME
from dexsearch.registry.store import PACKAGES, register

sys.path.insert(0, str(Path(__file__).parent / "support"))
from small_studies import begin_study, everything, pack

NOBODY = 2**22 + 1


def faults(workspace: Path, *, with_hashes: bool = True) -> list[Check]:
    """Return the checks of a workspace that are not ok, after looking that nothing was written."""
    before = everything(workspace) if workspace.exists() else {}
    found = list(workspace_checks(workspace, with_hashes=with_hashes, progress=lambda *_: None))
    assert (everything(workspace) if workspace.exists() else {}) == before
    assert all((check.fix is None) == (check.state is State.OK) for check in found)
    return [check for check in found if check.state is not State.OK]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A finished search of two complete trials, both registered; study.db as Optuna writes it."""
    folder = tmp_path / "workspace"
    study = begin_study(folder, ("complete", 0.7), ("complete", 0.9))
    register(folder, [pack(folder, 1, 0.9), pack(folder, 0, 0.7)])
    with sqlite3.connect(study / "study.db") as database:
        database.execute("CREATE TABLE trials (trial_id INTEGER)")
        database.executemany("INSERT INTO trials VALUES (?)", [(0,), (1,)])
    database.close()
    return folder


def test_a_whole_workspace_and_none_at_all_are_well(workspace: Path, tmp_path: Path) -> None:
    assert faults(workspace) == []
    assert faults(tmp_path / "nowhere") == []
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("file", ["weights.safetensors", "config.json", "manifest.json"])
def test_a_changed_file_of_a_version_is_a_problem_that_names_the_version(
    workspace: Path, file: str
) -> None:
    changed = pack(workspace, 0, 0.7).path / file
    content = bytearray(changed.read_bytes())
    content[len(content) // 2] ^= 0x01
    changed.write_bytes(content)
    (fault,) = faults(workspace)
    assert (fault.name, fault.state) == ("dexsearch-bone/2", State.PROBLEM)
    assert faults(workspace, with_hashes=False) == []


def test_a_lost_package_is_told_with_the_way_back(workspace: Path) -> None:
    shutil.rmtree(pack(workspace, 0, 0.7).path)
    for with_hashes in (True, False):
        (fault,) = faults(workspace, with_hashes=with_hashes)
        assert "missing" in fault.found
        assert "tune of study ribs again" in str(fault.fix)
    shutil.rmtree(workspace / "studies" / "ribs" / "trials")
    (fault,) = faults(workspace)
    assert "copy" in str(fault.fix)
    assert "reproduce" in str(fault.fix)


def test_a_dangling_alias_is_a_problem(workspace: Path) -> None:
    with EventLog(workspace / "registry.jsonl") as log:
        move = {"name": "dexsearch-bone", "alias": "champion", "version": 9, "reason": "by hand"}
        log.append({"event": "alias", **move})
    (fault,) = faults(workspace)
    assert (fault.name, fault.state) == ("dexsearch-bone@champion", State.PROBLEM)
    assert "version 9" in fault.found


@pytest.mark.parametrize("log", ["registry.jsonl", f"studies/ribs/{LEDGER_NAME}"])
def test_a_torn_last_line_is_a_warning_and_damage_before_it_a_problem(
    workspace: Path, log: str
) -> None:
    path = workspace / log
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"event":"epo')
    (fault,) = faults(workspace)
    assert (fault.state, "torn" in fault.found) == (State.WARNING, True)
    path.write_bytes(b"nonsense\n" + whole)
    (fault,) = faults(workspace)
    assert fault.state is State.PROBLEM
    assert f"{path.name}:1" in fault.found


def test_a_ledger_that_is_written_just_now_is_not_torn(workspace: Path) -> None:
    ledger = workspace / "studies" / "ribs" / LEDGER_NAME
    with EventLog(ledger):
        ledger.write_bytes(ledger.read_bytes() + b'{"event":"epo')
        assert faults(workspace) == []


@pytest.mark.parametrize("damage", ["missing", "lacks 1 of 2", "cannot be read"])
def test_a_study_database_is_compared_with_its_ledger(workspace: Path, damage: str) -> None:
    path = workspace / "studies" / "ribs" / "study.db"
    if damage == "missing":
        path.unlink()
    elif damage == "cannot be read":
        path.write_bytes(b"no database at all, but long enough to be taken for one" * 20)
    else:
        with sqlite3.connect(path) as database:
            database.execute("DELETE FROM trials WHERE trial_id = 1")
        database.close()
    (fault,) = faults(workspace)
    assert (fault.name, fault.state) == ("study.db of ribs", State.WARNING)
    assert damage in fault.found


def test_an_unfinished_trial_without_its_checkpoint_is_told(workspace: Path) -> None:
    study = begin_study(workspace, ("running", 0.5), name="other")
    (study / "study.db").write_bytes((workspace / "studies/ribs/study.db").read_bytes())
    assert faults(workspace) == []
    shutil.rmtree(study / "trials")
    (fault,) = faults(workspace)
    assert "trial 0 has no checkpoint" in fault.found


def test_an_unfinished_trial_is_looked_for_where_the_others_have_theirs(
    workspace: Path, tmp_path: Path
) -> None:
    study = begin_study(workspace, ("complete", 0.6), ("running", 0.5), name="other")
    database = (workspace / "studies/ribs/study.db").read_bytes()
    (study / "study.db").write_bytes(database)
    elsewhere = f"file://{tmp_path}/shared/other"
    (tmp_path / "shared" / "other").mkdir(parents=True)
    (study / "trials").rename(tmp_path / "shared" / "other" / "trials")
    ledger = study / LEDGER_NAME
    ledger.write_text(ledger.read_text().replace('"trials/0/', f'"{elsewhere}/trials/0/'))
    assert faults(workspace) == []
    shutil.rmtree(tmp_path / "shared/other/trials/1")
    (fault,) = faults(workspace)
    assert f"trial 1 has no checkpoint in {elsewhere}" in fault.found


def test_leftovers_are_told_and_gc_clears_them_up(workspace: Path) -> None:
    pack(workspace, 7, 0.5)
    partial = f"00001.partial-{socket.gethostname()}-{NOBODY}"
    (workspace / "studies" / "ribs" / "trials" / "0" / partial).mkdir()
    (workspace / PACKAGES / partial).mkdir()
    told = {check.name: check for check in faults(workspace)}
    assert told.keys() == {"orphan packages", "unfinished folders"}
    assert told["unfinished folders"].found.startswith("2 ")
    assert all("dexsearch gc" in str(check.fix) for check in told.values())
    collect_garbage(workspace, keep=1, dry_run=False, progress=lambda *_: None)
    assert faults(workspace) == []


def test_packages_without_a_registry_are_a_problem(workspace: Path) -> None:
    (workspace / "registry.jsonl").unlink()
    (fault,) = faults(workspace)
    assert (fault.name, fault.state) == ("registry", State.PROBLEM)


def test_versions_compare_as_numbers() -> None:
    assert numbers("2.9.1") < numbers("2.10") <= numbers("2.10.0+cpu") < numbers("2.13.0a0")
    assert numbers("unknown") < numbers("0")


@pytest.mark.parametrize(("floor", "state"), [("99", State.PROBLEM), ("0.1", State.OK)])
def test_a_library_below_its_floor_is_a_problem(floor: str, state: State) -> None:
    check = doctor_machine._version("numpy", floor, "is safe")
    assert check.state is state
    assert check.fix is None or "numpy>=99" in check.fix
    missing = doctor_machine._version("no-such-library-anywhere", floor, "is safe")
    assert (missing.state, missing.found) == (State.PROBLEM, "not installed")


def test_a_variable_that_lets_models_run_code_is_a_problem() -> None:
    harmless = {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "HOME": "/home/x"}
    assert [check.state for check in environment_checks(harmless)] == [State.OK]
    for name in ("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "MLFLOW_ALLOW_MODEL_CODE_EXECUTION"):
        (check,) = environment_checks({name: "TRUE"})
        assert (check.name, check.state) == (name, State.PROBLEM)


def test_variables_that_mislead_are_warnings() -> None:
    for name, value in {
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:5000",
        "RAY_AUTH_MODE": "disabled",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "7",
    }.items():
        (check,) = environment_checks({name: value})
        assert (check.name, check.state) == (name, State.WARNING)


def test_a_full_disk_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    for free, state in ((10**11, State.OK), (10**9, State.WARNING), (10**8, State.PROBLEM)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: usage._replace(free=free))
        found = list(doctor_machine._disk(tmp_path / "not" / "yet"))
        assert {check.state for check in found} == {state}


def test_the_table_has_a_row_for_each_check_and_a_fix_below_what_is_not_ok() -> None:
    find = Findings("workspace")
    table = Diagnosis(
        (find.ok("a", "fine"), find.warning("bb", "odd\x1b[31m", "turn it"), find.ok("c", "fine"))
    )
    assert str(table).splitlines() == [
        "workspace",
        "  ok       a   fine",
        "  warning  bb  odd\\x1b[31m",
        "               fix: turn it",
        "  ok       c   fine",
        "",
        "3 checks: 1 warning",
    ]
    assert table.is_healthy
    assert not Diagnosis((find.problem("a", "broken", "mend it"),)).is_healthy


@pytest.mark.slow
def test_the_command_exits_4_on_a_problem_and_0_without(workspace: Path) -> None:
    def doctor(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "dexsearch", "doctor", "--workspace", str(workspace)]
        kept = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
        return subprocess.run(
            [*command, *arguments], capture_output=True, text=True, check=False, env=kept
        )

    before = everything(workspace)
    done = doctor("--format", "json", "--quick")
    assert done.returncode == 0, done.stdout
    told = json.loads(done.stdout)
    assert told["healthy"] is True
    assert {"this machine", "workspace", "MLflow"} == {c["group"] for c in told["checks"]}
    assert {"torch", "Ray", "device", "disk"} <= {c["name"] for c in told["checks"]}
    pack(workspace, 0, 0.7).weights.write_bytes(b"flipped")
    done = doctor("--storage", "/proc/nowhere")
    assert done.returncode == 4
    assert "problem  storage" in done.stdout
    assert "problem  dexsearch-bone/2" in done.stdout
    assert "fix: " in done.stdout
    pack(workspace, 0, 0.7)
    assert everything(workspace) == before

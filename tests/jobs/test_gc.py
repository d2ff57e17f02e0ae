"""Laws of `gc`: what goes, what stays, and what happens when it is killed or not alone."""

import errno
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from dexsearch.errors import DataError, EnvironmentFault, StudyBusy
from dexsearch.inference.package import Package
from dexsearch.jobs.collection import Collection
from dexsearch.jobs.gc import LOCK_NAME, collect_garbage
from dexsearch.ledger.log import EventLog
from dexsearch.ledger.study import LEDGER_NAME, read_study
from dexsearch.locking import hold_lock
from dexsearch.registry.packing import while_packing
from dexsearch.registry.store import PACKAGES, register
from dexsearch.search.lease import study_lease
from dexsearch.training.checkpoint import open_checkpoint
from dexsearch.training.checkpoint_store import WRITER

sys.path.insert(0, str(Path(__file__).parent / "support"))
from small_studies import begin_study, everything, pack

NOBODY = 2**22 + 1
"""No process has so high a number."""


def collect(workspace: Path, *, keep: int = 0, dry_run: bool = False) -> Collection:
    return collect_garbage(workspace, keep=keep, dry_run=dry_run, progress=lambda *_: None)


def checkpoints(folder: Path) -> dict[int, list[str]]:
    return {
        int(trial.name): sorted(path.name for path in trial.iterdir() if path.name != WRITER)
        for trial in (folder / "trials").iterdir()
    }


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return tmp_path / "workspace"


FOUR = [("complete", 0.7), ("complete", 0.9), ("pruned", 0.5), ("complete", 0.8)]


def test_the_best_keep_their_last_checkpoint_and_nothing_else_does(workspace: Path) -> None:
    study = begin_study(workspace, *FOUR, n_register=0)
    freed = collect(workspace, keep=2)
    assert checkpoints(study) == {1: ["00002"], 3: ["00002"]}
    assert {item.why for item in freed.items} == {
        "before the last of a kept trial",
        "of complete trials not among the best",
        "of pruned trials",
        "of ended trials",
    }
    for number in (1, 3):
        open_checkpoint(study / "trials" / str(number) / "00002")


def test_what_is_told_as_freed_is_what_the_disk_gained(workspace: Path) -> None:
    begin_study(workspace, *FOUR)
    before = everything(workspace)
    told = collect(workspace, dry_run=True)
    freed = collect(workspace)
    gone = before.keys() - everything(workspace).keys()
    assert freed.bytes == told.bytes == sum(len(before[name]) for name in gone) > 0
    assert [item.path for item in told.items] == [item.path for item in freed.items]


def test_a_dry_run_changes_nothing(workspace: Path) -> None:
    begin_study(workspace, *FOUR)
    register(workspace, [pack(workspace, 1, 0.9)])
    before = everything(workspace)
    assert collect(workspace, dry_run=True).items
    assert everything(workspace) == before


def test_what_the_next_tune_would_register_keeps_its_checkpoint(workspace: Path) -> None:
    study = begin_study(workspace, *FOUR, n_register=2)
    collect(workspace, keep=0)
    assert checkpoints(study) == {1: ["00002"], 3: ["00002"]}


def test_a_damaged_checkpoint_passes_its_place_to_the_next(workspace: Path) -> None:
    study = begin_study(workspace, *FOUR, n_register=2)
    (study / "trials" / "1" / "00002" / "ema.safetensors").write_bytes(b"flipped")
    collect(workspace, keep=0)
    assert {0, 3} <= checkpoints(study).keys()


def test_a_study_whose_checkpoints_cannot_be_read_just_now_is_passed_over(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = begin_study(workspace, *FOUR, n_register=2)
    read_bytes = Path.read_bytes

    def stale(path: Path) -> bytes:
        if path.parent.name == "00002":
            raise OSError(errno.ESTALE, "Stale file handle", str(path))
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", stale)
    before = checkpoints(study)
    assert "Stale file handle" in "\n".join(collect(workspace, keep=0).passed_over)
    assert checkpoints(study) == before


def test_a_version_with_a_whole_package_needs_no_checkpoint(workspace: Path) -> None:
    study = begin_study(workspace, *FOUR, n_register=2)
    register(workspace, [pack(workspace, 1, 0.9), pack(workspace, 3, 0.8)])
    collect(workspace, keep=0)
    assert checkpoints(study) == {}


@pytest.mark.parametrize("damage", ["gone", "flipped"])
def test_a_version_without_a_whole_package_keeps_its_checkpoint(
    workspace: Path, damage: str
) -> None:
    study = begin_study(workspace, *FOUR, n_register=1)
    worst = pack(workspace, 0, 0.7)
    register(workspace, [pack(workspace, 1, 0.9), worst])
    if damage == "gone":
        shutil.rmtree(worst.path)
    else:
        worst.weights.write_bytes(b"flipped")
    collect(workspace, keep=0)
    assert checkpoints(study) == {0: ["00002"]}


def test_complete_replicates_keep_none_and_unfinished_ones_everything(workspace: Path) -> None:
    trials = [("complete", 0.7), ("running", 0.1)]
    study = begin_study(workspace, *trials, name="ribs.replicates", n_register=0)
    collect(workspace, keep=3)
    assert checkpoints(study) == {1: ["00001", "00002"]}


def test_a_reproduction_that_waits_to_be_continued_stays(workspace: Path) -> None:
    begin_study(workspace, *FOUR)
    waiting = workspace / "reproductions" / ("a" * 16) / "00002"
    waiting.mkdir(parents=True)
    (waiting / "manifest.json").write_bytes(b"{}")
    collect(workspace)
    assert (waiting / "manifest.json").is_file()


def test_unfinished_trials_keep_everything(workspace: Path) -> None:
    study = begin_study(workspace, ("running", 0.1), ("complete", 0.9), n_register=0)
    collect(workspace, keep=0)
    assert checkpoints(study) == {0: ["00001", "00002"]}


def test_a_study_that_runs_is_passed_over_and_told(workspace: Path) -> None:
    study = begin_study(workspace, *FOUR)
    (study / "tune").mkdir()
    before = everything(study / "trials")
    with EventLog(study / LEDGER_NAME):
        for dry_run in (True, False):
            found = collect(workspace, dry_run=dry_run)
            assert found.items == ()
            assert "study ribs" in found.passed_over[0]
    assert everything(study / "trials") == before
    assert (study / "tune").is_dir()


def test_scratch_of_a_killed_search_goes(workspace: Path) -> None:
    study = begin_study(workspace, ("running", 0.1))
    (study / "tune" / "search").mkdir(parents=True)
    (study / "tune" / "search" / "state.json").write_bytes(b"{}")
    assert [item.kind for item in collect(workspace).items] == ["scratch"]
    assert not (study / "tune").exists()


def test_partials_of_the_dead_go_those_of_the_living_and_of_other_machines_stay(
    workspace: Path,
) -> None:
    study = begin_study(workspace, ("complete", 0.9), n_register=1)
    register(workspace, [pack(workspace, 0, 0.9)])
    host = socket.gethostname()
    for folder in (study / "trials" / "0", workspace / PACKAGES):
        for name in (f"{host}-{NOBODY}", f"{host}-{os.getppid()}", f"elsewhere-{NOBODY}"):
            (folder / f"00003.partial-{name}").mkdir()
    collect(workspace, keep=1)
    alive = [f"00003.partial-elsewhere-{NOBODY}", f"00003.partial-{host}-{os.getppid()}"]
    assert checkpoints(study)[0] == sorted(["00002", *alive])
    left = {path.name for path in (workspace / PACKAGES).iterdir()}
    assert set(alive) < left
    assert f"00003.partial-{host}-{NOBODY}" not in left


def test_a_package_that_no_registration_names_goes_and_registered_ones_stay(
    workspace: Path,
) -> None:
    kept, orphan = pack(workspace, 0, 0.9), pack(workspace, 7, 0.6)
    register(workspace, [kept])
    freed = collect(workspace)
    assert [item.path for item in freed.items] == [orphan.path]
    assert kept.path.is_dir()
    assert not orphan.path.exists()


def test_packages_stay_where_the_registry_was_lost(workspace: Path) -> None:
    package = pack(workspace, 0, 0.9)
    assert collect(workspace).items == ()
    assert package.path.is_dir()


def test_a_damaged_registry_stops_it_before_anything_goes(workspace: Path) -> None:
    begin_study(workspace, *FOUR)
    register(workspace, [pack(workspace, 1, 0.9)])
    log = workspace / "registry.jsonl"
    log.write_bytes(b"nonsense\n" + log.read_bytes())
    before = everything(workspace / "studies" / "ribs" / "trials")
    with pytest.raises(DataError, match=r"registry\.jsonl:1"):
        collect(workspace)
    assert everything(workspace / "studies" / "ribs" / "trials") == before


def test_a_damaged_ledger_is_passed_over_and_the_others_are_collected(workspace: Path) -> None:
    broken = begin_study(workspace, *FOUR, name="broken")
    whole = begin_study(workspace, *FOUR, n_register=0)
    ledger = broken / LEDGER_NAME
    ledger.write_bytes(b"nonsense\n" + ledger.read_bytes())
    found = collect(workspace)
    assert "study broken" in found.passed_over[0]
    assert len(checkpoints(broken)) == 4
    assert checkpoints(whole) == {}


def test_a_package_is_no_orphan_while_somebody_registers(workspace: Path) -> None:
    study = begin_study(workspace, *FOUR, n_register=0)
    register(workspace, [pack(workspace, 1, 0.9)])
    fresh = pack(workspace, 7, 0.6)
    found: list[Collection] = []

    @while_packing
    def registering(workspace: Path) -> None:
        found.append(collect(workspace, dry_run=True))
        found.append(collect(workspace))

    registering(workspace)
    assert [one.items for one in found] == [(), ()]
    assert all("registers" in one.passed_over[0] for one in found)
    assert fresh.path.is_dir()
    assert len(checkpoints(study)) == 4
    collect(workspace)
    assert not fresh.path.exists()


def test_a_second_gc_is_refused(workspace: Path) -> None:
    begin_study(workspace, *FOUR)
    lock = hold_lock(
        workspace / LOCK_NAME, what="the workspace", busy=StudyBusy, elsewhere="elsewhere"
    )
    try:
        for dry_run in (True, False):
            with pytest.raises(StudyBusy):
                collect(workspace, dry_run=dry_run)
    finally:
        os.close(lock)


@pytest.mark.slow
def test_of_many_gcs_at_once_each_piece_goes_once(workspace: Path) -> None:
    study = begin_study(workspace, *FOUR, n_register=0)
    command = [sys.executable, "-m", "dexsearch", "gc", "--keep", "1", "--format", "json"]
    running = [
        subprocess.Popen(
            [*command, "--workspace", str(workspace)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(4)
    ]  # fmt: skip
    ended = [(process.communicate()[0], process.returncode) for process in running]
    assert {code for _, code in ended} <= {0, 6}
    items = [item for out, code in ended if code == 0 for item in json.loads(out)["items"]]
    assert len({item["path"] for item in items}) == len(items)
    assert Counter(item["kind"] for item in items) == {"checkpoint": 7, "mark": 3}
    assert checkpoints(study) == {1: ["00002"]}


def folders_of(path: Path) -> Iterator[Path]:
    yield from (entry for entry in path.rglob("*") if entry.is_dir())


@pytest.mark.parametrize("dies_after", range(8))
def test_a_crash_leaves_nothing_that_claims_to_be_whole(
    workspace: Path, dies_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files of a folder go only after its name has gone; the next gc takes what is left."""
    study = begin_study(workspace, *FOUR, n_register=0)
    register(workspace, [pack(workspace, 1, 0.9)])
    pack(workspace, 7, 0.6)
    calls = []

    def dying(path: Path) -> None:
        calls.append(path)
        if len(calls) > dies_after:
            next(file for file in path.rglob("*") if file.is_file()).unlink()
            raise OSError(5, "the process dies here")
        shutil.rmtree(path)

    with monkeypatch.context() as patched:
        patched.setattr("dexsearch.durable.shutil.rmtree", dying)
        with pytest.raises(EnvironmentFault, match="cannot delete"):
            collect(workspace, keep=1)
    for folder in folders_of(study / "trials"):
        if folder.name.isdecimal() and len(folder.name) == 5:
            open_checkpoint(folder)
    collect(workspace, keep=1)
    assert checkpoints(study) == {1: ["00002"]}
    assert len(list((workspace / PACKAGES).iterdir())) == 1
    assert collect(workspace, keep=1).items == ()


@pytest.mark.parametrize(
    "linked", ["studies/ribs", "studies/ribs/trials", "studies/ribs/trials/0", "mlartifacts"]
)
def test_symlinks_are_not_followed(workspace: Path, tmp_path: Path, linked: str) -> None:
    begin_study(workspace, *FOUR, n_register=0)
    register(workspace, [pack(workspace, 1, 0.9)])
    pack(workspace, 7, 0.6)
    outside = tmp_path / "outside"
    (workspace / linked).rename(outside)
    (workspace / linked).symlink_to(outside)
    before = everything(outside)
    collect(workspace)
    lock = LEDGER_NAME + ".lock"
    assert {n: c for n, c in everything(outside).items() if n != lock} == {
        n: c for n, c in before.items() if n != lock
    }


def test_what_is_not_ours_stays(workspace: Path) -> None:
    study = begin_study(workspace, ("pruned", 0.1))
    register(workspace, [pack(workspace, 1, 0.9)])
    strangers = [
        workspace / "datasets" / "x.partial",
        workspace / "evidence" / "looks",
        study / "trials" / "99" / "00002",
        study / "trials" / "0" / "my-copy",
        workspace / PACKAGES / "my-generator",
        workspace / "mlartifacts" / "models",
        workspace / "mlartifacts" / ("a" * 32) / "artifacts" / "plots",
    ]
    for folder in strangers:
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(b"mine")
    collect(workspace)
    assert all((folder / "file").is_file() for folder in strangers)


def artifacts_of(workspace: Path, run: str, package: Package) -> Path:
    folder = workspace / "mlartifacts" / run
    shutil.copytree(package.path, folder / "artifacts" / "generator", copy_function=os.link)
    return folder


def test_artifacts_go_only_where_no_run_and_no_version_shows_them(workspace: Path) -> None:
    kept, orphan = pack(workspace, 0, 0.9), pack(workspace, 7, 0.6)
    register(workspace, [kept])
    known = artifacts_of(workspace, "1" * 32, orphan)
    stale = artifacts_of(workspace, "2" * 32, orphan)
    of_version = artifacts_of(workspace, "3" * 32, kept)
    assert not [i for i in collect(workspace, dry_run=True).items if i.kind == "artifacts"]
    with sqlite3.connect(workspace / "mlflow.db") as database:
        database.execute("CREATE TABLE runs (run_uuid TEXT)")
        database.execute("INSERT INTO runs VALUES (?)", ("1" * 32,))
    database.close()
    told = {item.kind: item.bytes for item in collect(workspace, dry_run=True).items}
    assert told == {"package": 0, "artifacts": 0}  # a name is left among those of the known run
    collect(workspace)
    assert (known.is_dir(), stale.exists(), of_version.is_dir()) == (True, False, True)


def test_a_file_with_several_names_counts_once_and_when_its_last_goes(workspace: Path) -> None:
    study = begin_study(workspace, ("pruned", 0.1), ("pruned", 0.2))
    shutil.rmtree(study / "trials" / "1" / "00001")
    os.link(study / "trials/0/00001/ema.safetensors", study / "trials/1/00002/second.safetensors")
    size = sum(path.stat().st_size for path in (study / "trials").rglob("*") if path.is_file())
    twice = (study / "trials/0/00001/ema.safetensors").stat().st_size
    assert collect(workspace, dry_run=True).bytes == size - twice


def test_checkpoints_outside_the_study_are_told_of_and_stay(
    workspace: Path, tmp_path: Path
) -> None:
    study = begin_study(workspace, ("complete", 0.9), n_register=0)
    elsewhere = tmp_path / "shared" / "ribs"
    (study / "trials").rename(tmp_path / "trials")
    elsewhere.mkdir(parents=True)
    (tmp_path / "trials").rename(elsewhere / "trials")
    ledger = study / LEDGER_NAME
    text = ledger.read_text().replace('"trials/0/', f'"{elsewhere}/trials/0/')
    ledger.write_text(text)
    assert read_study(study).checkpoint_location(read_study(study).trials[0]) is not None
    found = collect(workspace)
    assert found.items == ()
    assert str(elsewhere) in found.passed_over[0]
    assert (elsewhere / "trials" / "0" / "00002").is_dir()


def test_a_study_that_a_process_holds_is_passed_over_where_locks_tell_nothing(
    workspace: Path,
) -> None:
    study = begin_study(workspace, *FOUR, n_register=0)
    before = everything(workspace)
    with study_lease(study, takeover=False, tell=print):
        held = collect(workspace)
        assert any("a process holds it" in told for told in held.passed_over)
        assert checkpoints(study).keys() == {0, 1, 2, 3}
    assert collect(workspace).items
    assert len(everything(workspace)) < len(before)

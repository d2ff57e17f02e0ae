import json
import subprocess
import sys
from pathlib import Path

import pytest

from dexsearch.inference.package import GeneratorCard, Package, write_package
from dexsearch.ledger.log import EventLog
from dexsearch.ledger.study import StudyRecord
from dexsearch.registry.store import keep_audit, package_folder, register

KEYS = [
    "rank", "name", "version", "aliases", "task", "study", "trial", "dataset", "metric",
    "val_ssim", "val_ssim_bone", "val_ssim_tissue", "baselines", "params", "epochs", "uri",
    "sha256", "audit", "head", "scores", "intervals", "n_subjects", "n_parameters", "size_bytes",
    "latency", "seed", "git_commit", "replicates", "evidence", "above_champion", "weights_sha256",
]  # fmt: skip
HEAVY = ("torch", "ray", "mlflow", "optuna")


def package(workspace: Path, trial: int, score: float, *, study: str = "ribs") -> Package:
    card = GeneratorCard(
        task="bone", targets=("bone",), trial_config={}, normalization={}, units={}, study=study,
        trial=trial, params={"generator.depth": 3}, objective="val_ssim", epochs=3,
        n_parameters=10, dataset="d" * 64, size_px=(32, 32), pixel_mm=None, metric=1,
        scores={"val_ssim": score, "val_ssim_bone": score, "val_ssim_tissue": None},
        baselines={m: {"bone": 0.4} for m in ("identity_affine", "nearest_pose", "constant")},
        libraries={},
    )  # fmt: skip
    weights = f"weights {trial}".encode()
    folder = package_folder(workspace, card.content_hash(weights.hex()))
    return write_package(folder, weights=weights, card=card, curve=[], draw=_draw)


def _draw(folder: Path) -> None:
    (folder / "pictures").mkdir()
    (folder / "pictures" / "1-a.png").write_bytes(b"png")


def run(workspace: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dexsearch", "best", "--workspace", str(workspace)]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    register(folder, [package(folder, 4, 0.91), package(folder, 2, 0.87)])
    return folder


def test_json_has_exactly_the_released_keys(workspace: Path) -> None:
    done = run(workspace, "--format", "json")
    assert done.returncode == 0
    first, second = json.loads(done.stdout)
    assert list(first) == KEYS
    assert (first["rank"], first["name"], first["version"]) == (1, "dexsearch-bone", 1)
    assert (first["aliases"], second["aliases"]) == (["champion"], [])
    assert (first["val_ssim"], first["val_ssim_tissue"]) == (0.91, None)
    assert first["baselines"]["nearest_pose"] == {"bone": 0.4}
    assert first["uri"].startswith("file:///")


def test_the_table_has_baselines_beside_the_scores(workspace: Path) -> None:
    done = run(workspace)
    for text in ("dexsearch-bone/1 @champion", "0.9100", "nearest_pose", "0.4000", "ribs/4"):
        assert text in done.stdout
    assert "next: dexsearch predict dexsearch-bone@champion" in done.stderr


def test_the_audit_of_each_study_stands_below_the_table(workspace: Path) -> None:
    study = StudyRecord("ribs", workspace, {}, "bone", "val_ssim", "d", "d" * 64, 1, ())
    assert json.loads(run(workspace, "--format", "json").stdout)[0]["audit"] is None
    keep_audit(workspace, study, {"n_pruned": 7}, "pruning (median): 7 pruned\n  \x1b[2Jtoo few")
    first, second = json.loads(run(workspace, "--format", "json").stdout)
    assert first["audit"] == second["audit"] == {"n_pruned": 7}
    footer = run(workspace).stdout.split("constant")[1].splitlines()[-3:]
    assert footer == ["study ribs", "  pruning (median): 7 pruned", "    \\x1b[2Jtoo few"]


def test_best_imports_no_heavy_library(workspace: Path) -> None:
    script = (
        "import sys; from dexsearch.cli.app import main\n"
        "try: main()\n"
        "except SystemExit as error: assert not error.code\n"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    command = [sys.executable, "-c", script, "best", "--workspace", str(workspace)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


def test_top_and_task_choose_rows(workspace: Path) -> None:
    assert len(json.loads(run(workspace, "--top", "1", "--format", "json").stdout)) == 1
    assert json.loads(run(workspace, "--task", "joint", "--format", "json").stdout) == []


def test_an_empty_registry_tells_how_far_the_studies_are(tmp_path: Path) -> None:
    done = run(tmp_path, "--format", "json")
    assert (done.returncode, json.loads(done.stdout)) == (0, [])
    assert "next: dexsearch tune --space quickstart.yaml" in done.stderr
    with EventLog(tmp_path / "studies" / "joint" / "ledger.jsonl") as log:
        log.append(
            {"event": "study", "study": "joint", "task": "joint", "dataset": "d", "metric": 1,
             "space": {"objective": "val_ssim", "trials": 8}, "dataset_digest": "d"}
        )  # fmt: skip
        log.append(
            {"event": "trial_started", "trial": 0, "params": {}, "config": {}, "immune": False,
             "enqueued": False}
        )  # fmt: skip
        log.append({"event": "trial_ended", "trial": 0, "state": "complete"})
    done = run(tmp_path)
    assert "study 'joint': 1 of 8 trials complete" in done.stderr
    assert "next: dexsearch tune --space joint.yaml" in done.stderr


def test_download_copies_the_best_and_checks_it(workspace: Path, tmp_path: Path) -> None:
    done = run(workspace, "--download", str(tmp_path / "mine"))
    assert done.returncode == 0
    assert (tmp_path / "mine" / "weights.safetensors").read_bytes() == b"weights 4"
    assert (tmp_path / "mine" / "pictures" / "1-a.png").exists()
    assert "every hash agrees" in done.stderr


def test_a_corrupted_download_is_one_line_and_leaves_nothing(
    workspace: Path, tmp_path: Path
) -> None:
    for weights in workspace.rglob("weights.safetensors"):
        weights.write_bytes(b"flipped")
    done = run(workspace, "--download", str(tmp_path / "mine"))
    assert done.returncode == 7
    first, hint = done.stderr.splitlines()
    assert first.startswith("error: generator package")
    assert "'weights.safetensors'" in first
    assert hint.startswith("hint: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["workspace"]


def test_download_below_a_file_is_one_line(workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    done = run(workspace, "--download", str(tmp_path / "thesis.txt" / "mine"))
    assert done.returncode == 3
    assert done.stderr.startswith("error: cannot copy")
    assert len(done.stderr.splitlines()) == 2


def test_a_workspace_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    done = run(tmp_path / "thesis.txt")
    assert done.returncode == 3
    assert "cannot be read: Not a directory" in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_a_damaged_study_does_not_hide_the_others(tmp_path: Path) -> None:
    (tmp_path / "studies" / "damaged").mkdir(parents=True)
    (tmp_path / "studies" / "damaged" / "ledger.jsonl").write_text("5\n")
    done = run(tmp_path)
    assert done.returncode == 0
    assert "study 'damaged' is passed over" in done.stderr
    assert "next: dexsearch tune --space quickstart.yaml" in done.stderr


def test_download_without_a_generator_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path, "--download", str(tmp_path / "mine"))
    assert done.returncode == 4
    assert not (tmp_path / "mine").exists()


def test_control_characters_in_a_study_do_not_reach_the_terminal(tmp_path: Path) -> None:
    register(tmp_path, [package(tmp_path, 1, 0.5, study="\x1b[2J[red]evil\u202e")])
    done = run(tmp_path)
    assert "\\x1b[2J[red]evil\\u202e" in done.stdout.replace("\n", "")
    assert "\x1b" not in run(tmp_path, "--format", "json").stdout + done.stdout


def test_csv_and_markdown_are_for_sheets_and_papers(workspace: Path) -> None:
    sheet = run(workspace, "--format", "csv").stdout.splitlines()
    assert sheet[0].startswith("rank,name,version,aliases,")
    assert [line.split(",")[:4] for line in sheet[1:]] == [
        ["1", "dexsearch-bone", "1", "champion"], ["2", "dexsearch-bone", "2", ""],
    ]  # fmt: skip
    paper = run(workspace, "--format", "markdown").stdout
    assert "| 1 | `dexsearch-bone/1` `@champion` | `ribs/4` | 0.9100 | 0.9100 |" in paper


def test_study_chooses_rows_and_an_unknown_one_is_refused(workspace: Path) -> None:
    register(workspace, [package(workspace, 7, 0.99, study="lungs")])
    (row,) = json.loads(run(workspace, "--study", "lungs", "--format", "json").stdout)
    assert (row["study"], row["rank"]) == ("lungs", 1)
    done = run(workspace, "--study", "rib")
    assert done.returncode == 3
    assert "studies: lungs, ribs" in done.stderr
    assert "hint: did you mean --study ribs?" in done.stderr


def test_a_study_that_has_registered_nothing_yet_is_no_mistake(workspace: Path) -> None:
    with EventLog(workspace / "studies" / "new" / "ledger.jsonl") as log:
        log.append(
            {"event": "study", "study": "new", "task": "joint", "dataset": "d", "metric": 1,
             "space": {"objective": "val_ssim", "trials": 8}, "dataset_digest": "d"}
        )  # fmt: skip
    done = run(workspace, "--study", "new", "--format", "json")
    assert (done.returncode, json.loads(done.stdout)) == (0, [])
    assert "no generator of study 'new' is registered" in done.stderr


def test_an_unknown_metric_is_refused_with_the_known_ones(workspace: Path) -> None:
    done = run(workspace, "--metric", "val_sim")
    assert done.returncode == 3
    assert "recorded scores: val_ssim, val_ssim_bone" in done.stderr
    assert "hint: did you mean --metric val_ssim?" in done.stderr


def test_a_version_above_the_champion_waits_for_promote(workspace: Path) -> None:
    register(workspace, [package(workspace, 9, 0.95)])
    done = run(workspace)
    told = " ".join(done.stdout.split())
    assert "dexsearch-bone/3 scores 0.0400 above the champion dexsearch-bone/1" in told
    assert "next: dexsearch promote dexsearch-bone/3 --workspace" in done.stderr

"""The command `status`: it reads a ledger and nothing heavy."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dexsearch.ledger.log import EventLog

HEAVY = ("torch", "ray", "mlflow", "optuna", "scipy")
SPACE = {
    "objective": "val_ssim", "trials": 14, "epochs": 4,
    "pruner": {"kind": "median", "min_epochs": 1, "immune_every": 4},
}  # fmt: skip


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Twelve complete trials, so that there is a rank correlation with an interval."""
    with EventLog(tmp_path / "studies" / "ribs" / "ledger.jsonl") as log:
        log.append(
            {"event": "study", "study": "ribs", "task": "bone", "dataset": "d", "metric": 1,
             "space": SPACE, "dataset_digest": "d"}, sync=False
        )  # fmt: skip
        for number in range(12):
            log.append(
                {"event": "trial_started", "trial": number, "params": {}, "config": {},
                 "immune": number % 4 == 0, "enqueued": False}, sync=False
            )  # fmt: skip
            for epoch in range(1, 5):
                record = {"epoch": epoch, "val_ssim": number / 20 + epoch / 50, "seconds": 1.0}
                log.append({"event": "epoch", "trial": number, "record": record}, sync=False)
            log.append({"event": "trial_ended", "trial": number, "state": "complete"}, sync=False)
    return tmp_path


def test_json_holds_the_audit_beside_the_counts(workspace: Path) -> None:
    command = [sys.executable, "-m", "dexsearch", "status", "--format", "json"]
    done = subprocess.run(
        [*command, "--workspace", str(workspace)], capture_output=True, text=True, check=True
    )
    shown = json.loads(done.stdout)
    assert shown["trials"] == {"complete": 12, "pruned": 0, "failed": 0, "running": 0}
    assert (shown["audit"]["n_immune"], shown["audit"]["enough"]) == (3, False)
    assert shown["audit"]["correlations"][0]["low"] == 1.0
    assert shown["epochs_left"] == 8


def test_status_imports_no_heavy_library(workspace: Path) -> None:
    script = (
        "import sys; from dexsearch.cli.app import main\n"
        "try: main()\n"
        "except SystemExit as error: assert not error.code\n"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    command = [sys.executable, "-c", script, "status", "ribs", "--workspace", str(workspace)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"
    assert "too few to judge (under 20): up to 71% of trials might" in done.stdout
    assert "rank correlation with the final score over 12 complete trials" in done.stdout

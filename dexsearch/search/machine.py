"""What a search runs on, for the ledger: processor and GPUs, never the host's name."""

import os
import subprocess
from typing import Any

from dexsearch.training.arithmetic import processor_name


def this_machine() -> dict[str, Any]:
    """Return processor, CPU count and GPU names of this machine.

    GPUs are asked for through `nvidia-smi`, because asking torch would take memory of each.
    """
    return {"processor": processor_name(), "cpus": os.cpu_count() or 1, "gpus": _gpus()}


def _gpus() -> list[str]:
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]

"""What a search runs on, for the ledger: processor and GPUs, never the host's name."""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any


def this_machine() -> dict[str, Any]:
    """Return processor, CPU count and GPU names of this machine.

    GPUs are asked for through `nvidia-smi`, because asking torch would take memory of each.
    """
    return {"processor": _processor(), "cpus": os.cpu_count() or 1, "gpus": _gpus()}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _gpus() -> list[str]:
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]

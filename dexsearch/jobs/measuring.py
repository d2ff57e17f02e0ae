"""What is measured of a generator when it is registered: intervals, latency; and of the code."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dexsearch

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from dexsearch.config.trial import TrialConfig

FEWEST_SUBJECTS = 3
"""Below, a bootstrap over subjects says nothing."""
_GIT_PATIENCE_S = 10
_N_LATENCIES = 3
"""Of them the lowest counts: what else runs on a machine can only make a generator slower."""


def score_intervals(
    ssim: "NDArray[np.float64]", subjects: Sequence[str], targets: tuple[str, ...]
) -> dict[str, list[float]]:
    """Return the 95 % BCa interval of each score's mean over subjects, by the score's name.

    Images of one subject are alike, so each subject counts once, with the mean of its images.
    Empty for fewer than three subjects.

    Args:
        ssim: masked SSIM, images x targets.
        subjects: of each image.
        targets: in the order of the columns.
    """
    from dexsearch.registry.paired import mean_intervals, subject_means

    if len(set(subjects)) < FEWEST_SUBJECTS:
        return {}
    columns = {"val_ssim": ssim.mean(axis=1)}
    columns |= {f"val_ssim_{target}": ssim[:, i] for i, target in enumerate(targets)}
    return {
        name: list(mean_intervals(subject_means(subjects, values))["bca"])
        for name, values in columns.items()
    }


def measure_latency(
    config: "TrialConfig", size_px: tuple[int, int], device: "torch.device"
) -> dict[str, Any]:
    """Return how long one image takes here, and what `here` is; never the host's name."""
    import torch

    from dexsearch.search.machine import this_machine
    from dexsearch.training.latency import latency_ms

    is_gpu = device.type == "cuda"
    return {
        "ms": round(min(latency_ms(config, size_px, device) for _ in range(_N_LATENCIES)), 3),
        "size_px": list(size_px),
        "device": torch.cuda.get_device_name(device) if is_gpu else device.type,
        "threads": torch.get_num_threads(),
        "machine": machine_text(this_machine()),
    }


def machine_text(machine: Mapping[str, Any]) -> str:
    """Return a machine of a ledger in words: processor, CPUs and GPUs."""
    parts = [str(machine["processor"]), f"{machine['cpus']} CPUs", *machine["gpus"]]
    return ", ".join(parts)


def git_commit() -> str | None:
    """Return the commit of the checkout that dexsearch runs from; None where there is none.

    It ends with `+changes` where files of the package differ from that commit.
    """
    package = Path(dexsearch.__file__).parent
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None  # installed, perhaps below somebody else's repository
    commit = _git(package, "rev-parse", "HEAD")
    if not commit:
        return None
    changed = _git(package, "status", "--porcelain", "--untracked-files=no", "--", ".")
    return f"{commit}+changes" if changed else commit


def _git(folder: Path, *words: str) -> str | None:
    """Return what git says; None where it is missing, slow or refuses."""
    command = ["git", "--no-optional-locks", "-C", str(folder), *words]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_GIT_PATIENCE_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()

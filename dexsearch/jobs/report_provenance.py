"""Where a report's numbers come from: data, metric, code, machine, times, weights."""

import platform
import shlex
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from dexsearch import __version__
from dexsearch.jobs.report_pictures import Gallery
from dexsearch.ledger.study import StudyRecord
from dexsearch.registry.record import Registration
from dexsearch.report.contents import Fact, Provenance

if TYPE_CHECKING:
    from dexsearch.data.store import Dataset

LIBRARIES = ("torch", "optuna", "ray", "numpy", "mlflow", "safetensors", "matplotlib")
METRIC = (
    "masked SSIM: Gaussian window, means over the body eroded by its reach; data ranges from "
    "training subjects; the generator's moving average at the final epoch"
)


def provenance(
    record: StudyRecord, gallery: Gallery, best: Registration | None, workspace: Path
) -> Provenance:
    """Gather what is needed to make a search again, and to tell whether it is the same."""
    package = gallery.packages.get(best.trial) if best else None
    trained_with = package.card.libraries if package else {}
    return Provenance(
        facts=(
            ("study", f"{record.name}, task {record.task}, objective {record.objective}"),
            *_times(record),
            *_data(record, gallery.dataset, workspace),
            ("metric definition", f"number {record.metric}; {METRIC}"),
            *_weights(best),
            ("code", _code()),
            ("machine of this report", _machine()),
            ("machine of the trials", _machines(record)),
        ),
        libraries=_libraries(trained_with),
        command=_command(record),
        space_yaml=yaml.safe_dump(record.space, sort_keys=False, allow_unicode=False, width=96),
    )


def _times(record: StudyRecord) -> tuple[Fact, ...]:
    ends = [trial.ended for trial in record.trials if trial.ended is not None]
    begun = record.begun or min((trial.started for trial in record.trials), default=0.0)
    facts = [("search begun", _utc(begun))] if begun else []
    return (*facts, ("last trial ended", _utc(max(ends)))) if ends else tuple(facts)


def _data(record: StudyRecord, dataset: "Dataset | None", workspace: Path) -> tuple[Fact, ...]:
    facts: list[Fact] = [
        ("dataset", _relative(Path(record.dataset), workspace)),
        ("dataset digest", record.dataset_digest),
    ]
    if dataset is None:
        return (*facts, ("dataset source", "the dataset is not on this machine"))
    manifest = dataset.manifest
    subsets = ", ".join(
        f"{subset} {len(infos)} images of {len(manifest.subjects(subset))} subjects"
        for subset, infos in manifest.images.items()
    )
    rows, columns = manifest.size_px
    return (
        *facts,
        ("dataset kind", f"{manifest.kind}, {rows} x {columns} px, {manifest.split_rule}"),
        ("dataset subsets", subsets),
        ("dataset source", _one_line(manifest.source)),
    )


def _weights(best: Registration | None) -> tuple[Fact, ...]:
    if best is None:
        return (("weights of the best", "not registered"),)
    return (
        ("best generator", f"{best.name}/{best.version}, {best.n_parameters:,} parameters"),
        ("weights sha256", best.weights_sha256),
        ("package sha256", best.sha256),
    )


def _libraries(trained_with: dict[str, str]) -> tuple[Fact, ...]:
    """Return versions: those that registered the best, and those of this report where others."""
    here = {"python": platform.python_version(), "dexsearch": __version__}
    here |= {name: _version(name) for name in LIBRARIES}
    facts = []
    for name, found in here.items():
        then = trained_with.get(name, found)
        same = then == found
        facts.append((name, found if same else f"{then} when registered, {found} now"))
    return tuple(facts)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _code() -> str:
    """Return version and, where dexsearch runs from a repository, the commit."""
    source = Path(__file__).parents[2]
    commit = _git(source, "rev-parse", "HEAD") if (source / ".git").exists() else None
    if not commit:
        return f"dexsearch {__version__}, installed"
    changed = " with uncommitted changes" if _git(source, "status", "--porcelain") else ""
    return f"dexsearch {__version__}, git commit {commit}{changed} (at the time of this report)"


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _machine() -> str:
    import os

    import torch

    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no GPU"
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores, {gpu}"


def _machines(record: StudyRecord) -> str:
    """Tell every machine that the search ran on; of a cluster the ledger knows none."""
    told = [
        ", ".join([one["processor"], f"{one['cpus']} CPUs", *(one["gpus"] or ["no GPU"])])
        for one in record.machines
    ]
    return "; then ".join(told) or "the ledger does not say"


def _command(record: StudyRecord) -> str:
    name = shlex.quote(f"{record.name}.yaml")
    return (
        f"# save the search space below as {name}, then, where the dataset has the digest above:\n"
        f"dexsearch tune --space {name} --study {shlex.quote(record.name)}"
    )


def _relative(path: Path, workspace: Path) -> str:
    """Return a path below the workspace; of another one only the name."""
    try:
        return path.resolve().relative_to(workspace.resolve()).as_posix()
    except ValueError:
        return path.name


def _one_line(values: dict[str, Any]) -> str:
    text: str = yaml.safe_dump(values, default_flow_style=True, width=10**6).strip()
    return text


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))

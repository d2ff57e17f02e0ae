"""What the nodes of a cluster answered before a search, and what follows from it; no Ray here."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dexsearch.location import shown
from dexsearch.search.preflight_node import Answer

TOO_LITTLE_BYTES, LITTLE_BYTES = 5e8, 5e9
"""Free space below which a node is refused, and below which it is told."""

CLOCK_WARNING_S = 60.0
INSTALL_OR_SHIP = "install dexsearch {version} from the same sources there, or give --ship-code"
SHARE_STORAGE = (
    "give --storage a folder that every node sees under the same path and may write, or a URI "
    "such as s3://bucket/folder"
)


@dataclass(frozen=True, slots=True)
class NodeReport:
    """One node, and what it answered."""

    node_id: str
    ip: str
    hostname: str
    cpus: float
    gpus: float
    answer: Answer | None
    silence: str | None = None
    """Why there is no answer."""
    wrote_back: bool = True
    """Whether the driver sees in the storage what the node wrote there."""
    clock_offset_s: float = 0.0
    """How far the node's clock is ahead of the driver's, at least; negative: behind."""

    @property
    def name(self) -> str:
        """The node for a person: its address and its host name."""
        return self.ip if self.hostname in ("", self.ip) else f"{self.ip} ({self.hostname})"

    @property
    def gpu_bytes(self) -> int | None:
        """Memory of the node's smallest GPU; None where it has none, or nobody can tell."""
        return self.answer["gpu_bytes"] if self.answer is not None and self.gpus else None

    @property
    def sees_dataset(self) -> bool:
        """Whether the dataset's folder is there, with the right digest in its manifest."""
        return self.answer is not None and self.answer["dataset"] == "same"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a node that is not as it should be."""

    node: str
    about: str
    found: str
    remedy: str
    is_refusal: bool = True
    """Otherwise a warning."""

    @property
    def told(self) -> str:
        """What was found and its remedy, without the node's name."""
        return f"{self.found}; {self.remedy}"

    def __str__(self) -> str:
        """Return the line for a person."""
        return f"{self.node}: {self.told}"


def why_refused(found: Sequence[Finding]) -> str:
    """Return all that keeps one node from trials; empty where nothing does."""
    return "; ".join(finding.told for finding in found if finding.is_refusal)


def findings(
    reports: Sequence[NodeReport], here: Answer, *, storage: str | None, ship_code: bool
) -> list[Finding]:
    """Judge the nodes that trials would run on.

    Args:
        reports: one for each.
        here: what the driver's own process answers.
        storage: folder or URI of the checkpoints, for the messages.
        ship_code: whether the driver's dexsearch is sent to the nodes.
    """
    found = [finding for report in reports for finding in _of_node(report, here, ship_code)]
    found += [f for report in reports for f in _of_storage(report, storage)]
    return found + list(_of_space(reports, storage))


def _of_node(report: NodeReport, here: Answer, ship_code: bool) -> Iterator[Finding]:
    answer = report.answer
    if answer is None:
        yield Finding(
            report.name, "answer", report.silence or "does not answer",
            "look at the Ray processes of that machine, or take it out of the cluster",
        )  # fmt: skip
        return
    if not ship_code:
        yield from _of_code(report.name, answer, here)
    yield from _of_libraries(report.name, answer, here)
    yield from _of_gpus(report, answer)
    offset = report.clock_offset_s
    if abs(offset) > CLOCK_WARNING_S:
        ahead = "ahead of" if offset > 0 else "behind"
        yield Finding(
            report.name, "clock", f"its clock is {abs(offset):.0f} s {ahead} the driver's",
            "nothing depends on it, but log files are hard to read: let NTP set it",
            is_refusal=False,
        )  # fmt: skip


def _of_code(node: str, answer: Answer, here: Answer) -> Iterator[Finding]:
    there, wanted = answer["versions"]["dexsearch"], here["versions"]["dexsearch"]
    remedy = INSTALL_OR_SHIP.format(version=wanted)
    if answer["code"] is None:
        yield Finding(node, "dexsearch", "has no dexsearch", remedy)
    elif there is not None and there != wanted:
        yield Finding(node, "dexsearch", f"has dexsearch {there}, the driver {wanted}", remedy)
    elif answer["code"] != here["code"]:
        told = f"its dexsearch has other sources than the driver's ({_short(answer)}.., here "
        yield Finding(node, "dexsearch", f"{told}{_short(here)}..)", remedy)


def _short(answer: Answer) -> str:
    return str(answer["code"])[:8]


def _of_libraries(node: str, answer: Answer, here: Answer) -> Iterator[Finding]:
    """Compare releases: a node with GPUs may have another build of torch than the driver."""
    for library in ("ray", "torch"):
        there, wanted = answer["versions"][library], here["versions"][library]
        if _release(there) != _release(wanted):
            told = f"has no {library}" if there is None else f"has {library} {there}"
            fix = f"install {library}=={_release(wanted)} there"
            yield Finding(node, library, f"{told}, the driver {wanted}", fix)
    if _minor(answer["python"]) != _minor(here["python"]):
        yield Finding(
            node, "Python", f"has Python {answer['python']}, the driver {here['python']}",
            f"start Ray there with Python {_minor(here['python'])}",
        )  # fmt: skip


def _release(version: str | None) -> str | None:
    return None if version is None else version.partition("+")[0]


def _minor(version: str) -> str:
    match = re.match(r"\d+\.\d+", version)
    return match[0] if match else version


def _of_gpus(report: NodeReport, answer: Answer) -> Iterator[Finding]:
    torch = answer["versions"]["torch"] or ""
    if report.gpus and torch.endswith("+cpu"):
        yield Finding(
            report.name, "GPUs",
            f"has {report.gpus:g} GPUs for Ray, and torch {torch}, which cannot use them",
            "install a torch built for its driver there", is_refusal=False,
        )  # fmt: skip
    elif report.gpus and answer["gpu_bytes"] is None:
        yield Finding(
            report.name, "GPUs", "nvidia-smi does not tell how much memory its GPUs have",
            "where no node tells, a GPU takes one trial, unless the search space gives "
            "resources.gpu_memory_gib", is_refusal=False,
        )  # fmt: skip


def _of_storage(report: NodeReport, storage: str | None) -> Iterator[Finding]:
    answer = report.answer
    if answer is None or storage is None:
        return
    if answer["storage_fault"] is not None:
        told = f"cannot use the storage {shown(storage)}: {answer['storage_fault']}"
        yield Finding(report.name, "storage", told, SHARE_STORAGE)
    elif not report.wrote_back:
        told = f"what it writes into the storage {shown(storage)} does not reach the driver"
        yield Finding(report.name, "storage", told, SHARE_STORAGE)


def _of_space(reports: Sequence[NodeReport], storage: str | None) -> Iterator[Finding]:
    """Judge free space: of each node's scratch, and of the storage once, which they share."""
    answered = [(report.name, report.answer) for report in reports if report.answer is not None]
    for name, answer in answered:
        yield from _little(name, answer["scratch"], answer["scratch_free"])
    shared = [(a["storage_free"], name) for name, a in answered if a["storage_free"] is not None]
    if shared:
        free, name = min(shared)
        yield from _little(name, f"the storage {shown(storage or '')}", int(free or 0))


def _little(node: str, place: str, free: int) -> Iterator[Finding]:
    if free < LITTLE_BYTES:
        is_refusal = free < TOO_LITTLE_BYTES
        told = f"has {free / 1e9:.1f} GB free in {place}"
        yield Finding(node, "disk", told, "free some space there", is_refusal=is_refusal)


def counted(amount: float, unit: str) -> str:
    """Return an amount with its unit: `1 GPU`, `0.5 GPU`, `8 GPUs`."""
    return f"{amount:g} {unit}{'s' if amount > 1 or amount == 0 else ''}"


def dataset_note(reports: Sequence[NodeReport]) -> str | None:
    """Say that some nodes lack the dataset, which is then sent to them; None if none does."""
    asked = [r for r in reports if r.answer is not None and r.answer["dataset"] is not None]
    without = [report.name for report in asked if not report.sees_dataset]
    if not without:
        return None
    names = ", ".join(without[:3]) + (f" and {len(without) - 3} more" if without[3:] else "")
    return f"the dataset is not in its folder on {names}: its images are sent there"


def dataset_refusal(report: NodeReport, dataset: Path) -> Finding | None:
    """Return what keeps a node from trials whose images are not sent; None if it has them."""
    if report.answer is None or report.sees_dataset:
        return None
    found = "is not there" if report.answer["dataset"] == "absent" else "is another one there"
    return Finding(
        report.name, "dataset", f"the dataset's folder {str(dataset)!r} {found}",
        "copy it there under the same path; its images are too large to be sent to nodes",
    )  # fmt: skip

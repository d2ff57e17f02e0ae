"""One row of `dexsearch best`, and the table of a group of comparable generators."""

import io
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dexsearch.registry.record import Registration, StudyAudit
from dexsearch.wording import printable

WIDTH = 100
BASELINES = ("identity_affine", "nearest_pose", "constant")


@dataclass(frozen=True, slots=True)
class Ranked:
    """One registered generator and its place among those that it may be compared with."""

    rank: int
    generator: Registration
    aliases: tuple[str, ...]
    uri: str
    audit: StudyAudit | None = None
    """What the study that it comes from had learned about its pruning."""

    @property
    def label(self) -> str:
        """How to call it: `name@alias`, or `name/version` where it has no alias."""
        name = self.generator.name
        return f"{name}@{self.aliases[0]}" if self.aliases else f"{name}/{self.generator.version}"

    def as_json(self) -> dict[str, Any]:
        """Return the released keys of `best --format json`."""
        found = self.generator
        return {
            "rank": self.rank,
            "name": found.name,
            "version": found.version,
            "aliases": list(self.aliases),
            "task": found.task,
            "study": found.study,
            "trial": found.trial,
            "dataset": found.dataset,
            "metric": found.metric,
            "val_ssim": found.val_ssim,
            "val_ssim_bone": found.val_ssim_bone,
            "val_ssim_tissue": found.val_ssim_tissue,
            "baselines": found.baselines,
            "params": found.params,
            "epochs": found.epochs,
            "uri": self.uri,
            "sha256": found.sha256,
            "audit": None if self.audit is None else self.audit.audit,
        }


def ranking_table(group: tuple[Ranked, ...]) -> str:
    """Return one group as text: the baselines below the generators, then each study's audit."""
    first = group[0].generator
    targets = [t for t in ("bone", "tissue") if getattr(first, f"val_ssim_{t}") is not None]
    title = f"{first.task}, dataset {first.dataset[:12]}, metric {first.metric}"
    title = f"{printable(title)}: masked SSIM on validation subjects"
    table = Table(title=Text(title), title_justify="left")
    table.add_column("rank", justify="right")
    table.add_column("generator")
    table.add_column("study/trial")
    for heading in ("mean", *targets):
        table.add_column(heading, justify="right")
    table.add_column("epochs", justify="right")
    for row in group:
        table.add_row(*_cells(row, targets))
    table.add_section()
    for name in BASELINES:
        scores = first.baselines.get(name, {})
        values = [scores.get(target) for target in targets]
        known = [value for value in values if value is not None]
        mean = sum(known) / len(known) if len(known) == len(targets) else None
        table.add_row("", name, "baseline", *map(_score, (mean, *values)), "")
    stream = io.StringIO()
    Console(file=stream, width=WIDTH, color_system=None).print(table)
    lines = [line.rstrip() for line in stream.getvalue().splitlines()]
    return "\n".join([*lines, *_audits(group)]) + "\n"


def _audits(group: tuple[Ranked, ...]) -> list[str]:
    """Return the audit of each study of a group, in the order of their best generators."""
    found = {row.audit.study: row.audit for row in reversed(group) if row.audit is not None}
    lines = []
    for row in group:
        audit = found.pop(row.generator.study, None)
        if audit is not None:
            lines.append(f"study {printable(audit.study)}")
            lines += [f"  {printable(line)}" for line in audit.text.splitlines()]
    return lines


def _cells(row: Ranked, targets: list[str]) -> list[Text | str]:
    found = row.generator
    names = [f"{found.name}/{found.version}", *(f"@{alias}" for alias in row.aliases)]
    scores = [found.val_ssim, *(getattr(found, f"val_ssim_{target}") for target in targets)]
    return [
        str(row.rank),
        Text(printable(" ".join(names))),
        Text(printable(f"{found.study}/{found.trial}")),
        *map(_score, scores),
        str(found.epochs),
    ]


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"

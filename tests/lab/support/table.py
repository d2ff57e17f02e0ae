"""The table of docs/faults.md: read, merged with new rows, written."""

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from faults import FAULTS, Fault

BEGIN = "<!-- rows written by `make lab` -->"
END = "<!-- end of rows -->"
HEAD = (
    "| fault | how injected | what was seen | epochs lost / twice | time to recover | required "
    "| the stack's own | measured |\n|---|---|---|---|---|---|---|---|"
)


@dataclass
class Row:
    """What one run of a case showed; a test fills it in as it goes."""

    fault: Fault
    seen: list[str] = field(default_factory=list)
    lost_twice: str = ""
    recovery: str = ""
    training_s: float | None = None
    """From the fault until the trial trained again; None if that was not seen."""
    failure: str | None = None
    """First line of what went wrong; None if the law holds."""
    load: float = 0.0
    """Processes that wanted a processor at its end, those of others included."""
    is_over: bool = False

    def saw(self, text: str) -> None:
        """Add to what was seen."""
        self.seen.append(text)

    @property
    def verdict(self) -> str:
        """What was required, and whether it was met: training again within that time."""
        required_s = self.fault.required_s
        if required_s is None:
            return "-"
        if self.failure is not None or self.training_s is None:
            return f"<= {required_s:g} s: not measured"
        return f"<= {required_s:g} s: {'met' if self.training_s <= required_s else '**missed**'}"

    def __str__(self) -> str:
        seen = "; ".join(self.seen)
        if self.failure is not None:
            seen = f"**FAILED**: {self.failure}" + (f" (before: {seen})" if seen else "")
        fault = self.fault
        when = f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime())}, load {self.load:.1f}"
        cells = (
            fault.title, fault.injected, seen, self.lost_twice or "-", self.recovery or "-",
            self.verdict, fault.stack, when,
        )  # fmt: skip
        return f"| {' | '.join(_cell(cell) for cell in cells)} |"


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Replace the rows of the faults that were run; those of earlier runs stay."""
    text = path.read_text(encoding="utf-8") if path.exists() else f"{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    old, _, after = rest.partition(END)
    known = {line.split(" | ")[0].removeprefix("| "): line for line in old.splitlines() if line}
    known |= {row.fault.title: str(row) for row in rows}
    lines = [known[fault.title] for fault in FAULTS if fault.title in known]
    table = "\n".join([BEGIN, "", HEAD, *lines, "", END])
    path.write_text(before + table + after, encoding="utf-8")


def _cell(text: str) -> str:
    """Fit a text into a cell, and leave out where things lie on this machine."""
    without_places = re.sub(r"(?<![\w:/])(?:/[\w.+-]+)+/([\w.+-]+)", r"\1", text)
    return " ".join(without_places.replace("|", "\\|").split())

"""One check of `doctor`, and all of them as a table."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from dexsearch.wording import printable


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    """It works, but not as it should; nothing is lost."""
    PROBLEM = "problem"
    """Something does not work, or is lost."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    group: str
    name: str
    state: State
    found: str
    fix: str | None = None
    """What to do, where it is not ok."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Every check, in the order of their groups."""

    checks: tuple[Check, ...]

    @property
    def is_healthy(self) -> bool:
        """Whether there is no problem; warnings are allowed."""
        return all(check.state is not State.PROBLEM for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        """Return what `--format json` prints."""
        return {"healthy": self.is_healthy, "checks": [asdict(check) for check in self.checks]}

    def __str__(self) -> str:
        """Return the table for people: a line for each check, its fix below."""
        width = max((len(check.name) for check in self.checks), default=0)
        lines: list[str] = []
        group = None
        for check in self.checks:
            if check.group != group:
                group = check.group
                lines += [*([""] if lines else []), group]
            name = printable(check.name).ljust(width)
            lines.append(f"  {check.state:<8} {name}  {printable(check.found)}")
            if check.fix is not None:
                lines.append(f"  {'':<8} {'':<{width}}  fix: {printable(check.fix)}")
        return "\n".join([*lines, "", self._summary()])

    def _summary(self) -> str:
        counts = {state: sum(c.state is state for c in self.checks) for state in State}
        told = [
            f"{n} {state if n == 1 else state + 's'}"
            for state, n in counts.items()
            if n and state is not State.OK
        ]
        return f"{len(self.checks)} checks: {', '.join(told) or 'all is well'}"


@dataclass(frozen=True, slots=True)
class Findings:
    """Makes checks of one group."""

    group: str

    def ok(self, name: str, found: str) -> Check:
        """Return a check that found what it should."""
        return Check(self.group, name, State.OK, found)

    def warning(self, name: str, found: str, fix: str) -> Check:
        """Return a check that found something that works, but not as it should."""
        return Check(self.group, name, State.WARNING, found, fix)

    def problem(self, name: str, found: str, fix: str) -> Check:
        """Return a check that found something broken."""
        return Check(self.group, name, State.PROBLEM, found, fix)

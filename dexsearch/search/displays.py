"""What a person sees of a search while it runs, on standard error.

On a terminal a live table of trials and a bar over all epochs; elsewhere one plain line for each
event. Who watched may go away: what cannot be shown any more is dropped (streams.py).
"""

import heapq
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Literal, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dexsearch.config.space import Scalar
from dexsearch.ledger.study import State, StudyRecord
from dexsearch.search.progress import Progress, told_params
from dexsearch.streams import unfailing
from dexsearch.wording import printable

_SHOWN_ENDED = 8
_SHOWN_RUNNING = 24  # a row costs 0.4 ms at each refresh, while nothing is heard of a trial
_STYLES = {"running": "cyan", "complete": "green", "pruned": "yellow", "failed": "red"}


def progress_for(stream: TextIO | None = None) -> Progress:
    """Return the display that fits a stream, by default standard error."""
    stream = unfailing(stream or sys.stderr)
    return LiveProgress(stream) if stream.isatty() else PlainProgress(stream)


@dataclass(slots=True)
class _Row:
    number: int
    state: State = "running"
    epoch: int = 0
    value: float | None = None
    immune: bool = False
    params: str = ""
    reason: str = ""
    waits: bool = False
    """Whether it was put back and is to begin again."""


class PlainProgress:
    """One line per event."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = unfailing(stream)
        self._trials = 0
        self._epochs = 0
        self._done = 0

    def opened(self, record: StudyRecord, *, trials: int, epochs: int) -> None:
        """Say how far the study is."""
        self._trials, self._epochs = trials, epochs
        self._done = len(record.trials) - len(record.in_state("running"))
        begun = f", {self._done} of them ended before" if record.trials else ""
        self.message(f"study {record.name}: {trials} trials of at most {epochs} epochs{begun}")

    def trial_started(
        self,
        number: int,
        *,
        continued: bool,
        immune: bool,
        params: Mapping[str, Scalar] | None = None,
    ) -> None:
        """Say which trial begins, with its parameters."""
        what = "continues" if continued else f"started: {told_params(params or {})}"
        self.message(f"trial {number} {what}{' (immune to pruning)' if immune else ''}")

    def trial_put_back(self, number: int) -> None:
        """Say nothing: the message that follows does."""

    def epoch_done(self, number: int, epoch: int, value: float) -> None:
        """Say the objective of an epoch."""
        self.message(f"trial {number} epoch {epoch}/{self._epochs}: {value:.4f}")

    def trial_ended(
        self, number: int, state: State, value: float | None, reason: str | None
    ) -> None:
        """Say how a trial ended, and how many have."""
        self._done += 1
        score = "" if value is None else f" at {value:.4f}"
        why = f" ({reason})" if reason else ""
        self.message(f"trial {number} {state}{score}{why}; {self._done}/{self._trials} ended")

    def message(self, text: str) -> None:
        """Print one line."""
        print(printable(text), file=self._stream, flush=True)

    def closed(self) -> None:
        """Leave what was printed."""


class LiveProgress:
    """A table of the running, the best and the latest trials above a bar over all epochs."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=unfailing(stream), stderr=True)
        self._rows: dict[int, _Row] = {}
        self._ended: list[int] = []
        self._live: Live | None = None
        self._trials = self._epochs = self._epochs_before = 0
        self._title = ""
        self._begin = time.monotonic()

    def opened(self, record: StudyRecord, *, trials: int, epochs: int) -> None:
        """Show the table with what is known of earlier trials."""
        self._title = f"{record.name} ({record.task}, {record.objective})"
        self._trials, self._epochs = trials, epochs
        for trial in record.trials:
            value = trial.epochs[trial.last_epoch][record.objective] if trial.epochs else None
            self._rows[trial.number] = _Row(
                trial.number, trial.state, trial.last_epoch, value, trial.immune,
                told_params(trial.params), trial.reason or "",
            )  # fmt: skip
        self._ended = [trial.number for trial in record.trials if trial.state != "running"]
        self._epochs_before = sum(row.epoch for row in self._rows.values())
        self._live = Live(
            get_renderable=self._render,
            console=self._console,
            refresh_per_second=4,
            transient=True,
        )
        self._live.start()

    def trial_started(
        self,
        number: int,
        *,
        continued: bool,
        immune: bool,
        params: Mapping[str, Scalar] | None = None,
    ) -> None:
        """Add a row."""
        if not continued or number not in self._rows:
            self._rows[number] = _Row(number, immune=immune, params=told_params(params or {}))
        self._rows[number].waits = False

    def trial_put_back(self, number: int) -> None:
        """Show that a trial waits."""
        self._rows[number].waits = True

    def epoch_done(self, number: int, epoch: int, value: float) -> None:
        """Update a row."""
        self._rows[number].epoch, self._rows[number].value = epoch, value

    def trial_ended(
        self, number: int, state: State, value: float | None, reason: str | None
    ) -> None:
        """Colour a row."""
        row = self._rows[number]
        row.state, row.reason, row.waits = state, reason or "", False
        self._ended.append(number)

    def message(self, text: str) -> None:
        """Print one line above the table."""
        self._console.print(Text(printable(text)))

    def closed(self) -> None:
        """Leave the last table on the terminal."""
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()
            self._console.print(self._render())

    def _render(self) -> Group:
        title = Text(printable(self._title))
        table = Table(title=title, title_justify="left", expand=False, box=None, pad_edge=False)
        for name, width in (("trial", 5), ("state", 8), ("epoch", 7), ("score", 6)):
            justify: Literal["left", "right"] = "left" if name == "state" else "right"
            table.add_column(name, justify=justify, no_wrap=True, min_width=width)
        table.add_column("parameters", overflow="ellipsis", no_wrap=True)
        for row in self._shown():
            score = "" if row.value is None else f"{row.value:.4f}"
            detail = row.reason if row.state == "failed" else row.params
            table.add_row(
                f"{row.number}{'*' if row.immune else ''}",
                Text("waiting" if row.waits else row.state, style=_STYLES[row.state]),
                f"{row.epoch}/{self._epochs}",
                score,
                Text(printable(detail)),
            )
        n_running = sum(row.state == "running" for row in self._rows.values())
        return Group(table, self._bar(), self._notes(n_running))

    def _shown(self) -> list[_Row]:
        """Return the oldest running trials, the best complete ones, then the latest others."""
        rows = self._rows.values()
        running = (row for row in rows if row.state == "running")
        complete = (row for row in rows if row.state == "complete")
        best = heapq.nlargest(_SHOWN_ENDED // 2, complete, key=lambda row: row.value or 0)
        told = {row.number for row in best}
        others = (self._rows[number] for number in reversed(self._ended) if number not in told)
        oldest = islice(running, _SHOWN_RUNNING)
        return [*oldest, *best, *islice(others, _SHOWN_ENDED - len(best))]

    def _notes(self, n_running: int) -> Text:
        """Explain the mark, and say how many running trials are not in the table."""
        hidden = n_running - _SHOWN_RUNNING
        more = f"; {hidden} more are running" if hidden > 0 else ""
        return Text(f"* immune: never stopped early{more}", style="dim")

    def _bar(self) -> Table:
        states = Counter(row.state for row in self._rows.values())
        left = sum(
            self._epochs - row.epoch for row in self._rows.values() if row.state == "running"
        ) + self._epochs * max(0, self._trials - len(self._rows))
        done = self._trials * self._epochs - left
        line = Table.grid(padding=(0, 1))
        line.add_row(
            ProgressBar(total=max(1, self._trials * self._epochs), completed=done, width=20),
            f"{len(self._ended)}/{self._trials} trials: {states['complete']} complete, "
            f"{states['pruned']} pruned, {states['failed']} failed{self._time_left(left)}",
        )
        return line

    def _time_left(self, epochs_left: int) -> str:
        """Estimate from this process's epochs; pruning makes it an upper bound."""
        trained = sum(row.epoch for row in self._rows.values()) - self._epochs_before
        if trained < 2 or not epochs_left:
            return ""
        seconds = (time.monotonic() - self._begin) / trained * epochs_left
        return f", under {int(seconds // 60)}:{int(seconds % 60):02d} left"

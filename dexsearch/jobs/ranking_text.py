"""A group of comparable generators as text for a terminal, at most 100 columns wide."""

import io
import shutil
import textwrap
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dexsearch.jobs.merit import OBJECTIVE, TARGETS
from dexsearch.jobs.ranked import Ranked
from dexsearch.jobs.ranking_words import (
    baseline_rows,
    differing,
    holdout_text,
    latency_text,
    megabytes,
    milliseconds,
    replicates_text,
    score_text,
    shown_scores,
    title,
    value_text,
)
from dexsearch.registry.standing import version_label
from dexsearch.wording import printable

WIDEST, NARROWEST = 100, 80
ROOM_FOR_COSTS = 98
"""Columns below which size and latency are told in the details alone."""
INDENT = "      "


def ranking_text(group: Sequence[Ranked], metric: str = OBJECTIVE, *, remark: str = "") -> str:
    """Return a table of scores and baselines, then what else is known of each generator.

    Args:
        group: its rows, best first.
        metric: the score that they are ranked by.
        remark: a sentence to say below the table.
    """
    width = max(NARROWEST, min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns))
    blocks = [_table(group, metric, width), *_differences(group, width)]
    if remark:
        blocks.append("\n".join(_wrapped(remark, width, "")))
    blocks.append("\n".join(line for row in group for line in _details(row, width)))
    blocks += ["\n".join(block) for block in _audits(group, width)]
    return "\n\n".join(blocks) + "\n"


def _table(group: Sequence[Ranked], metric: str, width: int) -> str:
    scores = shown_scores(group, metric)
    known = [name for name, told in _COSTS.items() if any(told(row) != "-" for row in group)]
    costs = known if width >= ROOM_FOR_COSTS and metric.startswith(OBJECTIVE) else []
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("rank", justify="right", no_wrap=True)
    table.add_column("generator", overflow="fold")
    table.add_column("study/trial", overflow="fold")
    for heading in (*scores.values(), *costs):
        narrow = heading in ("mean", *TARGETS, *costs)
        table.add_column(Text(heading), justify="right", no_wrap=narrow, overflow="fold")
    between = "\n" if any(row.generator.intervals for row in group) else " "
    for row in group:
        found = row.generator
        names = [version_label(found), *(f"@{alias}" for alias in row.aliases)]
        table.add_row(
            str(row.rank),
            Text(between.join(map(printable, names))),
            Text(printable(f"{found.study}/{found.trial}")),
            *(_with_interval(row, name) for name in scores),
            *(_COSTS[name](row) for name in costs),
        )
    table.add_section()
    for name, values in baseline_rows(group, list(scores)):
        table.add_row("", name, "baseline", *values, *("" for _ in costs))
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None).print(table)
    drawn = "\n".join(line.rstrip() for line in stream.getvalue().splitlines()).strip("\n")
    return "\n".join([*_wrapped(title(group, metric), width, ""), "", drawn])


def _size(row: Ranked) -> str:
    size = row.generator.size_bytes
    return "-" if size is None else megabytes(size)


_COSTS: dict[str, Callable[[Ranked], str]] = {
    "size": _size,
    "latency": lambda row: milliseconds(row.generator.latency),
}


def _with_interval(row: Ranked, score: str) -> str:
    """Return a score above its interval."""
    interval = row.interval(score)
    told = score_text(row.scores.get(score))
    return told if interval is None else "{}\n{:.3f}..{:.3f}".format(told, *interval)


def _differences(group: Sequence[Ranked], width: int) -> list[str]:
    """Return blocks of columns, one column per generator: the parameters that differ."""
    names = differing(group)
    if not names:
        return []
    columns = [
        [str(row.rank), *(value_text(row.generator.params.get(name)) for name in names)]
        for row in group
    ]
    left = ["parameter, by rank", *(printable(name) for name in names)]
    left_width = max(map(len, left))
    blocks = []
    while columns:
        taken: list[list[str]] = []
        used = left_width
        while columns and (not taken or used + 2 + max(map(len, columns[0])) <= width):
            taken.append(columns.pop(0))
            used += 2 + max(map(len, taken[-1]))
        widths = [max(map(len, column)) for column in taken]
        blocks.append(
            "\n".join(
                name.ljust(left_width)
                + "".join(f"  {column[at]:>{w}}" for column, w in zip(taken, widths, strict=True))
                for at, name in enumerate(left)
            )
        )
    return blocks


def _details(row: Ranked, width: int) -> Iterator[str]:
    found = row.generator
    facts = [f"head {found.head or found.task}", f"{found.epochs} epochs"]
    facts.append(f"{found.n_parameters:,} parameters")
    facts += [megabytes(found.size_bytes)] if found.size_bytes is not None else []
    yield from _wrapped(f"{version_label(found)}: {', '.join(facts)}", width, f"{row.rank:4}  ")
    if found.latency is not None:
        yield from _wrapped(f"latency {latency_text(found.latency)}", width, INDENT)
    if row.replicated is not None:
        yield from _wrapped(replicates_text(row.replicated), width, INDENT)
    if row.holdout is not None:
        yield from _wrapped(f"hold-out: {holdout_text(row.holdout)}", width, INDENT)
    yield f"{INDENT}{printable(row.uri)}"
    yield f"{INDENT}sha256 {printable(found.sha256)}"


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(
        printable(text), width, initial_indent=indent, subsequent_indent=" " * len(indent)
    )


def _audits(group: Sequence[Ranked], width: int) -> Iterator[list[str]]:
    """Return the audit of each study of a group, in the order of their best generators."""
    found = {row.audit.study: row.audit for row in reversed(group) if row.audit is not None}
    for row in group:
        audit = found.pop(row.generator.study, None)
        if audit is not None:
            told = [
                (line.lstrip(), len(line) - len(line.lstrip())) for line in audit.text.splitlines()
            ]
            lines = [_wrapped(line, width, " " * (2 + inset)) for line, inset in told]
            yield [f"study {printable(audit.study)}", *chain.from_iterable(lines)]

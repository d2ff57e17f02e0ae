"""A group of comparable generators as a markdown table that can be pasted."""

import re
from collections.abc import Sequence

from dexsearch.jobs.merit import OBJECTIVE
from dexsearch.jobs.ranked import Ranked
from dexsearch.jobs.ranking_words import (
    baseline_rows,
    differing,
    holdout_text,
    megabytes,
    milliseconds,
    score_text,
    shown_scores,
    title,
    value_text,
)
from dexsearch.wording import printable


def ranking_markdown(group: Sequence[Ranked], metric: str = OBJECTIVE) -> str:
    """Return a table of scores with intervals, baselines below, and its title in bold above.

    Args:
        group: its rows, best first.
        metric: the score that they are ranked by.
    """
    scores = shown_scores(group, metric)
    names = differing(group)
    parameters = ["parameters that differ"] if names else []
    headings = ["rank", "generator", "study/trial", *scores.values(), "size", "latency"]
    headings += [*parameters, "hold-out", "sha256"]
    numbers = {"rank", *scores.values(), "size", "latency"}
    lines = [
        f"**{_plain(title(group, metric))}**",
        "",
        _line([_plain(heading) for heading in headings]),
        _line(["---:" if heading in numbers else "---" for heading in headings]),
    ]
    lines += [_line(_cells(row, list(scores), names)) for row in group]
    after = [""] * (len(headings) - 3 - len(scores))
    for baseline, values in baseline_rows(group, list(scores)):
        lines.append(_line(["", baseline, "baseline", *values, *after]))
    named = [(row.generator.latency or {}).get("machine") for row in group]
    machines = {str(machine) for machine in named if machine}
    measured = (
        f" Latency of one image on {_plain(', '.join(sorted(machines)))}." if machines else ""
    )
    lines += [
        "",
        f"Scores on validation subjects.{measured} Research software, not for diagnosis.",
    ]
    return "\n".join(lines) + "\n"


def _cells(row: Ranked, scores: list[str], parameters: list[str]) -> list[str]:
    found = row.generator
    names = [f"{found.name}/{found.version}", *(f"@{alias}" for alias in row.aliases)]
    differ = [
        f"{name}={value_text(found.params[name])}" for name in parameters if name in found.params
    ]
    return [
        str(row.rank),
        " ".join(_code(name) for name in names),  # as code: a bare @name would notify a person
        _code(f"{found.study}/{found.trial}"),
        *(_with_interval(row, score) for score in scores),
        "-" if found.size_bytes is None else megabytes(found.size_bytes),
        milliseconds(found.latency),
        *([_plain(", ".join(differ))] if parameters else []),
        "-" if row.holdout is None else _plain(holdout_text(row.holdout)),
        _code(found.sha256[:12]),
    ]


def _with_interval(row: Ranked, score: str) -> str:
    told = score_text(row.scores.get(score))
    interval = row.interval(score)
    return told if interval is None else "{} ({:.4f} to {:.4f})".format(told, *interval)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """Escape what markdown or HTML would make something of."""
    return re.sub(r"([\\`*\[\]<>|~&@])", r"\\\1", printable(text))


def _code(text: str) -> str:
    """Return text as code; a table ends its cells at bars also there."""
    return f"`{printable(text).replace('`', chr(39)).replace('|', chr(92) + '|')}`"

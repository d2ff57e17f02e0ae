"""Options that several commands share."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dexsearch.wording import DEFAULT_WORKSPACE as DEFAULT_WORKSPACE


class OutputFormat(StrEnum):
    """How a result is printed on stdout."""

    TEXT = "text"
    JSON = "json"


WorkspaceOption = Annotated[
    Path,
    typer.Option(
        "--workspace",
        envvar="DEXSEARCH_WORKSPACE",
        help="Folder of everything a project produces: datasets, studies, registry.",
    ),
]

FormatOption = Annotated[
    OutputFormat,
    typer.Option("--format", help="Text for people, or JSON for programs."),
]

TRACKING_URI_VARIABLE = "DEXSEARCH_TRACKING_URI"

TrackingUriOption = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri",
        envvar=TRACKING_URI_VARIABLE,
        metavar="URI",
        help="MLflow instead of the workspace's own: http(s)://, postgresql:// or sqlite:///.",
    ),
]


def parse_time(text: str) -> float:
    """Return the seconds that `3600`, `45s`, `90m`, `1.5h` or `2d` mean."""
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([smhd]?)\s*", text)
    seconds = 0.0 if match is None else float(match[1]) * _SECONDS[match[2]]
    if seconds <= 0:
        raise typer.BadParameter(
            f"{text!r} is no time; write a number above 0 with s, m, h or d, for example 90m or "
            "2h (a bare number is seconds)"
        )
    return seconds


_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

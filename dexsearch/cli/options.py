"""Options that several commands share."""

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

"""The command `reproduce`."""

from pathlib import Path
from typing import Annotated

import typer

from dexsearch.cli.options import DEFAULT_WORKSPACE, FormatOption, OutputFormat, WorkspaceOption
from dexsearch.cli.output import note, print_result
from dexsearch.wording import printable


def reproduce(
    model: Annotated[
        str, typer.Argument(help="name@alias, name/version, name, or a downloaded folder.")
    ],
    dataset: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Its dataset; otherwise found by its digest."),
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    output_format: FormatOption = OutputFormat.TEXT,
) -> None:
    """Train a generator again from its record; exit code 5 if the scores do not agree.

    Example: dexsearch reproduce dexsearch-joint@champion
    """
    from dexsearch.jobs.reproduce import reproduce as reproduce_model

    result = reproduce_model(
        model, workspace=workspace, dataset=dataset, tell=lambda line: note(printable(line))
    )
    print_result(result, output_format)
    result.refuse_disagreement()

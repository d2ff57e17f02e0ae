"""The command `export`."""

from pathlib import Path
from typing import Annotated

import typer

from dexsearch.cli.options import DEFAULT_WORKSPACE, OutputFormat, WorkspaceOption
from dexsearch.cli.output import note, print_result
from dexsearch.inference.formats import ExportFormat, chosen_format


def export(
    model: Annotated[
        str, typer.Argument(help="name@alias, name/version, name, or a downloaded folder.")
    ],
    output: Annotated[
        Path, typer.Argument(metavar="OUT", help="File to write: .onnx, .pt2 or .safetensors.")
    ],
    kind: Annotated[
        ExportFormat | None,
        typer.Option("--format", help="What kind of file; by its suffix unless told."),
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Write a generator as one file for programs without dexsearch; its answers are checked.

    Example: dexsearch export dexsearch-joint@champion generator.onnx
    """
    from dexsearch.jobs.export import export_model

    chosen = chosen_format(output, kind)
    print_result(
        export_model(model, output, chosen, workspace=workspace, tell=note), OutputFormat.TEXT
    )

"""The command `report`."""

from pathlib import Path
from typing import Annotated

import typer

from dexsearch.cli.options import DEFAULT_WORKSPACE, FormatOption, OutputFormat, WorkspaceOption
from dexsearch.cli.output import note, print_result
from dexsearch.wording import printable


def report(
    study: Annotated[
        str | None, typer.Argument(help="Name of the study; otherwise the newest.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="HTML file; otherwise STUDY-report.html here."),
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    output_format: FormatOption = OutputFormat.TEXT,
) -> None:
    """Write one HTML file about a study: curves, importances, pictures, audit, provenance.

    Example: dexsearch report quickstart --out quickstart.html
    """
    from dexsearch.jobs.report import write_report

    result = write_report(workspace, study, out, tell=lambda line: note(printable(line)))
    note(printable(result.verdict))
    print_result(result, output_format)
    note(f"next: open {printable(str(result.file))} in a browser ({result.bytes / 1e6:.1f} MB)")

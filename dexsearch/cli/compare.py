"""The command `compare`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from dexsearch.cli.options import DEFAULT_WORKSPACE, FormatOption, OutputFormat, WorkspaceOption
from dexsearch.cli.output import note, print_result, progress_bar
from dexsearch.wording import printable


def _parse_margin(text: str) -> float:
    """Return the margin that a person types; NaN is none."""
    try:
        margin = float(text)
    except ValueError:
        margin = -1.0
    if not 0 <= margin <= 1:
        raise typer.BadParameter(f"{text!r} is no margin; write a number from 0 to 1")
    return margin


MarginOption = Annotated[
    float,
    typer.Option(
        parser=_parse_margin,
        metavar="SSIM",
        help="Loss of SSIM that still counts as not worse; is recorded.",
    ),
]
DatasetOption = Annotated[
    Path | None,
    typer.Option("--dataset", metavar="DIR", help="The dataset, if it is not where it was."),
]


def compare(
    a: Annotated[
        str, typer.Argument(help="name@alias, name/version, name, or a downloaded folder.")
    ],
    b: Annotated[str, typer.Argument(help="What A is compared with; likewise.")],
    target: Annotated[
        Literal["bone", "tissue"] | None,
        typer.Option(help="Compare on this target alone; otherwise on all that both predict."),
    ] = None,
    margin: MarginOption = 0.005,
    dataset: DatasetOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    output_format: FormatOption = OutputFormat.TEXT,
) -> None:
    """Say whether generator A is better than B, on subjects that no search has seen.

    The verdict is better, not worse, worse or inconclusive. Every look at the hold-out is counted.

    Example: dexsearch compare dexsearch-bone@challenger dexsearch-bone@champion
    """
    from dexsearch.jobs.compare import advice, compare_models

    with progress_bar("images") as progress:
        result = compare_models(
            workspace, a, b, target=target, margin=margin, data=dataset, progress=progress
        )
    print_result(result, output_format)
    note(printable_lines(advice(workspace, result)))


def printable_lines(text: str) -> str:
    """Return text of several lines with control characters escaped."""
    return "\n".join(printable(line) for line in text.splitlines())

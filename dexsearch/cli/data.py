"""The commands below `data`; those that make datasets are in `make_data`."""

from pathlib import Path
from typing import Annotated

import typer

from dexsearch.cli.imaging import pair_of
from dexsearch.cli.make_data import ct, import_, phantom
from dexsearch.cli.options import DEFAULT_WORKSPACE, FormatOption, OutputFormat, WorkspaceOption
from dexsearch.cli.output import print_result, progress_bar

data_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Make, import, show, describe and check datasets.",
)

DatasetArgument = Annotated[
    Path, typer.Argument(help="Dataset folder, or its name in the workspace.", metavar="DATASET")
]

data_app.command()(phantom)
data_app.command()(ct)
data_app.command(name="import")(import_)


@data_app.command()
def show(
    dataset: DatasetArgument,
    out: Annotated[
        Path | None, typer.Option(help="PNG to write; otherwise beside the dataset folder.")
    ] = None,
    images: Annotated[int, typer.Option(min=1, max=8, help="Number of columns.")] = 8,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    output_format: FormatOption = OutputFormat.TEXT,
) -> None:
    """Write a contact sheet: the same views as input, bone and tissue.

    Example: dexsearch data show workspace/datasets/cohort --out sheet.png
    """
    from dexsearch.jobs.dataset_info import open_named, show_dataset

    sheet = show_dataset(open_named(dataset, workspace), out, n_images=images)
    print_result(sheet, output_format)


@data_app.command()
def info(
    dataset: DatasetArgument,
    write_split: Annotated[
        Path | None, typer.Option(help="File to write the split to, for --split-file.")
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    output_format: FormatOption = OutputFormat.TEXT,
) -> None:
    """Print counts, split, digest, and what the baselines score on validation images.

    Example: dexsearch data info workspace/datasets/cohort --format json
    """
    from dexsearch.jobs.dataset_info import describe, open_named, save_split

    opened = open_named(dataset, workspace)
    if write_split is not None:
        save_split(opened, write_split)
    print_result(describe(opened, with_baselines=True), output_format)


@data_app.command()
def check(
    dataset: DatasetArgument,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    output_format: FormatOption = OutputFormat.TEXT,
) -> None:
    """Read every byte: is each file what was written? Exit code 7 if not.

    Example: dexsearch data check workspace/datasets/cohort
    """
    from dexsearch.jobs.dataset_info import check_named

    with progress_bar("bytes") as progress:
        report = check_named(dataset, workspace, progress=progress)
    print_result(report, output_format)
    if not report.ok:
        raise typer.Exit(7)


@data_app.command()
def weights(
    dataset: DatasetArgument,
    pair: Annotated[
        str | None,
        typer.Option(metavar="LOW,HIGH", help="Tube voltages; otherwise the dataset's own."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="PNG to write; otherwise beside the dataset folder.")
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    output_format: FormatOption = OutputFormat.TEXT,
) -> None:
    """Search the weights of dual-energy subtraction by what contrast they leave.

    Example: dexsearch data weights workspace/datasets/cohort --pair 80,140
    """
    from dexsearch.jobs.dataset_info import open_named, own_pair
    from dexsearch.jobs.weights import find_weights

    opened = open_named(dataset, workspace)
    found = find_weights(opened, out, pair_kvp=pair_of(pair) if pair else own_pair(opened))
    print_result(found, output_format)

"""The command `simulate`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from dexsearch.cli.options import DEFAULT_WORKSPACE, FormatOption, OutputFormat, WorkspaceOption
from dexsearch.cli.output import note, print_result, progress_bar


def simulate(
    source: Annotated[
        str, typer.Argument(metavar="STUDY|TABLE", help="A study, or a table of curves (JSONL).")
    ],
    sampler: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Sampler to replay; may be repeated.")
    ] = None,
    pruner: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[:KEY=VALUE,..]", help="Pruner to replay; may be repeated."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, metavar="N", help="Trials at once.")] = 8,
    seeds: Annotated[int, typer.Option(min=1, metavar="N", help="Searches of each pair.")] = 32,
    objective: Annotated[
        Literal["val_ssim", "val_ssim_bone", "val_ssim_tissue"] | None,
        typer.Option(help="What is maximised; otherwise as in the study."),
    ] = None,
    within: Annotated[
        float, typer.Option(min=0, metavar="X", help="How near to the best counts as there.")
    ] = 0.002,
    jobs: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Processes; otherwise all processors.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Plot of best so far against epochs.")
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    output_format: FormatOption = OutputFormat.TEXT,
) -> None:
    """Replay samplers and pruners over recorded curves, in virtual time.

    Example: dexsearch simulate quickstart --pruner successive_halving:min_epochs=3 --pruner none
    """
    from dexsearch.jobs.simulate import SimulationRequest
    from dexsearch.jobs.simulate import simulate as run

    request = SimulationRequest(
        tuple(sampler or ()), tuple(pruner or ()), objective, workers, seeds, within, jobs, out
    )
    result = run(source, request, workspace=workspace, progress=progress_bar)
    if result.warning:
        note(f"warning: {result.warning}")
    print_result(result, output_format)

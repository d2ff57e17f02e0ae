"""The command `tune`."""

from typing import Annotated

import typer

from dexsearch.cli.options import (
    DEFAULT_WORKSPACE,
    FormatOption,
    OutputFormat,
    TrackingUriOption,
    WorkspaceOption,
    parse_time,
)
from dexsearch.cli.output import note, print_result, progress_bar
from dexsearch.wording import printable


def tune(
    space: Annotated[
        str, typer.Option(help="Search space: a YAML file or a shipped name such as joint.yaml.")
    ],
    trials: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Total number of trials of the study.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Epochs of a trial that survives.")
    ] = None,
    study: Annotated[
        str | None, typer.Option(help="Name of the study; otherwise that of the YAML file.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(envvar="RAY_ADDRESS", help="A running Ray cluster.")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(metavar="DIR|URI", help="Where checkpoints go: every node sees it."),
    ] = None,
    ship_code: Annotated[
        bool, typer.Option("--ship-code", help="Send this dexsearch to the cluster's workers.")
    ] = False,
    takeover: Annotated[
        bool,
        typer.Option("--takeover", help="Take the study from a run that shows no sign of life."),
    ] = False,
    time: Annotated[
        float | None,
        typer.Option(
            parser=parse_time,
            metavar="90m|2h",
            help="Stop trials after this time, to be continued; making data counts, "
            "registering comes after it: leave it some minutes.",
        ),
    ] = None,
    replicates: Annotated[
        int,
        typer.Option(min=0, metavar="S", help="Train the best again with so many new seeds each."),
    ] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print plan, probed speed and expected time; stop.")
    ] = False,
    tracking_uri: TrackingUriOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    output_format: FormatOption = OutputFormat.TEXT,
) -> None:
    """Search, prune, and register the best generators; run it again to continue.

    Example: dexsearch tune --space quickstart.yaml
    """
    from dexsearch.jobs.forecast import forecast
    from dexsearch.jobs.plan import plan_search
    from dexsearch.jobs.tune import run_search
    from dexsearch.search.site import Site

    plan = plan_search(
        space, workspace=workspace, trials=trials, epochs=epochs, study=study,
        site=Site(address, storage, ship_code=ship_code, takeover=takeover),
        time_s=time, replicates=replicates, tracking_uri=tracking_uri,
    )  # fmt: skip
    if dry_run:
        print_result(forecast(plan, tell=note), output_format)
        if plan.not_asked is not None:
            note(printable(plan.not_asked))
    else:
        print_result(run_search(plan, tell=note, progress=progress_bar), output_format)

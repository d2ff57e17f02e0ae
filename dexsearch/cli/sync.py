"""The command `sync`."""

from dexsearch.cli.options import (
    DEFAULT_WORKSPACE,
    FormatOption,
    OutputFormat,
    TrackingUriOption,
    WorkspaceOption,
)
from dexsearch.cli.output import note, print_result, progress_bar
from dexsearch.wording import printable


def sync(
    tracking_uri: TrackingUriOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    output_format: FormatOption = OutputFormat.TEXT,
) -> None:
    """Bring MLflow up to the ledgers, after an outage or for another server.

    Example: dexsearch sync --tracking-uri http://127.0.0.1:5000
    """
    from dexsearch.jobs.sync import n_runs
    from dexsearch.jobs.sync import sync as sync_ledgers

    with progress_bar("runs") as count:
        total = n_runs(workspace)
        result = sync_ledgers(
            workspace,
            tracking_uri,
            tell=lambda line: note(printable(line)),
            beat=lambda done: count(done, total),
        )
    print_result(result, output_format)

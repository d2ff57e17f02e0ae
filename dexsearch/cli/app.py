"""The `dexsearch` command: mount the commands, and turn every error into an exit code."""

import os
import signal
import sys
import tempfile
import traceback
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from dexsearch import __version__
from dexsearch.cli.best import best
from dexsearch.cli.compare import compare
from dexsearch.cli.data import data_app
from dexsearch.cli.doctor import doctor
from dexsearch.cli.export import export
from dexsearch.cli.gc import gc
from dexsearch.cli.output import note
from dexsearch.cli.predict import predict
from dexsearch.cli.promote import history, promote, rollback
from dexsearch.cli.report import report
from dexsearch.cli.reproduce import reproduce
from dexsearch.cli.server import server
from dexsearch.cli.simulate import simulate
from dexsearch.cli.status import status
from dexsearch.cli.sync import sync
from dexsearch.cli.tune import tune
from dexsearch.errors import DexSearchError, Interrupted
from dexsearch.streams import tell_at_once, unfailing
from dexsearch.wording import printable


class _InterruptibleGroup(TyperGroup):
    """A group of commands in which Ctrl-C is an `Interrupted` with its own exit code."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401  (Typer bundles its own, untyped context)
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted(
                "interrupted; nothing half-written was kept", hint="the same command starts again"
            ) from None


app = typer.Typer(
    cls=_InterruptibleGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its help costs 0.12 s of imports
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Search, prune and register pix2pix generators for virtual dual-energy X-ray imaging. "
    "Research software, not a medical device.",
)
app.add_typer(data_app, name="data")
app.command()(tune)
app.command()(status)
app.command()(sync)
app.command()(best)
app.command()(compare)
app.command()(promote)
app.command()(rollback)
app.command()(history)
app.command()(predict)
app.command()(export)
app.command()(reproduce)
app.command()(simulate)
app.command()(report)
app.command()(gc)
app.command()(doctor)
app.command()(server)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dexsearch {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error.")
    ] = False,
) -> None:
    """Options that come before the command."""
    if debug:
        os.environ["DEXSEARCH_DEBUG"] = "1"


def main() -> None:
    """Console entry point: the one place where an error becomes an exit code."""
    # What Python starts beside us imports nothing of the folder that the command is typed in.
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    signal.signal(signal.SIGTERM, _exit_on_sigterm)
    sys.stderr = unfailing(sys.stderr)  # of everything that writes there, also libraries
    try:
        app()
    except DexSearchError as error:
        _fail(error, str(error), error.hint, error.exit_code)
    except Exception as error:  # the last resort: a bug is told in one line, its traceback kept
        message = f"internal error: {type(error).__name__}: {error}"
        _fail(error, message, _keep_traceback(), 1)


def _keep_traceback() -> str:
    """Write the traceback at hand to a file of its own; return what to do with it."""
    try:
        handle, path = tempfile.mkstemp(prefix="dexsearch-error-", suffix=".log", text=True)
        with open(handle, "w", encoding="utf-8") as file:
            file.write(traceback.format_exc())
    except OSError:
        return "--debug before the command shows the traceback; please report it"
    return f"the traceback is in {path}; please report it"


def _fail(error: Exception, message: str, hint: str | None, exit_code: int) -> NoReturn:
    if os.environ.get("DEXSEARCH_DEBUG"):
        for line in "".join(traceback.format_exception(error)).splitlines():
            note(printable(line))
    colour = None if "NO_COLOR" in os.environ else typer.colors.RED
    first, *more = message.splitlines() or [""]
    typer.secho(f"error: {printable(first)}", fg=colour, err=True)
    for line in more:
        note(f"  {printable(line)}")
    if hint:
        note(f"hint: {printable(hint)}")
    raise SystemExit(exit_code) from None


def _exit_on_sigterm(signal_number: int, frame: object) -> NoReturn:
    """Leave through every `finally`, with the exit code that a scheduler expects."""
    tell_at_once("stopped by SIGTERM; the same command continues\n")
    raise SystemExit(128 + signal_number)

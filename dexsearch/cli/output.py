"""Where output goes: results to stdout, everything else to stderr."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from dexsearch.cli.options import OutputFormat
from dexsearch.streams import discard, unfailing


def print_result(result: object, output_format: OutputFormat) -> None:
    """Print a result: JSON of its fields, or its text.

    Args:
        result: a dataclass or a list of them, with `__str__` giving the text for people.
        output_format: text or JSON.
    """
    if output_format is OutputFormat.JSON:
        text = json.dumps(_plain(result), indent=2, allow_nan=False)
    else:
        text = str(result)
    try:
        sys.stdout.write(text.rstrip("\n") + "\n")
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has read enough; the exit code is still the command's
        discard(sys.stdout)


def note(text: str) -> None:
    """Tell the user something that is not the result, on stderr."""
    unfailing(sys.stderr).write(text.rstrip("\n") + "\n")


@contextmanager
def progress_bar(unit: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar where stderr is a terminal, gone when it is done.

    Yields what to call with (done, total).
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), f"{unit},", TimeRemainingColumn(), "left")
    console = Console(file=unfailing(sys.stderr), stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(unit, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _plain(value: Any) -> Any:  # noqa: ANN401
    """Turn dataclasses, tuples and paths into what JSON knows."""
    if hasattr(value, "as_json"):
        return _plain(value.as_json())
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value

"""A file that a command is asked to write: refused before the work that goes into it."""

import os
from pathlib import Path

from dexsearch.errors import ConfigurationError


def refuse_unwritable(file: Path, what: str, *, example: str, suffix: str | None = None) -> None:
    """Refuse a path before the work that goes into its content.

    Args:
        file: where to.
        what: what would be written, for the message.
        example: a good value of `--out`.
        suffix: how the name has to end, in any case; None: as one likes.

    Raises:
        ConfigurationError: if the path is a folder, or its folder is missing or read-only, or the
            name ends otherwise.
    """
    folder = file.absolute().parent
    problem = None
    if file.is_dir():
        problem = "it is a folder"
    elif not folder.is_dir():
        problem = f"there is no folder {str(folder)!r}"
    elif not os.access(folder, os.W_OK):
        problem = "its folder cannot be written"
    elif suffix is not None and file.suffix.lower() != suffix:
        problem = f"its name does not end in {suffix}"
    if problem:
        raise ConfigurationError(
            f"the {what} cannot be written to {str(file)!r}: {problem}",
            hint=f"name a file in a folder that exists: --out {example}",
        )

"""A module of dexsearch in a Python process of its own; standard library only."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import dexsearch


def module_command(module: str) -> list[str]:
    """Return the command of a module; give it `module_environment`.

    With -P a script of the user named json.py or mlflow.py, in the folder that the command is
    typed in, is not taken for the module of that name.
    """
    return [sys.executable, "-P", "-m", module]


def module_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which such a process imports this process's dexsearch.

    Python finds one that is installed by itself. With `python -m dexsearch` in a checkout that is
    not, this process found it in the current folder, and -P is about to pass that over.

    Args:
        environment: of the process otherwise.
    """
    code = Path(dexsearch.__file__).resolve().parents[1]
    if code not in _folders_ahead():
        return dict(environment)
    path = os.pathsep.join(filter(None, (str(code), environment.get("PYTHONPATH"))))
    return {**environment, "PYTHONPATH": path}


def _folders_ahead() -> list[Path]:
    """Return from where this process imports before it looks at what is installed."""
    folders = [Path(folder).resolve() for folder in sys.path]  # "" is the current one
    library = Path(os.__file__).resolve().parent
    return folders[: folders.index(library)] if library in folders else folders

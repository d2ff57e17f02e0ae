"""From where the processes of a search import: from no folder that this process does not.

Python, with `-m`, and Ray, in every process of a job, put the current folder before all others.
There, beside a dataset or a YAML file that somebody downloaded, may lie a `torch.py`.
"""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path


def shared_folders(offered: Iterable[str], own: Sequence[str] | None = None) -> list[str]:
    """Return those of some folders that this process imports from as well.

    Args:
        offered: the folder of the script and the current one, by Ray.
        own: `sys.path`, which is the default. With `python -m dexsearch` in a checkout, with
            PYTHONPATH and with an editable install it names the folder of the code.
    """
    known = {Path(folder).resolve() for folder in (sys.path if own is None else own)}
    return [folder for folder in offered if Path(folder).resolve() in known]  # "" is the current

"""Why Ray Tune takes a trial for failed, in a line."""

import re
from pathlib import Path

from ray.tune.experiment import Trial

from dexsearch.search.retries import Setback

_IN_SETUP = "creation task"
_GONE = re.compile(
    r"The actor died|The actor \S+ is unavailable|The worker died|The task's local raylet died"
    r"|Task failed due to the node|Failed to retrieve object"
    r"|The placement group corresponding to this Actor has been removed"
)
"""How Ray begins to tell of a process that it has lost, or cannot reach any more."""

_NODE = re.compile(
    r"node (it was running on |has |was |is )*(died|dead|terminated|draining|unreachable)"
    r"|preempt|node failure|raylet died|due to the node",
    re.IGNORECASE,
)


_OUT_OF_MEMORY = re.compile(r"killed due to the node running low on memory")
"""How Ray tells that it has ended processes itself, in the first line of a long text."""


def told_loss(trial: Trial) -> tuple[Setback, str]:
    """Return what was lost, and say it; Tune's text of errors has it.

    Whatever a trial raises it reports itself, so an exception of its process means that the
    process could not begin. One that Ray calls unavailable answers no more: Ray says so the
    moment that a connection breaks, before it knows whether the process or its node has gone.

    The pickled error beside the text is not read: it may need a module that the driver lacks.
    """
    try:
        text = Path(trial.error_file).read_text(encoding="utf-8", errors="replace")
    except (OSError, TypeError):
        return "lost", "its process was lost"
    newest = re.split(r"^Failure # \d+ \(occurred at .*\)$", text, flags=re.MULTILINE)[-1]
    lines = [line.strip() for line in newest.splitlines() if line.strip()]
    if lines and _OUT_OF_MEMORY.search(lines[0]):
        return "lost", "Ray ended its process: the memory of its node was used up"
    if not lines or (_GONE.match(lines[0]) and _IN_SETUP not in lines[0]):
        node = _NODE.search(newest)
        return ("node", "its node was lost") if node else ("lost", "its process was lost")
    return "start", f"its process raised {lines[-1][:300]}"

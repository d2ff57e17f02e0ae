"""On which node the process of a trial was that Ray has lost, or that could not begin there.

A trial tells its node with each report, so nothing but Ray knows it of one that never reported.
"""

import contextlib
import re
from pathlib import Path

from ray._private import state as ray_state
from ray.tune.experiment import Trial

_ACTOR = re.compile(r"(?:actor_id[:=] ?|The actor )([0-9a-f]{32})\b")
"""How Ray names an actor in its errors: in the text that Tune keeps of them."""


def node_of_lost(trial: Trial) -> str | None:
    """Return the identifier of the node where a lost process of a trial was; None if unknown."""
    try:
        text = Path(trial.error_file).read_text(encoding="utf-8", errors="replace")
    except (OSError, TypeError):
        return None
    actors = _ACTOR.findall(text)
    if not actors:
        return None
    with contextlib.suppress(Exception):  # of Ray; head_watch.py tells of that
        found = ray_state.actors(actor_id=actors[-1])
        return found.get("Address", {}).get("NodeID") or None
    return None

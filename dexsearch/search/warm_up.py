"""What a new process on a cluster's node imports before it is told what for.

Ray sends this module by value, to nodes without dexsearch too.
"""

import contextlib
import os

SKIP = "DEXSEARCH_COLD"
"""In the environment of processes that need none of it."""


def import_training() -> None:
    """Import what a trial needs, which is most of the start of its process."""
    if os.environ.get(SKIP):
        return
    with contextlib.suppress(Exception):  # whatever needs it will say what is wrong
        # The first optimizer imports it, for longer than all the rest.
        import torch._dynamo  # noqa: F401, PLC0415

        import dexsearch.search.actor  # noqa: PLC0415  (by value: no import at the top)
        import dexsearch.search.training_trials  # noqa: F401, PLC0415

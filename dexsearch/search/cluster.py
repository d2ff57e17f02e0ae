"""A Ray cluster for the time of a search: started on this machine, or joined by its address.

Ray reads its environment when it is imported, so `prepare_environment` comes first and this
module does not import Ray; ray_cluster.py does.
"""

import os
import secrets
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from dexsearch.search.cluster_address import refuse_stranger
from dexsearch.search.tokens import MODE, TOKEN, TOKEN_PATH, token_source

_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",  # Tune's snapshots are never read
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


def prepare_environment(
    address: str | None, environment: MutableMapping[str, str] = os.environ
) -> None:
    """Silence Ray, and lock a cluster on this machine; call before Ray is imported.

    A local cluster listens on every interface, so it gets a token of its own that exists in the
    environment of its processes only. (Left alone, Ray writes one to the home directory, for
    everybody to read, and it changes later clusters.) Whoever set RAY_AUTH_MODE, or imported Ray,
    decided already; but one who asked for a token and has none gets one in the same way.
    """
    for name, value in _ENVIRONMENT.items():
        environment.setdefault(name, value)
    if address is None and "ray" not in sys.modules and _lacks_token(environment):
        environment[MODE] = "token"
        environment[TOKEN] = secrets.token_hex(32)


def _lacks_token(environment: Mapping[str, str]) -> bool:
    """Return whether nothing was decided on tokens, or Ray would write one to the home directory.

    Ray itself refuses a named file that yields none. It takes every mode but "token" for none, an
    empty or a mistyped one too: only "disabled" is a decision for an open cluster.
    """
    mode = environment.get(MODE, "").lower()
    if mode != "token":
        return mode.strip() != "disabled"
    source = token_source(environment, Path.home())
    return source.is_on and source.place is None and not environment.get(TOKEN_PATH)


def refuse_bad_address(address: str) -> None:
    """Check that a Ray cluster may be behind `HOST:PORT`; `auto` is for Ray to resolve.

    Raises:
        EnvironmentFault: if the address is of another kind, or no Ray is behind it.
    """
    if address != "auto":
        refuse_stranger(address)

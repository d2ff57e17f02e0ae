"""May this process join the Ray cluster at an address? Asked in seconds, answered with a reason.

Ray itself answers a wrong token with a bare ConnectionError after 20 s, a machine outside the
cluster after 60 s, and a port of something else not at all.
"""

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dexsearch.errors import EnvironmentFault
from dexsearch.own_process import module_command, module_environment
from dexsearch.search.cluster import refuse_bad_address
from dexsearch.search.tokens import GIVE_A_TOKEN, MODE, TokenSource, token_source

PROBE_TIMEOUT_S = 20.0
"""How long the probe may take: importing Ray takes most of a second, the answer a few ms."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ClusterFound:
    """A Ray cluster that this process may join."""

    address: str
    """`HOST:PORT`, also where `auto` was asked for."""
    ray: str
    python: str
    n_nodes: int


def joinable_cluster(
    address: str, tell: Tell, *, environment: Mapping[str, str] = os.environ
) -> ClusterFound:
    """Return the cluster at `HOST:PORT` or `auto`, if it takes this process.

    Args:
        address: what the user gave.
        tell: hears of a token that others can read.
        environment: of Ray in this process.

    Raises:
        EnvironmentFault: with the reason: nobody answers, it is no Ray cluster, the token is
            missing, wrong or not sent, the versions differ, or this machine is no node of it.
    """
    refuse_bad_address(address)
    source = token_source(environment, Path(environment.get("HOME", str(Path.home()))))
    refuse_missing_token(address, source)
    answer = ask(address, environment)
    if answer["outcome"] == "refused":
        may_be_right = source.place is not None and not source.is_on
        raise refused_token(
            address,
            source,
            is_right=may_be_right
            and ask(address, {**environment, MODE: "token"})["outcome"] == "answer",
        )
    found = judged_answer(address, answer)
    if source.is_on and source.exposed is not None:
        tell(f"warning: {source.exposed}")
    return found


def ask(address: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """Return what cluster_probe.py finds at an address, in a process of its own."""
    command = [*module_command("dexsearch.search.cluster_probe"), address]
    try:
        done = subprocess.run(
            command, env=module_environment(environment), capture_output=True, text=True,
            timeout=PROBE_TIMEOUT_S, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        reason = f"no answer of a Ray cluster in {PROBE_TIMEOUT_S:g} s"
        return {"outcome": "unknown", "reason": reason}
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["it wrote nothing"])[-1]
        reason = f"Ray's client ended with exit code {done.returncode}: {last}"
        return {"outcome": "unknown", "reason": reason}
    return answer


def refuse_missing_token(address: str, source: TokenSource) -> None:
    """Refuse a token that is to be sent and is not there; Ray would end the process over it.

    Raises:
        EnvironmentFault: saying where it was looked for.
    """
    if source.is_on and source.place is None:
        why = source.fault or "RAY_AUTH_TOKEN and RAY_AUTH_TOKEN_PATH are not set, and " + (
            "there is no ~/.ray/auth_token"
        )
        raise EnvironmentFault(
            f"RAY_AUTH_MODE is 'token', and there is no token for the cluster at {address}: {why}",
            hint=GIVE_A_TOKEN,
        )


def refused_token(address: str, source: TokenSource, *, is_right: bool) -> EnvironmentFault:
    """Return why a cluster refused this process.

    Args:
        address: of the cluster.
        source: where Ray took the token from.
        is_right: whether the cluster takes the token when it is sent.
    """
    begin = f"the Ray cluster at {address} asks for a token"
    if is_right:
        return EnvironmentFault(
            f"{begin}; that of {source.place} is right, but is not sent: {source.told_mode}",
            hint="export RAY_AUTH_MODE=token",
        )
    if source.place is None:
        why = f" ({source.fault})" if source.fault else ""
        return EnvironmentFault(f"{begin}, and none was given{why}", hint=GIVE_A_TOKEN)
    also = "" if source.is_on else f" (and {source.told_mode})"
    return EnvironmentFault(
        f"{begin}; that of {source.place} is the wrong one{also}", hint=GIVE_A_TOKEN
    )


def judged_answer(address: str, answer: Mapping[str, Any]) -> ClusterFound:
    """Return the cluster that answered.

    Raises:
        EnvironmentFault: if what answered is no cluster that this process can join.
    """
    if answer["outcome"] != "answer":
        raise EnvironmentFault(
            f"what answers at {address} is no Ray cluster to join: {answer['reason']}",
            hint="HOST:PORT is that of `ray start --head --port=6379`, not of its dashboard "
            "(8265) or of Ray Client (10001)",
        )
    for name, library in (("Ray", "ray"), ("Python", "python")):
        there, here = answer[library], answer[f"own_{library}"]
        if there != here:
            raise EnvironmentFault(
                f"the cluster at {address} runs {name} {there}, and this process {name} {here}",
                hint=f"use the same {name} on all machines: install {name} {there} here, or start "
                f"the cluster with {name} {here}",
            )
    if not answer["here"]:
        raise EnvironmentFault(
            f"this machine is no node of the cluster at {answer['address']}, and Ray runs the "
            "driver of a search on a node only",
            hint=f"run `ray start --address={answer['address']} --num-cpus=0` here first, or run "
            "the command on a machine of the cluster, or submit it with `ray job submit`",
        )
    return ClusterFound(
        str(answer["address"]), str(answer["ray"]), str(answer["python"]), int(answer["nodes"])
    )

"""The registry read back from MLflow, on a machine that never saw the workspace.

What a version is stands in its tags (`registry.tags`); where the aliases point, only MLflow
knows. Nothing that the server says is trusted by its form: every answer is bounded, every tag is
checked, every file has to have the hash that was registered.
"""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dexsearch.errors import ConfigurationError, DataError, DexSearchError, EnvironmentFault
from dexsearch.registry.address import check_uri, is_server, shown, why_silent
from dexsearch.registry.entries import Registration, ReplicatedTrial, StudyAudit
from dexsearch.registry.record import Registry
from dexsearch.registry.remote_server import ServerClient
from dexsearch.registry.tags import TaggedVersion, tagged_version
from dexsearch.registry.tracking import FOREIGN, make_safe

PREFIX = "dexsearch-"
LARGEST_PAGE = 100
"""Versions asked for at once."""
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class RemoteVersion:
    """Where MLflow has a version."""

    number: int
    """MLflow's number; ours differs where somebody deleted or registered versions by hand."""
    run_id: str


@dataclass(frozen=True, slots=True)
class RemoteRegistry:
    """What a store holds, as the workspace would tell it."""

    uri: str
    """Of the store, password included: never to be shown."""
    client: Any
    """Its `MlflowClient`; for a server, that of remote_server.py."""
    registry: Registry
    places: dict[tuple[str, int], RemoteVersion] = field(default_factory=dict)
    """(name, our version) -> where MLflow has it."""

    def uri_of(self, version: Registration) -> str:
        """Return the address of a version as MLflow's tools take it."""
        return f"models:/{version.name}/{self.places[version.name, version.version].number}"


def read_remote(uri: str, tell: Tell) -> RemoteRegistry:
    """Read every version that dexsearch registered in a store.

    Args:
        uri: a server or a database; see `registry.address`.
        tell: is given one line for each version that is passed over.

    Raises:
        ConfigurationError: if `uri` is no address of MLflow, or names a file that is not there.
        EnvironmentFault: if nothing answers there, or not as MLflow does.
    """
    uri = check_uri(uri) or ""
    _refuse_absent(uri)
    with told_in_one_line(uri):
        client = _client(uri)
        found = _Found()
        for model in _pages(client.search_registered_models):
            if model.name.startswith(PREFIX) and "'" not in model.name:  # filters cannot quote it
                _read_model(client, model.name, found, tell)
    return RemoteRegistry(uri, client, found.registry(), found.places)


@contextmanager
def told_in_one_line(uri: str) -> Iterator[None]:
    """Turn the errors of MLflow, and of what answers in its place, into an EnvironmentFault."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except DexSearchError:
        raise
    except Exception as error:
        theirs = type(error).__module__.startswith((*FOREIGN, "google.protobuf", "json"))
        # an answer that is no answer of MLflow's fails somewhere within its client
        if not theirs and not isinstance(error, _OF_A_WRONG_ANSWER):
            raise
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        raise unusable(uri, reason[:200]) from error


def unusable(uri: str, reason: str) -> EnvironmentFault:
    """Return the error of a store that cannot be read."""
    secret = urlsplit(uri).password
    told = reason.replace(secret, "***") if secret else reason
    return EnvironmentFault(
        f"MLflow at {shown(uri)} cannot be read: {told}",
        hint="check the address, and that the server runs; without --tracking-uri the workspace "
        "is read",
    )


_OF_A_WRONG_ANSWER = (
    ConnectionError,
    TimeoutError,
    AttributeError,
    TypeError,
    KeyError,
    ValueError,
)


@dataclass(slots=True)
class _Found:
    """A registry while it is read."""

    told: dict[tuple[str, int], TaggedVersion] = field(default_factory=dict)
    places: dict[tuple[str, int], RemoteVersion] = field(default_factory=dict)
    aliases: dict[tuple[str, str], int] = field(default_factory=dict)

    def registry(self) -> Registry:
        """Return it in the order of registration."""
        ordered = sorted(self.told.values(), key=lambda one: one.registration.time)
        audits: list[StudyAudit] = [one.audit for one in ordered if one.audit]
        holdouts = {h.look.look: h for one in ordered for h in one.holdouts}
        by_time = sorted(holdouts.values(), key=lambda h: h.evidence.time)
        replicated: list[ReplicatedTrial] = [one.replicated for one in ordered if one.replicated]
        return Registry(
            Path(),
            tuple(one.registration for one in ordered),
            self.aliases,
            audits=tuple(sorted(audits, key=lambda audit: audit.time)),
            looks=tuple(h.look for h in by_time),
            evidence=tuple(h.evidence for h in by_time),
            replicated=tuple(sorted(replicated, key=lambda entry: entry.time)),
        )


def _client(uri: str) -> Any:  # noqa: ANN401
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # a reader asks again himself
    make_safe()
    if is_server(uri):
        return ServerClient(uri)
    from mlflow import MlflowClient  # noqa: PLC0415  (two seconds)

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _refuse_absent(uri: str) -> None:
    """Find out in seconds, and without making an empty database, that nothing is there."""
    reason = why_silent(uri)
    if reason is not None:
        raise unusable(uri, reason)
    if uri.startswith("sqlite:") and not Path(uri.removeprefix("sqlite:///")).is_file():
        raise ConfigurationError(
            f"--tracking-uri {shown(uri)!r}: there is no such file",
            hint="sqlite:///relative/file or sqlite:////absolute/file",
        )


def _read_model(client: Any, name: str, found: _Found, tell: Tell) -> None:  # noqa: ANN401
    """Read the versions of one registered model, and its aliases."""
    ours: dict[int, int] = {}
    by_number = sorted(
        _pages(lambda **page: client.search_model_versions(f"name = '{name}'", **page)),
        key=lambda there: int(there.version),
    )
    for there in by_number:  # the newest of several that hold the same one counts
        number = int(there.version)
        try:
            told = tagged_version(name, number, there.tags)
        except DataError as error:
            tell(f"{name}/{number} in MLflow is passed over: {error}")
            continue
        if told is None:
            tell(f"{name}/{number} in MLflow is passed over: dexsearch did not register it")
            continue
        version = told.registration.version
        found.told[name, version] = told
        found.places[name, version] = RemoteVersion(number, str(there.run_id or ""))
        ours[number] = version
    # searching leaves aliases out
    for alias, target in client.get_registered_model(name).aliases.items():
        if int(target) in ours:
            found.aliases[name, alias] = ours[int(target)]


def _pages(search: Callable[..., Any]) -> Iterator[Any]:
    """Return what a search finds, page by page; ValueError if the pages have no end."""
    token, seen = None, set()
    while True:
        page = search(max_results=LARGEST_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
        if token in seen:
            raise ValueError("the pages of a search begin anew")
        seen.add(token)

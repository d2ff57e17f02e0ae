"""An MLflow server that is asked within bounds: it may be anything, and send without end or pace.

MLflow's own client reads every answer whole, and so does `requests` with that of a redirection
or of an attempt that is to be made again; none of that is done here.
"""

import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from dexsearch.registry.address import shown
from dexsearch.registry.arriving import Arriving

LARGEST_ANSWER_BYTES = 64 * 2**20
"""Of one answer. A version takes some ten thousand bytes; 100 of them are asked for at once."""
LARGEST_SUM_BYTES = 512 * 2**20
"""Of all answers."""
MOST_REQUESTS = 10_000
LONGEST_S = 300.0
"""For all answers; one takes some hundredths of a second."""
CHUNK_BYTES = 2**20
_TIMEOUT_S = 30
_API = "/api/2.0/mlflow/"


def opened(uri: str, path: str, params: dict[str, Any], *, whole_s: float = math.inf) -> Arriving:
    """Return what asks a server once it is entered; read it, and stop where it grows too large.

    Args:
        uri: address of the server.
        path: what is asked for.
        params: of the question.
        whole_s: for the whole answer, in seconds; a piece of it has its own limit.

    Raises:
        ValueError: on entering, if the answer is packed, as a bomb is.
        TimeoutError: if it comes too slowly.
        Exception: of MLflow or requests, if no answer comes, or one that leads elsewhere.
    """
    from mlflow.utils import credentials, rest_utils  # noqa: PLC0415  (two seconds)

    mlflow: Any = rest_utils  # untyped
    host: Any = credentials

    @contextmanager
    def ask() -> Iterator[Any]:
        answer: Any = mlflow.http_request(
            host.get_default_host_creds(uri), path, "GET", stream=True, timeout=_TIMEOUT_S,
            params=params, extra_headers={"Accept-Encoding": "identity"}, retry_codes=(),
            respect_retry_after_header=False, hooks={"response": _refuse_leading_on},
        )  # fmt: skip
        with answer:
            if answer.headers.get("Content-Encoding", "identity") != "identity":
                raise ValueError("its answer is packed, which was not asked for")
            yield answer

    return Arriving(ask, whole_s=whole_s)


def _refuse_leading_on(answer: Any, **_: object) -> None:  # noqa: ANN401
    """Refuse a redirection before `requests` reads what comes with it, followed or not."""
    if answer.is_redirect:
        answer.close()
        to = shown(str(answer.headers["location"])[:200])
        raise ValueError(f"it leads to {to}; give that address instead")


@dataclass(frozen=True, slots=True)
class Model:
    """A registered model, as far as it is needed."""

    name: str
    aliases: dict[str, str]


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A version of a registered model, as far as it is needed."""

    version: str
    run_id: str | None
    tags: dict[str, str]


class Page(list[Any]):
    """What a search found, and where it goes on."""

    token: str | None = None


@dataclass(slots=True)
class ServerClient:
    """Answers as an `MlflowClient` does; ValueError for whatever is not MLflow's."""

    uri: str
    _n_bytes: int = field(default=0, init=False)
    _n_requests: int = field(default=0, init=False)
    _asking_s: float = field(default=0.0, init=False)

    def search_registered_models(self, *, max_results: int, page_token: str | None) -> Page:
        """Return a page of the registered models."""
        answer = self._asked(
            "registered-models/search", max_results=max_results, page_token=page_token
        )
        return _page(answer, [_model(found) for found in _entries(answer, "registered_models")])

    def search_model_versions(
        self, condition: str, *, max_results: int, page_token: str | None
    ) -> Page:
        """Return a page of the versions that fulfil a condition."""
        answer = self._asked(
            "model-versions/search",
            filter=condition, max_results=max_results, page_token=page_token,
        )  # fmt: skip
        return _page(answer, [_version(found) for found in _entries(answer, "model_versions")])

    def get_registered_model(self, name: str) -> Model:
        """Return a registered model with its aliases."""
        return _model(self._asked("registered-models/get", name=name).get("registered_model"))

    def _asked(self, what: str, **params: str | int | None) -> dict[str, Any]:
        self._n_requests += 1
        if self._n_requests > MOST_REQUESTS:
            raise ValueError(f"its searches have no end after {MOST_REQUESTS} answers")
        given = {name: value for name, value in params.items() if value is not None}
        question = opened(self.uri, _API + what, given, whole_s=LONGEST_S - self._asking_s)
        begun_s = time.monotonic()
        try:
            return self._answer(question, what)
        except TimeoutError as error:
            raise TimeoutError(
                f"{error}; all its answers together may take {LONGEST_S:g} s"
            ) from None
        finally:
            self._asking_s += time.monotonic() - begun_s

    def _answer(self, question: Arriving, what: str) -> dict[str, Any]:
        body = bytearray()
        with question as answer:
            for chunk in answer.iter_content(CHUNK_BYTES):
                body += chunk
                self._n_bytes += len(chunk)
                if len(body) > LARGEST_ANSWER_BYTES or self._n_bytes > LARGEST_SUM_BYTES:
                    raise ValueError(
                        f"its answer to {what} is larger than any of MLflow's: it was cut off "
                        f"after {self._n_bytes / 2**20:.0f} MiB"
                    )
        return _parsed(bytes(body), answer.status_code)


def _parsed(body: bytes, status: int) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if status != 200:
        reason = answer.get("message") if isinstance(answer, dict) else None
        raise ValueError(f"HTTP {status}" + (f": {str(reason)[:200]}" if reason else ""))
    if not isinstance(answer, dict):
        raise ValueError("its answer is none of MLflow's")
    return answer


def _page(answer: dict[str, Any], entries: list[Any]) -> Page:
    page = Page(entries)
    page.token = _text(answer.get("next_page_token") or "")
    return page


def _model(found: object) -> Model:
    told = _fields(found)
    aliases = {
        _text(alias.get("alias")): str(alias.get("version")) for alias in _entries(told, "aliases")
    }
    return Model(_text(told.get("name")), aliases)


def _version(found: object) -> ModelVersion:
    told = _fields(found)
    tags = {_text(tag.get("key")): _text(tag.get("value", "")) for tag in _entries(told, "tags")}
    return ModelVersion(str(told.get("version")), _text(told.get("run_id") or ""), tags)


def _entries(answer: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return what an answer lists under a name; nothing where it is left out."""
    listed = answer.get(name, [])
    if not isinstance(listed, list):
        raise ValueError(f"its answer has no list of {name}")
    return [_fields(entry) for entry in listed]


def _fields(found: object) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise ValueError("its answer lacks what MLflow tells")
    return found


def _text(found: object) -> str:
    if not isinstance(found, str):
        raise ValueError("its answer lacks what MLflow tells")
    return found

"""What answers in MLflow's place may be anything: each a clear error, and nothing is left."""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from dexsearch.errors import ConfigurationError, DataError, DexSearchError, EnvironmentFault
from dexsearch.inference.package import MANIFEST, WEIGHTS, Package
from dexsearch.registry import arriving, remote_server
from dexsearch.registry.record import read_registry
from dexsearch.registry.remote import RemoteRegistry, read_remote
from dexsearch.registry.remote_files import download_remote
from dexsearch.registry.store import register
from dexsearch.registry.tags import REGISTRATION, version_tags

MakePackage = Callable[..., Package]
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
API = "/api/2.0/mlflow/"
NAME = "dexsearch-bone"


@dataclass
class Impostor:
    """A server of one version that says what a test has put in."""

    tags: dict[str, str]
    files: dict[str, bytes]
    answers: dict[str, bytes] = field(default_factory=dict)
    """Path -> body, in place of a proper answer."""
    asked: list[str] = field(default_factory=list)
    url: str = ""
    endless: str | None = None
    """Path of an answer that has no end, with this status and these headers."""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    n_sent: int = 0
    pause_s: float = 0.0
    """Between the pieces of the answer without end, which are single bytes then."""

    def body(self, path: str, query: dict[str, list[str]]) -> bytes | None:
        self.asked.append(path)
        if path in self.answers:
            return self.answers[path]
        if path == "/health":
            return b"OK"
        if path == "/get-artifact":
            return self.files.get(query["path"][0].removeprefix("generator/"))
        return json.dumps(self.registry(path)).encode()

    def registry(self, path: str) -> dict[str, Any]:
        tags = [{"key": key, "value": value} for key, value in self.tags.items()]
        version = {"name": NAME, "version": "1", "run_id": "f" * 32, "tags": tags}
        model = {"name": NAME, "aliases": [{"alias": "champion", "version": "1"}]}
        return {
            f"{API}registered-models/search": {"registered_models": [{"name": NAME}]},
            f"{API}registered-models/get": {"registered_model": model},
            f"{API}model-versions/search": {"model_versions": [version]},
        }[path]

    def say_manifest(self, text: bytes) -> None:
        """Serve another manifest, and tags that vouch for it."""
        self.files[MANIFEST] = text
        told = json.loads(self.tags[REGISTRATION])
        told["sha256"] = hashlib.sha256(text).hexdigest()
        self.tags[REGISTRATION] = json.dumps(told)


@pytest.fixture
def impostor(tmp_path: Path, make_package: MakePackage) -> Iterator[Impostor]:
    """A server that tells the truth until a test changes it."""
    package = make_package(3, 0.8)
    (version,) = register(tmp_path, [package])
    files = {
        path.relative_to(package.path).as_posix(): path.read_bytes()
        for path in package.path.rglob("*")
        if path.is_file()
    }
    made = Impostor(version_tags(read_registry(tmp_path), version), files)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if parts.path == made.endless:
                self.send_without_end()
                return
            body = made.body(parts.path, parse_qs(parts.query))
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def send_without_end(self) -> None:
            """Send until the other side has had enough."""
            self.send_response(made.status)
            for name, value in made.headers.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(ConnectionError):
                while True:
                    made.n_sent += self.wfile.write(b" " * (1 if made.pause_s else 2**16))
                    time.sleep(made.pause_s)

        def log_message(self, *_: Any) -> None:  # noqa: ANN401
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


def read(impostor: Impostor) -> RemoteRegistry:
    return read_remote(impostor.url, lambda line: pytest.fail(line))


def refused(impostor: Impostor, target: Path) -> DexSearchError:
    """Download into a new folder, expect an error, and see that nothing is left."""
    remote = read(impostor)
    target.parent.mkdir()
    with pytest.raises(DexSearchError) as error:
        download_remote(remote, remote.registry.versions[0], target, lambda *_: None)
    assert list(target.parent.iterdir()) == []
    return error.value


def manifest(files: object) -> bytes:
    return json.dumps({"format": 1, "files": files}).encode()


def test_the_truth_is_taken(impostor: Impostor, tmp_path: Path) -> None:
    remote = read(impostor)
    (version,) = remote.registry.versions
    assert remote.registry.aliases == {(NAME, "champion"): 1}
    steps: list[tuple[int, int]] = []
    target = tmp_path / "new" / "generator"
    package = download_remote(remote, version, target, lambda *at: steps.append(at))
    assert package.sha256 == version.sha256
    assert steps[-1] == (len(package.files), len(package.files))
    asked = len(impostor.asked)
    download_remote(remote, version, target, lambda *_: None)  # it is there: nothing is asked
    assert len(impostor.asked) == asked


@pytest.mark.parametrize(
    "name",
    ["../evil", "/tmp/evil", "a/../../evil", "a//b", "./a", "..", "", "a\\b", "C:evil", "a\nb",
     MANIFEST, "x" * 201],
)  # fmt: skip
def test_a_manifest_cannot_name_a_place_outside(
    impostor: Impostor, tmp_path: Path, name: str
) -> None:
    before = {WEIGHTS: "0" * 64, "config.json": "0" * 64}
    impostor.say_manifest(manifest({name: "0" * 64, **before}))
    assert isinstance(refused(impostor, tmp_path / "new" / "generator"), DataError)
    assert impostor.asked.count("/get-artifact") == 1  # the manifest alone
    assert not list(tmp_path.parent.rglob("evil"))


@pytest.mark.parametrize(
    "text",
    [
        b"<html>hello</html>", b"[]", b"5", b"{}", b'{"files": {}}', b'{"files": [1, 2]}',
        b"[" * 100_000, manifest({"a": 5}), manifest({f"{n}.png": "0" for n in range(1001)}),
        manifest({"a": "0" * 64}), b"\xff\xfe",
    ],
)  # fmt: skip
def test_a_manifest_that_is_none_is_refused(
    impostor: Impostor, tmp_path: Path, text: bytes
) -> None:
    impostor.say_manifest(text)
    refused(impostor, tmp_path / "new" / "generator")


def test_a_manifest_that_was_not_registered_is_refused(impostor: Impostor, tmp_path: Path) -> None:
    impostor.files[MANIFEST] += b" "
    error = refused(impostor, tmp_path / "new" / "generator")
    assert isinstance(error, DataError)
    assert "registered was" in str(error)


@pytest.mark.parametrize("name", [WEIGHTS, "config.json", "pictures/1-subject.png"])
def test_every_changed_file_is_refused_by_name(
    impostor: Impostor, tmp_path: Path, name: str
) -> None:
    content = bytearray(impostor.files[name])
    content[len(content) // 2] ^= 1
    impostor.files[name] = bytes(content)
    error = refused(impostor, tmp_path / "new" / "generator")
    assert isinstance(error, DataError)
    assert repr(name) in str(error)


def test_a_file_that_is_gone_or_a_page_instead_of_it_is_refused(
    impostor: Impostor, tmp_path: Path
) -> None:
    impostor.files[WEIGHTS] = b"<html>log in</html>"
    assert isinstance(refused(impostor, tmp_path / "one" / "generator"), DataError)
    del impostor.files[WEIGHTS]
    error = refused(impostor, tmp_path / "two" / "generator")
    assert isinstance(error, EnvironmentFault)
    assert "HTTP 404" in str(error)


def test_a_file_larger_than_its_generator_is_cut_off(
    impostor: Impostor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dexsearch.registry import remote_files

    monkeypatch.setattr(remote_files, "LARGEST_SMALL_FILE_BYTES", 1000)
    impostor.files[WEIGHTS] = bytes(5000)
    error = refused(impostor, tmp_path / "new" / "generator")
    assert "larger than 1160 bytes" in str(error)  # 16 for each of 10 parameters


def test_a_huge_manifest_is_cut_off(impostor: Impostor, tmp_path: Path) -> None:
    impostor.say_manifest(b" " * (2**20 + 1))
    assert "larger than" in str(refused(impostor, tmp_path / "new" / "generator"))


@pytest.mark.parametrize("path", ["registered-models/search", "registered-models/get",
                                  "model-versions/search"])  # fmt: skip
@pytest.mark.parametrize(
    "body",
    [b"<html>log in</html>", b"[1]", b"5", b'{"registered_models": 5, "model_versions": 5}',
     b'{"registered_models": [5], "model_versions": [{"version": "x", "name": "x"}]}', b"\x00"],
)  # fmt: skip
def test_answers_that_are_not_mlflows_are_one_error_or_nothing(
    impostor: Impostor, path: str, body: bytes
) -> None:
    impostor.answers[API + path] = body
    errors: list[EnvironmentFault] = []
    aliases: set[tuple[str, str]] = set()
    try:
        aliases = set(read_remote(impostor.url, lambda _: None).registry.aliases)
    except EnvironmentFault as error:
        errors.append(error)
    assert aliases <= {(NAME, "champion")}
    assert all(impostor.url in str(error) and "\n" not in str(error) for error in errors)
    assert errors or body[:1] != b"<"


def test_pages_without_an_end_are_told(impostor: Impostor) -> None:
    page = {"registered_models": [], "next_page_token": "again"}
    impostor.answers[f"{API}registered-models/search"] = json.dumps(page).encode()
    with pytest.raises(EnvironmentFault, match="begin anew"):
        read_remote(impostor.url, lambda _: None)


def test_a_version_with_broken_tags_is_passed_over(impostor: Impostor) -> None:
    impostor.tags[REGISTRATION] = "{}"
    told: list[str] = []
    assert read_remote(impostor.url, told.append).registry.versions == ()
    assert len(told) == 1
    assert "cannot be read" in told[0]


def test_a_disk_that_cannot_be_written_is_told(impostor: Impostor, tmp_path: Path) -> None:
    remote = read(impostor)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigurationError, match="cannot"):
        download_remote(
            remote, remote.registry.versions[0], tmp_path / "file" / "x", lambda *_: None
        )


SEARCH = f"{API}registered-models/search"


@pytest.mark.parametrize(
    "path", [SEARCH, f"{API}model-versions/search", f"{API}registered-models/get"]
)
def test_an_answer_without_end_is_cut_off(impostor: Impostor, path: str) -> None:
    impostor.endless = path
    with pytest.raises(EnvironmentFault, match="larger than any of MLflow's") as caught:
        read_remote(impostor.url, lambda _: None)
    assert impostor.url in str(caught.value)
    assert impostor.n_sent < 2 * remote_server.LARGEST_ANSWER_BYTES


@pytest.mark.parametrize(
    ("status", "headers", "told"),
    [
        (302, {"Location": "http://me:hush@127.0.0.1:1/"}, r"leads to http://me:\*\*\*@127"),
        (503, {"Retry-After": "1"}, "larger than any"),
        (200, {"Content-Encoding": "gzip"}, "packed"),
    ],
)
def test_neither_redirections_nor_refusals_nor_packed_answers_are_read_to_their_end(
    impostor: Impostor, status: int, headers: dict[str, str], told: str
) -> None:
    impostor.endless, impostor.status, impostor.headers = SEARCH, status, headers
    with pytest.raises(EnvironmentFault, match=told):
        read_remote(impostor.url, lambda _: None)
    assert impostor.n_sent < 2 * remote_server.LARGEST_ANSWER_BYTES


def test_all_answers_together_are_bounded(
    impostor: Impostor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_server, "MOST_REQUESTS", 2)
    with pytest.raises(EnvironmentFault, match="no end after 2 answers"):
        read_remote(impostor.url, lambda _: None)
    monkeypatch.setattr(remote_server, "LARGEST_SUM_BYTES", 100)
    with pytest.raises(EnvironmentFault, match="cut off"):
        read_remote(impostor.url, lambda _: None)


def test_a_file_without_end_is_cut_off(impostor: Impostor, tmp_path: Path) -> None:
    impostor.endless = "/get-artifact"
    assert "larger than" in str(refused(impostor, tmp_path / "new" / "generator"))


@pytest.mark.parametrize("path", [SEARCH, "/get-artifact"])
def test_a_server_that_sends_byte_by_byte_holds_nobody(
    impostor: Impostor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    remote = read(impostor)
    impostor.endless, impostor.pause_s = path, 0.01
    monkeypatch.setattr(arriving, "PIECE_WITHIN_S", 0.2)
    if path == SEARCH:
        with pytest.raises(EnvironmentFault, match="too slowly"):
            read(impostor)
        return
    target = tmp_path / "new"
    with pytest.raises(EnvironmentFault, match="too slowly"):
        download_remote(remote, remote.registry.versions[0], target, lambda *_: None)
    assert not target.exists()


def test_all_answers_together_have_their_time(
    impostor: Impostor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_server, "LONGEST_S", 0.0)
    with pytest.raises(EnvironmentFault, match=r"too slowly.*all its answers together"):
        read_remote(impostor.url, lambda _: None)

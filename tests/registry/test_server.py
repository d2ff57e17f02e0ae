"""MLflow's server: what it is told, what it answers, and that it leaves nothing behind."""

import base64
import os
import select
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import pytest

from dexsearch.errors import ConfigurationError, EnvironmentFault
from dexsearch.registry.authentication import PASSWORD, SETTINGS, USERS
from dexsearch.registry.server import ServerSettings, free_port, running_server, url_of
from dexsearch.registry.server_settings import (
    allowed_hosts,
    allowed_origins,
    server_command,
    server_environment,
)

sys.path.insert(0, str(Path(__file__).parent / "support"))
from postgresql import postgresql_server

GOOD_PASSWORD = "a long enough secret 100%"


def status(url: str, *, data: bytes | None = None, **headers: str) -> int:
    request = Request(url, data, {key.replace("_", "-"): value for key, value in headers.items()})
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=30) as answer:
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code


def processes_of(session: int) -> list[str]:
    """Return the command of every process in a session, the ended ones left out."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(folder.name)
    return found


def test_the_environment_is_safe_whatever_the_user_has_set(tmp_path: Path) -> None:
    given = {
        "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "true",
        "MLFLOW_SERVER_ALLOWED_HOSTS": "*",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "true",
        "MLFLOW_DISABLE_TELEMETRY": "false",
        "MLFLOW_TRACKING_URI": "http://elsewhere",
        "MLFLOW_ENABLE_ASSISTANT_SANDBOX": "false",
        "HOME": "/home/me",
    }
    made = server_environment(ServerSettings(tmp_path), given)
    assert made["HOME"] == "/home/me"
    assert "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE" not in made
    assert "MLFLOW_TRACKING_URI" not in made
    assert "*" not in made["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert made["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    assert made["MLFLOW_ALLOW_MODEL_CODE_EXECUTION"] == "false"
    assert made["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert made["MLFLOW_ENABLE_ASSISTANT_SANDBOX"] == "true"
    assert made["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert made["MLFLOW_SQLALCHEMYSTORE_POOL_SIZE"] == "64"
    assert made["MLFLOW_BACKEND_STORE_URI"] == f"sqlite:///{tmp_path}/mlflow.db"


def test_a_name_is_answered_with_and_without_a_port_and_may_change_things(
    tmp_path: Path,
) -> None:
    settings = ServerSettings(tmp_path, host="10.0.0.7", names=("mlflow.clinic.org",))
    hosts = allowed_hosts(settings)
    for name in ("mlflow.clinic.org", "10.0.0.7", "localhost", "127.0.0.1"):
        assert {name, f"{name}:*"} <= set(hosts)
    assert "http://mlflow.clinic.org:*" in allowed_origins(settings)
    assert allowed_origins(ServerSettings(tmp_path)) == []


@pytest.mark.parametrize("name", ["*", "*.org", "http://mlflow", "a,b", "", "a b", "host/x"])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="is no host name"):
        server_environment(ServerSettings(tmp_path, names=(name,)), {})


def test_nothing_secret_stands_on_the_command_line(tmp_path: Path) -> None:
    settings = ServerSettings(tmp_path, auth=True, postgresql="postgresql://u:pw@h/db")
    command = " ".join(server_command(settings, 5000))
    assert "pw" not in command
    assert "--app-name basic-auth" in command


@pytest.mark.parametrize("password", ["", "short", "password1234", "admin"])
def test_authentication_needs_a_password_that_nobody_knows(tmp_path: Path, password: str) -> None:
    pytest.importorskip("flask_wtf")
    with pytest.raises(ConfigurationError, match="password of 12") as caught:
        server_environment(ServerSettings(tmp_path, auth=True), {PASSWORD: password})
    assert PASSWORD in str(caught.value.hint)
    assert not (tmp_path / USERS).exists()


def test_the_users_are_kept_in_the_workspace_where_only_we_can_read_them(tmp_path: Path) -> None:
    pytest.importorskip("flask_wtf")
    workspace = tmp_path / "100% mine"
    workspace.mkdir()
    made = server_environment(ServerSettings(workspace, auth=True), {PASSWORD: GOOD_PASSWORD})
    assert made["MLFLOW_AUTH_CONFIG_PATH"] == str(workspace / SETTINGS)
    assert stat.S_IMODE((workspace / USERS).stat().st_mode) == 0o600
    text = (workspace / SETTINGS).read_text()
    assert GOOD_PASSWORD not in text
    assert "100%% mine" in text


def test_without_flask_wtf_the_command_that_installs_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dexsearch.registry.authentication.find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault) as caught:
        server_environment(ServerSettings(tmp_path, auth=True), {PASSWORD: GOOD_PASSWORD})
    assert caught.value.hint == "pip install 'dexsearch[auth]'"


@pytest.mark.parametrize("uri", ["sqlite:///x.db", "mysql://u@h/db", "h:5432/db", ""])
def test_another_database_than_postgresql_is_refused(tmp_path: Path, uri: str) -> None:
    with pytest.raises(ConfigurationError, match="no address of a PostgreSQL database"):
        server_environment(ServerSettings(tmp_path, postgresql=uri), {})


def test_a_database_that_does_not_answer_is_told_at_once_without_its_password(
    tmp_path: Path,
) -> None:
    pytest.importorskip("psycopg2")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused at once
        uri = f"postgresql://me:s3cret@127.0.0.1:{taken.getsockname()[1]}/mlflow"
        with pytest.raises(EnvironmentFault, match="does not answer") as caught:
            server_environment(ServerSettings(tmp_path, postgresql=uri), {})
    assert "s3cret" not in str(caught.value)


def test_a_taken_port_is_told_with_another_to_try() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EnvironmentFault, match=f"port {port}.*cannot be used") as caught:
            free_port("127.0.0.1", port)
    assert f"--port {port + 1}" in str(caught.value.hint)
    assert free_port("127.0.0.1", 0) > 0


@pytest.mark.parametrize("host", ["no such host", "256.1.1.1"])
def test_a_host_that_is_none_is_refused(host: str) -> None:
    with pytest.raises(ConfigurationError, match="no address of this machine"):
        free_port(host, 0)


def test_an_address_can_be_typed_into_a_browser() -> None:
    assert url_of("0.0.0.0", 5000) == "http://127.0.0.1:5000"
    assert url_of("::1", 5000) == "http://[::1]:5000"
    assert url_of("10.0.0.7", 80) == "http://10.0.0.7:80"


@pytest.mark.slow
def test_only_known_names_are_answered_and_foreign_pages_cannot_change_anything(
    tmp_path: Path,
) -> None:
    settings = ServerSettings(tmp_path, port=0, names=("mlflow.clinic.org",))
    (tmp_path / "flask.py").write_text("raise SystemExit('code of the workspace was run')\n")
    with running_server(settings) as (url, process):
        assert status(f"{url}/") == 200
        assert status(f"{url}/", Host="mlflow.clinic.org:5000") == 200
        assert status(f"{url}/", Host="evil.org") == 403
        search = f"{url}/ajax-api/2.0/mlflow/experiments/search"
        body = {"data": b'{"max_results": 5}', "Content_Type": "application/json"}
        known = "mlflow.clinic.org"
        assert status(search, **body, Host=known, Origin=f"http://{known}:8080") == 200  # type: ignore[arg-type]
        assert status(search, **body, Origin="http://evil.org") == 403  # type: ignore[arg-type]
        assert b"MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false" in _environment_of(process.pid)
    assert processes_of(process.pid) == []


@pytest.mark.slow
def test_with_authentication_nothing_is_shown_without_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("flask_wtf")
    monkeypatch.setenv(PASSWORD, GOOD_PASSWORD)
    with running_server(ServerSettings(tmp_path, port=0, auth=True)) as (url, _):
        search = f"{url}/api/2.0/mlflow/experiments/search?max_results=5"
        assert status(search) == 401
        for password, code in (("wrong", 401), (GOOD_PASSWORD, 200)):
            known = base64.b64encode(f"admin:{password}".encode()).decode()
            assert status(search, Authorization=f"Basic {known}") == code
    assert GOOD_PASSWORD.encode() not in (tmp_path / USERS).read_bytes()


@pytest.mark.slow
def test_postgresql_holds_what_the_server_is_given_and_the_workspace_the_files(
    tmp_path: Path,
) -> None:
    from mlflow import MlflowClient

    with postgresql_server() as database:
        settings = ServerSettings(tmp_path / "one", port=0, postgresql=database)
        with running_server(settings) as (url, _):
            client = MlflowClient(url, url)
            run = client.create_run(client.create_experiment("ribs")).info
            client.log_text(run.run_id, "hello", "note.txt")
        with running_server(settings) as (url, _):
            again = MlflowClient(url, url)
            assert again.get_run(run.run_id).info.experiment_id == run.experiment_id
    assert [f.read_text() for f in (tmp_path / "one").rglob("note.txt")] == ["hello"]
    assert not (tmp_path / "one" / "mlflow.db").exists()


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let children hear SIGINT, also where these tests run in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_ends_with_130_and_leaves_nothing_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dexsearch", "server", "--port", "0"]
    command += ["--workspace", str(tmp_path)]
    environment = {**os.environ, "NO_COLOR": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert status(f"{url}/health") == 200
            server = _children_of(process.pid)
            assert len(server) == 1
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130, err
    assert out == ""
    assert "interrupted" in err
    assert "Traceback" not in err
    assert processes_of(server[0]) == []
    with socket.socket() as probe:  # the port is free again
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", int(url.rsplit(":", 1)[1])))


def test_a_damaged_database_is_told_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"this is no database" * 100)
    with (
        pytest.raises(EnvironmentFault, match=r"mlflow\.db.*cannot be used") as caught,
        running_server(ServerSettings(tmp_path, port=0)),
    ):
        pytest.fail("it answered")
    assert "dexsearch sync" in str(caught.value.hint)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process so")
def test_kill_9_leaves_no_server_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dexsearch", "server", "--port", "0"]
    command += ["--workspace", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("http://127.0.0.1:")
            (server,) = _children_of(process.pid)
            ends = os.pidfd_open(server)
        finally:
            process.kill()
    try:
        watched = select.poll()
        watched.register(ends, select.POLLIN)
        assert watched.poll(60_000), "the server did not end"
    finally:
        os.close(ends)
    assert processes_of(server) == []


@pytest.mark.slow
def test_a_server_that_ends_before_it_answers_is_an_error(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as newer, newer:
        newer.execute("CREATE TABLE alembic_version (version_num TEXT)")
        newer.execute("INSERT INTO alembic_version VALUES ('of a newer MLflow')")
    with (
        pytest.raises(EnvironmentFault, match="before it answered"),
        running_server(ServerSettings(tmp_path, port=0)),
    ):
        pytest.fail("it answered")


def _environment_of(pid: int) -> list[bytes]:
    return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")


def _children_of(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]

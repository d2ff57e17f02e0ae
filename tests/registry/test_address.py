"""Addresses of MLflow: which are taken, and how they are shown."""

import socket
from contextlib import closing
from pathlib import Path

import pytest

from dexsearch.errors import ConfigurationError
from dexsearch.registry.address import check_uri, is_own, shown, tracking_uri, why_silent


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (None, None),
        ("http://127.0.0.1:5000/", "http://127.0.0.1:5000"),
        ("https://mlflow.clinic.org/proxy", "https://mlflow.clinic.org/proxy"),
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db"),
        ("postgresql://me@db/mlflow", "postgresql+psycopg2://me@db/mlflow"),
        ("postgres://me:pw@db:5433/mlflow", "postgresql+psycopg2://me:pw@db:5433/mlflow"),
    ],
)
def test_an_address_is_taken_as_mlflow_takes_it(given: str | None, taken: str | None) -> None:
    assert check_uri(given) == taken
    assert check_uri(taken) == taken


@pytest.mark.parametrize(
    "uri",
    ["", "mlruns", "./mlflow.db", "file:///mlruns", "http:/host", "http://h:0", "http://h:99999",
     "databricks", "mysql://me@db/x", "sqlite://mlflow.db", "sqlite:///", "http://[::1"],
)  # fmt: skip
def test_another_one_is_refused_with_those_that_are_allowed(uri: str) -> None:
    with pytest.raises(ConfigurationError, match="allowed are http://HOST:PORT"):
        check_uri(uri)


@pytest.mark.parametrize("password", ["s3cret", "s3@cret", "s3:cret", "s%40cret"])
def test_a_password_is_never_shown(password: str) -> None:
    told = shown(f"https://me:{password}@mlflow.clinic.org:8443/x")
    assert told == "https://me:***@mlflow.clinic.org:8443/x"
    assert shown("http://127.0.0.1:5000") == "http://127.0.0.1:5000"
    with pytest.raises(ConfigurationError) as caught:
        check_uri(f"ftp://me:{password}@host/x")
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize(
    "slip",
    ["postgresql:user:verysecret@h/db", "postgresql:/user:verysecret@h/db",
     "postgresql//user:very@secret@h/db", "user:verysecret@h/db", "http:user:verysecret@h",
     "user:verysecret@http://h",
     "postgresql:h/db?user=me&password=verysecret"],
)  # fmt: skip
def test_a_mistyped_address_does_not_show_its_password(slip: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_uri(slip)
    assert "secret" not in str(caught.value)
    assert slip[:4] in str(caught.value)


def test_the_workspace_s_own_file_is_recognised_by_its_address(tmp_path: Path) -> None:
    assert is_own(tmp_path, None)
    assert is_own(tmp_path, tracking_uri(tmp_path))
    assert not is_own(tmp_path / "other", tracking_uri(tmp_path))


@pytest.mark.parametrize("scheme", ["http", "postgresql"])
def test_a_closed_port_is_told_and_an_open_database_is_not(scheme: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        uri = f"{scheme}://127.0.0.1:{server.getsockname()[1]}/x"
        if scheme == "postgresql":
            assert why_silent(uri) is None
    assert why_silent(uri) == "connection refused"
    assert why_silent("sqlite:////nowhere/x.db") is None
    assert why_silent(None) is None

import socket
import sys
from pathlib import Path

import pytest

from dexsearch.errors import EnvironmentFault
from dexsearch.search.cluster import prepare_environment, refuse_bad_address


def test_auto_is_left_to_ray_to_resolve() -> None:
    refuse_bad_address("auto")


def test_a_dead_address_is_refused() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(EnvironmentFault, match=f"no Ray cluster answers at 127.0.0.1:{port}"):
        refuse_bad_address(f"127.0.0.1:{port}")


def test_a_local_cluster_gets_a_token_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    first: dict[str, str] = {}
    second: dict[str, str] = {}
    prepare_environment(None, first)
    prepare_environment(None, second)
    assert first["RAY_AUTH_MODE"] == "token"
    assert first["RAY_AUTH_TOKEN"] != second["RAY_AUTH_TOKEN"]
    assert first["RAY_USAGE_STATS_ENABLED"] == "0"


def test_whoever_decided_on_authentication_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    joined: dict[str, str] = {}
    prepare_environment("10.0.0.5:6379", joined)
    decided = {"RAY_AUTH_MODE": "disabled", "TUNE_GLOBAL_CHECKPOINT_S": "5"}
    prepare_environment(None, decided)
    assert "RAY_AUTH_MODE" not in joined
    assert "RAY_AUTH_TOKEN" not in decided
    assert decided["TUNE_GLOBAL_CHECKPOINT_S"] == "5"


@pytest.mark.parametrize("mode", ["", " ", "tokn", " token", "true"])
def test_a_mode_that_ray_does_not_know_opens_no_local_cluster(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    given = {"RAY_AUTH_MODE": mode}
    prepare_environment(None, given)
    assert given["RAY_AUTH_MODE"] == "token"
    assert len(given["RAY_AUTH_TOKEN"]) == 64


@pytest.mark.parametrize("at_home", [None, "", "5ec4e7" * 10])
def test_who_asks_for_a_token_and_has_none_gets_one_that_is_in_no_file(
    at_home: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / ".ray" / "auth_token"
    if at_home is not None:
        file.parent.mkdir()
        file.write_text(at_home)
    asked = {"RAY_AUTH_MODE": "token"}
    prepare_environment(None, asked)
    assert ("RAY_AUTH_TOKEN" in asked) == (not at_home)
    assert file.exists() == (at_home is not None)
    for decided in ({"RAY_AUTH_TOKEN": "mine"}, {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "named")}):
        given = {"RAY_AUTH_MODE": "token", **decided}
        prepare_environment(None, given)
        assert {key: given[key] for key in decided} == decided
        assert ("RAY_AUTH_TOKEN" in given) == ("RAY_AUTH_TOKEN" in decided)

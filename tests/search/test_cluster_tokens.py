"""Laws of finding the token, and of what is told when a cluster refuses it."""

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dexsearch.errors import EnvironmentFault
from dexsearch.search import tokens
from dexsearch.search.joining import judged_answer, refuse_missing_token, refused_token
from dexsearch.search.tokens import TokenSource, token_source

SECRET = "5ec4e7" * 10
HEAD = "10.0.0.5:6379"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(SECRET)
    path.chmod(0o600)
    return path


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter, unlike those of tests."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def exposure(file: Path, **environment: str) -> str | None:
    return token_source({"RAY_AUTH_TOKEN_PATH": str(file), **environment}, file.parent).exposed


def token_in(folder: Path, mode: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "token"
    file.write_text(SECRET)
    file.chmod(mode)
    return file


def test_the_environment_goes_before_the_named_file_and_that_before_the_home(
    tmp_path: Path, file: Path
) -> None:
    named = {"RAY_AUTH_TOKEN_PATH": str(file)}
    at_home = tmp_path / ".ray" / "auth_token"
    at_home.parent.mkdir()
    at_home.write_text(SECRET)
    assert token_source({"RAY_AUTH_TOKEN": SECRET, **named}, tmp_path).place == "RAY_AUTH_TOKEN"
    assert token_source(named, tmp_path).place == f"RAY_AUTH_TOKEN_PATH={file}"
    assert token_source({}, tmp_path).place == str(at_home)
    at_home.unlink()
    assert token_source({}, tmp_path).place is None


def test_a_mode_is_on_only_where_ray_sends_the_token(tmp_path: Path) -> None:
    for mode, is_on in (("token", True), ("TOKEN", True), (" token", False), ("", False)):
        source = token_source({"RAY_AUTH_MODE": mode, "RAY_AUTH_TOKEN": SECRET}, tmp_path)
        assert source.is_on is is_on, mode


@pytest.mark.parametrize(("content", "told"), [(None, "is not there"), ("", "is empty")])
def test_a_named_file_that_yields_no_token_is_told_whatever_lies_at_home(
    tmp_path: Path, content: str | None, told: str
) -> None:
    at_home = tmp_path / ".ray" / "auth_token"
    at_home.parent.mkdir()
    at_home.write_text(SECRET)
    named = tmp_path / "named"
    if content is not None:
        named.write_text(content)
    source = token_source({"RAY_AUTH_TOKEN_PATH": str(named)}, tmp_path)
    assert source.place is None
    assert told in (source.fault or "")


@pytest.mark.parametrize(
    ("mode", "whom"),
    [
        (0o600, None),
        (0o400, None),
        (0o640, "its group"),
        (0o644, "everybody"),
        (0o604, "everybody"),
    ],
)
def test_a_file_that_others_can_read_is_told_with_the_command_that_closes_it(
    open_folder: Path, mode: int, whom: str | None
) -> None:
    file = token_in(open_folder, mode)
    exposed = exposure(file)
    if whom is None:
        assert exposed is None
    else:
        assert exposed is not None
        assert f"can be read by {whom}" in exposed
        assert f"mode {stat.S_IMODE(mode):04o}" in exposed
        assert f"chmod 600 {file}" in exposed


def test_a_folder_that_others_may_not_enter_hides_a_token(open_folder: Path) -> None:
    file = token_in(open_folder / "private" / "secrets", 0o644)
    assert "everybody" in (exposure(file) or "")
    for mode, whom in ((0o700, None), (0o750, "its group"), (0o711, "everybody")):
        (open_folder / "private").chmod(mode)
        told = exposure(file)
        assert told is None if whom is None else whom in (told or ""), oct(mode)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder to another group: root")
def test_another_group_at_the_door_keeps_the_group_of_a_token_out(open_folder: Path) -> None:
    file = token_in(open_folder / "private", 0o640)
    os.chown(open_folder / "private", 0, 12345)
    (open_folder / "private").chmod(0o750)
    assert exposure(file) is None


def test_what_docker_kubernetes_or_systemd_put_there_is_theirs(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = token_in(open_folder / "run" / "secrets" / "ray", 0o444)
    assert exposure(file, CREDENTIALS_DIRECTORY=str(open_folder / "other")) is not None
    assert exposure(file, CREDENTIALS_DIRECTORY=str(file.parent)) is None
    monkeypatch.setattr(tokens, "_SECRETS", open_folder / "run" / "secrets")
    assert exposure(file) is None


def test_the_token_itself_is_never_told(open_folder: Path) -> None:
    file = token_in(open_folder, 0o644)
    for environment in ({"RAY_AUTH_TOKEN": SECRET}, {"RAY_AUTH_TOKEN_PATH": str(file)}):
        source = token_source(environment, file.parent)
        told = [repr(source), str(refused_token(HEAD, source, is_right=False))]
        assert SECRET not in " ".join(told)


def test_a_token_that_shall_be_sent_and_is_not_there_is_refused() -> None:
    with pytest.raises(EnvironmentFault, match="there is no token") as refused:
        refuse_missing_token(HEAD, TokenSource("token", None))
    assert "get-auth-token" in (refused.value.hint or "")
    for source in (TokenSource("", None), TokenSource("token", "RAY_AUTH_TOKEN")):
        refuse_missing_token(HEAD, source)


@pytest.mark.parametrize(
    ("source", "is_right", "told", "hint"),
    [
        (TokenSource("", "F"), True, "is right, but is not sent: RAY_AUTH_MODE is not set",
         "export RAY_AUTH_MODE=token"),
        (TokenSource("disabled", "F"), True, "not sent: RAY_AUTH_MODE is 'disabled'",
         "export RAY_AUTH_MODE=token"),
        (TokenSource("", None), False, "asks for a token, and none was given", "get-auth-token"),
        (TokenSource("token", "F"), False, "that of F is the wrong one", "get-auth-token"),
        (TokenSource("", "F"), False, "wrong one (and RAY_AUTH_MODE is not set)", "MODE=token"),
    ],
)  # fmt: skip
def test_each_refusal_says_which_it_is(
    source: TokenSource, is_right: bool, told: str, hint: str
) -> None:
    error = refused_token(HEAD, source, is_right=is_right)
    assert error.exit_code == 4
    assert told in str(error)
    assert HEAD in str(error)
    assert hint in (error.hint or "")


ANSWER = {
    "outcome": "answer", "address": HEAD, "ray": "2.60.0", "python": "3.11.7",
    "own_ray": "2.60.0", "own_python": "3.11.7", "here": True, "nodes": 3,
}  # fmt: skip


def test_a_cluster_of_the_same_versions_with_a_node_here_is_joined() -> None:
    found = judged_answer("auto", ANSWER)
    assert (found.address, found.n_nodes) == (HEAD, 3)


@pytest.mark.parametrize(
    ("change", "told", "hint"),
    [
        ({"ray": "2.58.1"}, "runs Ray 2.58.1, and this process Ray 2.60.0", "install Ray 2.58.1"),
        ({"python": "3.12.1"}, "Python 3.12.1, and this process Python 3.11.7", "Python 3.11.7"),
        ({"here": False}, "no node of the cluster", f"ray start --address={HEAD}"),
        ({"outcome": "unknown", "reason": "no answer"}, "to join: no answer", "6379"),
    ],
)  # fmt: skip
def test_a_cluster_that_cannot_be_joined_is_refused_with_the_reason(
    change: dict[str, object], told: str, hint: str
) -> None:
    with pytest.raises(EnvironmentFault) as refused:
        judged_answer(HEAD, {**ANSWER, **change})
    assert told in str(refused.value)
    assert hint in (refused.value.hint or "")

"""Laws that every file of deploy/ keeps, and a README whose commands, flags and files exist."""

import importlib.metadata
import os
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.support.files import (
    DEPLOY,
    HEALTH_CHECK,
    REQUIRED,
    ROOT,
    commands_in,
    missing_tools,
    text_files,
)

README = DEPLOY / "README.md"
FILES = [path for path in text_files() if path != README]
WITH_RAY = [
    path for path in FILES if re.search(r"^[^#]*\bray,? start", path.read_text(), re.MULTILINE)
]
ASSIGNED = re.compile(r"(?i)(?:password|token|secret)\w*\"?\s*[:=]\s*[\"']?([\w+/-]{16,})")
EXTRAS = re.compile(r"(?:dexsearch|'\.)\[([\w,]+)\]")
NAMES_AND_PLACES = re.compile(r"dexsearch-|postgres|/etc/dexsearch/|/run/secrets/|secrets/")


def _name(path: Path) -> str:
    return str(path.relative_to(DEPLOY))


def test_where_tools_are_required_none_is_missing() -> None:
    assert not os.environ.get(REQUIRED) or not missing_tools()


@pytest.mark.parametrize("path", WITH_RAY, ids=_name)
def test_whoever_starts_ray_asks_for_a_token(path: Path) -> None:
    assert re.search(r"RAY_AUTH_MODE[=:] ?token", path.read_text())


@pytest.mark.parametrize(
    "path", [path for path in WITH_RAY if "--head" in path.read_text()], ids=_name
)
def test_every_head_notices_lost_nodes_in_seconds(path: Path) -> None:
    told = path.read_text().replace('"', "").replace(": ", "=")
    assert all(f"{name}={value}" in told for name, value in HEALTH_CHECK.items())


def test_only_a_server_with_a_password_inside_a_container_listens_on_every_address() -> None:
    lines = [line for path in FILES for line in path.read_text().splitlines() if "0.0.0.0" in line]
    assert lines
    for line in lines:
        words = re.sub(r"[\[\],]", " ", line).split()
        assert {"server", "--name", "--auth"} <= set(words), line


@pytest.mark.parametrize("path", text_files(), ids=_name)
def test_no_secret_is_written_down(path: Path) -> None:
    for value in ASSIGNED.findall(path.read_text()):
        assert NAMES_AND_PLACES.match(value), value


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_nobody_ends_the_ray_of_others(path: Path) -> None:
    told = path.read_text()
    assert "ray stop" not in told or path.name == "cluster.yaml"  # machines of its own
    assert "pkill" not in told


def _options(command: str) -> set[str]:
    """Return the options of one command of ours."""
    import typer

    from dexsearch.cli.app import app

    group: Any = typer.main.get_command(app)
    for word in command.split():
        group = group.commands[word]
    return {name for param in group.params for name in (*param.opts, "--help")}


def _our_commands() -> Iterator[tuple[str, list[str]]]:
    for path in text_files():
        for words in commands_in(path.read_text(), "dexsearch"):
            if len(words) > 1 and re.fullmatch(r"tune|status|best|doctor|sync|server", words[1]):
                yield words[1], [word for word in words[2:] if word.startswith("--")]


def test_every_flag_of_ours_that_is_written_somewhere_exists() -> None:
    found = list(_our_commands())
    assert len(found) > 15
    for command, flags in found:
        assert {flag.split("=")[0] for flag in flags} <= _options(command), (command, flags)


def test_every_flag_of_ray_that_is_written_somewhere_exists() -> None:
    from ray.scripts.scripts import start

    known = {name for param in start.params for name in (*param.opts, *param.secondary_opts)}
    for path in FILES:
        told = re.sub(r"[\[\],\"]", " ", path.read_text())
        for words in commands_in(told, "ray"):
            if words[1:2] == ["start"]:
                used = {word.split("=")[0] for word in words if word.startswith("--")}
                assert used <= known, (path.name, used - known)


def test_every_link_and_every_file_named_in_the_readme_exists() -> None:
    told = README.read_text()
    links = re.findall(r"\]\(([^)#]+)\)", told)
    assert links
    assert all((DEPLOY / link).exists() for link in links if "://" not in link)
    for name in re.findall(r"\bdeploy/[\w./*-]+", told):
        assert list(ROOT.glob(name.rstrip("./"))), name
    for name in re.findall(r"`(?:overlays|base|mlflow)/[\w./-]+", told):
        assert (DEPLOY / "kubernetes" / name.strip("`")).exists(), name


def test_every_folder_of_deploy_is_in_the_one_table() -> None:
    table = [line for line in README.read_text().splitlines() if line.startswith("|")]
    table = table[: next(i for i, line in enumerate(table) if "what you see" in line)]
    for folder in (path for path in DEPLOY.iterdir() if path.is_dir()):
        assert any(f"]({folder.name}/" in line for line in table), folder


def test_every_extra_that_is_to_be_installed_exists() -> None:
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    told = [path.read_text() for path in text_files()]
    extras = {name for text in told for found in EXTRAS.findall(text) for name in found.split(",")}
    assert {"cluster", "auth"} <= extras <= known.keys()


def test_whoever_shares_a_folder_has_one_number_on_every_machine() -> None:
    (line,) = [x for x in README.read_text().splitlines() if x.startswith("useradd ")]
    assert re.search(r" --uid \d+ ", line)


@pytest.mark.parametrize(
    "name",
    ["DEXSEARCH_WAIT_S", "DEXSEARCH_HEAD_IP", "DEXSEARCH_PRIVATE", "DEXSEARCH_MAX_RESTARTS"],
)
def test_the_settings_of_the_batch_script_are_those_of_the_readme(name: str) -> None:
    assert name in (DEPLOY / "slurm" / "dexsearch.sbatch").read_text()
    assert name in README.read_text()


def test_what_a_cluster_adds_is_pinned() -> None:
    pinned = {
        re.split("==", line)[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    asked = [r for r in importlib.metadata.requires("ray") or () if 'extra == "default"' in r]
    names = {re.split(r"[^\w.-]", requirement)[0].lower() for requirement in asked}
    assert names
    assert {name.replace("_", "-") for name in names} <= pinned


def test_words_of_a_command_are_found_across_continued_lines() -> None:
    told = "# dexsearch tune --space a \\\n#     --epochs 2 | tee\n"
    assert commands_in(told, "dexsearch") == [shlex.split("dexsearch tune --space a --epochs 2")]

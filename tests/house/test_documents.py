"""What the documents name exists: files, tests, commands, options, keys, words of the Makefile."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from dexsearch.cli.app import app
from dexsearch.config.space import SearchSpace
from dexsearch.config.trial import TrialConfig
from dexsearch.config.yaml_file import parse_space

ROOT = Path(__file__).parents[2]
NAMES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "deploy/README.md", "docs/*.md")
DOCUMENTS = sorted(path for name in NAMES for path in ROOT.glob(name))
FOLDERS = ("benchmarks", "deploy", "dexsearch", "docs", "search_spaces", "tests")
README = (ROOT / "README.md").read_text(encoding="utf-8")


def label(path: Path) -> str:
    return str(path.relative_to(ROOT))


def spans(text: str) -> list[str]:
    """Return what stands between single backticks, outside blocks of code."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    return re.findall(r"`([^`\n]+)`", prose)


def blocks(text: str) -> Iterator[str]:
    """Yield the lines of blocks of code, without what follows a `#`."""
    for block in re.findall(r"^```\w*\n(.*?)^```", text, flags=re.M | re.S):
        yield from (line.split("#")[0].strip() for line in block.splitlines())


@pytest.mark.parametrize("document", DOCUMENTS, ids=label)
def test_a_file_that_a_document_names_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if ":" not in link]
    missing = [link for link in links if not (document.parent / link).exists()]
    named = [word.split("::")[0] for span in spans(text) for word in span.split()]
    missing += [
        name
        for name in named
        if re.fullmatch(rf"({'|'.join(FOLDERS)})/[\w./-]+", name) and not (ROOT / name).exists()
    ]
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=label)
def test_a_test_that_a_document_names_exists(document: Path) -> None:
    missing, sources = [], ""
    for span in spans(document.read_text(encoding="utf-8")):
        file, _, function = span.partition("::")
        if file.endswith(".py"):
            found = [path for path in ROOT.glob("tests/**/*.py") if label(path).endswith(file)]
            sources = "".join(path.read_text(encoding="utf-8") for path in found)
        if function and f"def {function}(" not in sources:
            missing.append(span)
    assert not missing


def commands() -> dict[str, set[str]]:
    """Return the options of every command by its name, such as `data phantom`."""
    found: dict[str, set[str]] = {}

    def walk(command: object, name: str) -> None:
        found[name] = {option for one in command.params for option in one.opts}  # type: ignore[attr-defined]
        for word, inner in getattr(command, "commands", {}).items():
            walk(inner, f"{name} {word}".strip())

    walk(typer.main.get_command(app), "")
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=label)
def test_a_command_that_a_document_types_has_its_options(document: Path) -> None:
    text, known = document.read_text(encoding="utf-8"), commands()
    unknown = []
    for typed in (*spans(text), *blocks(text)):
        words = typed.split()
        if words[:1] != ["dexsearch"] or len(words) == 1:
            continue
        name = next((n for n in (" ".join(words[1:3]), words[1]) if n in known), None)
        options = {word.split("=")[0] for word in words if re.match(r"--[a-z]", word)} - {"--help"}
        if name is None or options - known[name] - known[""]:
            unknown.append(typed)
    assert not unknown


def test_an_option_that_the_readme_names_alone_is_one_of_some_command() -> None:
    named = {span.split()[0].split("=")[0] for span in spans(README) if span.startswith("--")}
    assert named <= set().union(*commands().values())


def test_the_space_of_the_readme_is_one_and_the_keys_that_it_names_exist() -> None:
    (space,) = re.findall(r"^```yaml\n(.*?)^```", README, flags=re.M | re.S)
    parse_space(space, name="README.md")
    sections = {
        name: field.annotation.model_fields  # type: ignore[union-attr]
        for config in (SearchSpace, TrialConfig)
        for name, field in config.model_fields.items()
        if hasattr(field.annotation, "model_fields")
    }
    dotted = [re.fullmatch(r"(\w+)\.(\w+)", span) for span in spans(README)]
    wrong = [
        match[0]
        for match in dotted
        if match and match[1] in sections and match[2] not in sections[match[1]]
    ]
    assert not wrong


@pytest.mark.parametrize("document", DOCUMENTS, ids=label)
def test_a_word_of_make_that_a_document_types_has_a_rule(document: Path) -> None:
    text, makefile = document.read_text(encoding="utf-8"), (ROOT / "Makefile").read_text()
    words = {line.split()[1] for line in (*spans(text), *blocks(text)) if line.startswith("make ")}
    assert not [word for word in words if not re.search(rf"^{word}:", makefile, re.M)]

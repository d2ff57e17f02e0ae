"""Read a search space from YAML, with the line of every complaint."""

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import ValidationError

from dexsearch.config.base import did_you_mean, first_problem
from dexsearch.config.space import SearchSpace
from dexsearch.errors import ConfigurationError


def load_space(source: str) -> SearchSpace:
    """Read a search space from a YAML file or, by its name, from those shipped.

    Raises:
        ConfigurationError: if there is no such file, or it is not a valid space; the message
            names the file, the line and what is allowed.
    """
    path = locate_space(source)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{source}: not a readable UTF-8 text: {error}") from None
    return parse_space(text, name=str(source))


def locate_space(source: str) -> Path:
    """Return the file of a space: a path as given, else a shipped name."""
    shipped = shipped_spaces()
    if Path(source).is_file():
        return Path(source)
    for name in (source, f"{source}.yaml"):
        if name in shipped:
            return shipped[name]
    raise ConfigurationError(
        f"no search space {source!r}: neither a file nor one of the shipped spaces "
        f"{', '.join(sorted(shipped))}",
        hint=did_you_mean(source, shipped),
    )


def shipped_spaces() -> dict[str, Path]:
    """Return the spaces that come with dexsearch: in the wheel, or beside the source."""
    package = Path(str(files("dexsearch")))
    folder = package / "search_spaces"
    if not folder.is_dir():
        folder = package.parent / "search_spaces"
    return {path.name: path for path in sorted(folder.glob("*.yaml"))}


def parse_space(text: str, *, name: str) -> SearchSpace:
    """Parse and validate the text of a search space; `name` is used in messages."""
    try:
        document = yaml.compose(text, Loader=_Loader)
        values = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigurationError(f"{name}:{line}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problem = str(error).splitlines()[0]
        raise ConfigurationError(f"{name}: not valid YAML: {problem}") from None
    if not isinstance(values, dict):
        raise ConfigurationError(f"{name}: expected keys and values, got {type(values).__name__}")
    try:
        return SearchSpace.model_validate(values)
    except ValidationError as error:
        problem = first_problem(error, SearchSpace)
        line = _line_of(document, error.errors()[0]["loc"], problem)
        raise ConfigurationError(f"{name}:{line}: {problem}") from None


class _Loader(yaml.SafeLoader):
    """Safe YAML with `1e-5` read as a number, and without aliases and repeated keys."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(
                problem="an alias (*name) is not allowed; write the value out",
                problem_mark=cast("yaml.Mark | None", event.start_mark),
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(
                    problem="a key must be one word", problem_mark=key.start_mark
                )
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key {key.value!r} stands twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def _line_of(document: yaml.Node | None, location: tuple[int | str, ...], message: str) -> int:
    """Return the line, from 1, of the deepest part of `location` that the document has.

    A rule over several keys has no location; its line is that of the text it quotes first, else
    of the key it begins with.
    """
    if not location:
        quoted, first_word = (
            re.search(r"'([^']+)'", message),
            re.search(r"[A-Za-z_][\w.]*", message),
        )
        key = first_word[0] if first_word else ""
        for names in ((quoted[1],) if quoted else (), (key, key.split(".")[-1])):
            lines = [n.start_mark.line + 1 for n in _scalar_nodes(document) if n.value in names]
            if lines:
                return lines[-1]
        return 1
    node, line = document, 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            match = [(k, v) for k, v in node.value if k.value == str(part)]
            if match:
                line = match[0][0].start_mark.line + 1
                node = match[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part] if part < len(node.value) else None
            line = node.start_mark.line + 1 if node else line
    return line


def _scalar_nodes(node: yaml.Node | None) -> Iterator[yaml.ScalarNode]:
    if isinstance(node, yaml.ScalarNode):
        yield node
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _scalar_nodes(item)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _scalar_nodes(key)
            yield from _scalar_nodes(value)

"""YAML with the line of every value, so that errors can name it; duplicate keys are problems."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

Path = tuple[str | int, ...]

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Problem:
    """What is wrong at a line (from 1), and how to mend it."""

    line: int
    what: str
    fix: str = ""


@dataclass
class Document:
    """A parsed YAML document: its value, the line of each key or item, and what is wrong with it as YAML."""

    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line(self, path: Path) -> int:
        """The line of the value at `path`, or of the nearest thing around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def parse(text: str) -> Document:
    """Never raises: a syntax error is a problem of the document, whose value is then None."""
    document = Document()
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is not None:
                document.value = _Builder(loader, document).build(node, (), ())
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(part for part in (error.context, error.problem) if part)
        document.problems.append(Problem(mark.line + 1 if mark else 1, f"this is no YAML: {what}"))
    except yaml.YAMLError as error:
        document.problems.append(Problem(1, f"this is no YAML: {error}"))
    return document


class _Builder:
    def __init__(self, loader: Any, document: Document) -> None:
        self._loader = loader
        self._document = document

    def build(self, node: yaml.Node, path: Path, around: tuple[yaml.Node, ...]) -> Any:
        self._document.lines.setdefault(path, node.start_mark.line + 1)
        if any(outer is node for outer in around):
            self._problem(node, "an alias contains itself")
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, (*around, node))
        if isinstance(node, yaml.SequenceNode):
            return [
                self.build(item, (*path, index), (*around, node)) for index, item in enumerate(node.value)
            ]
        try:
            return self._loader.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            self._problem(node, f"{node.value!r} cannot be read: {error}", "put it in quotes")
            return None

    def _mapping(self, node: yaml.MappingNode, path: Path, around: tuple[yaml.Node, ...]) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is None or not key_node.tag.endswith(":str"):
                self._problem(
                    key_node, f"the key {key or 'here'!r} is no string", "put it in quotes, or mend it"
                )
                continue
            if key in mapping:
                first = self._document.lines[(*path, key)]
                self._problem(
                    key_node, f"{key!r} stands here twice, first in line {first}", "remove one of the two"
                )
                continue
            self._document.lines[(*path, key)] = key_node.start_mark.line + 1
            mapping[key] = self.build(value_node, (*path, key), around)
        return mapping

    def _problem(self, node: yaml.Node, what: str, fix: str = "") -> None:
        self._document.problems.append(Problem(node.start_mark.line + 1, what, fix))

"""Do the functions that a spec names exist? Answered from the source, without importing it."""

from __future__ import annotations

import ast
import difflib
from typing import TYPE_CHECKING, Any

from windtunnel.spec.positions import Document, Path, Problem
from windtunnel.spec.values import check_function

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator


def check_code(document: Document, directory: pathlib.Path) -> list[Problem]:
    """Problems with the function references in a document, however wrong the rest of it is."""
    problems = []
    modules = _Modules(directory)
    for path, reference in _references(document.value):
        problem = _check(reference, modules)
        if problem:
            what, fix = problem
            problems.append(Problem(document.line(path), what, fix))
    return problems


def _references(value: Any) -> Iterator[tuple[Path, str]]:
    """Well-formed references; the others are refused by their type."""
    spec = _child(value, "spec")
    sources = _child(spec, "sources")
    places: list[Path] = [
        ("sources", name, "schema") for name in (sources if isinstance(sources, dict) else ())
    ]
    places += [
        ("features", "transform"),
        ("label", "rows"),
        ("training", "function"),
        ("monitoring", "embedding"),
    ]
    for place in places:
        found = spec
        for part in place:
            found = _child(found, part)
        try:
            yield ("spec", *place), check_function(found)
        except (ValueError, AttributeError):
            continue


def _child(value: Any, key: str | int) -> Any:
    return value.get(key) if isinstance(value, dict) else None


class _Modules:
    """The lifecycle's own modules, each read once: parsing them is what loading a lifecycle mostly does."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self._names: dict[pathlib.Path, frozenset[str]] = {}

    def names(self, path: pathlib.Path) -> frozenset[str]:
        """What the file defines. Raises SyntaxError."""
        if path not in self._names:
            # The bytes: only Python knows of byte order marks and declared encodings.
            self._names[path] = frozenset(_defined(ast.parse(path.read_bytes())))
        return self._names[path]


def _check(reference: str, modules: _Modules) -> tuple[str, str] | None:
    module, _, name = reference.partition(":")
    path = modules.directory.joinpath(*module.split(".")).with_suffix(".py")
    if not path.is_file():
        there = sorted(p.stem for p in modules.directory.glob("*.py"))
        near = difflib.get_close_matches(module, there, n=1)
        fix = f"did you mean '{near[0]}:{name}'?" if near else f"write {path.name} beside lifecycle.yaml"
        return f"{reference!r} names a file that does not exist: {path}", fix
    try:
        names = modules.names(path)
    except SyntaxError as error:
        return f"{reference!r} names a file that is no Python: {path}:{error.lineno}: {error.msg}", ""
    if name in names or "*" in names:
        return None
    near = difflib.get_close_matches(name, names, n=1)
    fix = f"did you mean '{module}:{near[0]}'?" if near else f"define {name} there"
    return f"{reference!r} names what {path} does not define", fix


def _defined(module: ast.Module) -> Iterator[str]:
    """Names that a module binds at its top level, also inside its if and try blocks; `*` for a star."""
    pending: list[ast.AST] = list(module.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((alias.asname or alias.name).partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        else:
            pending.extend(ast.iter_child_nodes(node))

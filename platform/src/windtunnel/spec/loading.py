"""lifecycle.yaml → Lifecycle. All problems come in one error, each as `file:line: what; how to mend`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from windtunnel.errors import SpecError
from windtunnel.spec.code import check_code
from windtunnel.spec.explain import explain
from windtunnel.spec.lifecycle import Lifecycle
from windtunnel.spec.positions import Document, Problem, parse

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME = "lifecycle.yaml"


def load_lifecycle(directory: Path) -> Lifecycle:
    """Read and check `directory`/lifecycle.yaml and the code that it names (which is not imported).

    Raises SpecError; its `problems` hold one SpecError for each.
    """
    path = directory / FILE_NAME
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SpecError(
            f"there is no {FILE_NAME}", where=str(directory), fix="`windtunnel init NAME` writes a first one"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"the file cannot be read: {error}", where=str(path)) from error
    document = parse(text)
    lifecycle, problems = _validate(document)
    if document.value is not None:
        problems += check_code(document, directory)
    if lifecycle and lifecycle.name != directory.resolve().name:
        problems.append(_misplaced(document, lifecycle, directory))
    if lifecycle and not problems:
        return lifecycle
    problems.sort(key=lambda problem: problem.line)
    raise SpecError.of([SpecError(p.what, where=f"{path}:{p.line}", fix=p.fix) for p in problems])


def find_lifecycles(lifecycles: Path) -> list[Path]:
    """Directories with a lifecycle.yaml, by name."""
    return sorted(path.parent for path in lifecycles.glob(f"*/{FILE_NAME}"))


def _validate(document: Document) -> tuple[Lifecycle | None, list[Problem]]:
    problems = list(document.problems)
    if document.value is None:
        return None, problems or [
            Problem(1, "the file is empty", "`windtunnel init NAME` writes a first one")
        ]
    try:
        return Lifecycle.model_validate(document.value), problems
    except ValidationError as error:
        return None, problems + [explain(one, document, Lifecycle) for one in error.errors()]


def _misplaced(document: Document, lifecycle: Lifecycle, directory: Path) -> Problem:
    here = directory.resolve().name
    return Problem(
        document.line(("metadata", "name")),
        f"the lifecycle is named {lifecycle.name!r} but stands in the directory {here!r}",
        "give both the same name: stages find a lifecycle by its directory",
    )

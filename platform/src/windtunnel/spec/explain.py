"""pydantic's errors in a user's words: what, and how to mend it, with the nearest known name."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel

from windtunnel.spec.positions import Document, Path, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic_core import ErrorDetails

_TYPES = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "dict_type": "a mapping of names to values",
    "model_type": "a mapping of fields",
    "tuple_type": "a list",
    "list_type": "a list",
}


def explain(error: ErrorDetails, document: Document, model: type[BaseModel]) -> Problem:
    """One of pydantic's errors as a problem of the document."""
    path: Path = tuple(error["loc"])
    if path and path[-1] == "[key]":
        path = path[:-1]
    name = str(path[-1]) if path else "the document"
    what, fix = _words(error, name, path, model)
    at = path[:-1] if error["type"] == "missing" else path
    return Problem(document.line(at), what, fix)


def _words(error: ErrorDetails, name: str, path: Path, model: type[BaseModel]) -> tuple[str, str]:
    kind, given = error["type"], error["input"]
    if kind == "extra_forbidden":
        return f"unknown field {name!r} in {_place(path)}", _nearest(name, _known_fields(model, path[:-1]))
    if kind == "missing":
        about = _description(model, path)
        return f"the field {name!r} is missing in {_place(path)}", f"add it: {about}" if about else "add it"
    if kind == "literal_error":
        return _literal(error, name, given)
    if kind == "value_error":
        message, _, fix = str(error["ctx"]["error"]).partition("; ")
        return (f"{name}: {message}" if path else message), fix
    if kind in _TYPES:
        return f"{name!r} must be {_TYPES[kind]}, not {_shown(given)}", ""
    if kind == "string_pattern_mismatch":
        return f"{name!r} is {_shown(given)}, which does not match {error['ctx']['pattern']}", ""
    message = error["msg"].removeprefix("Input ").removeprefix("Value ")
    return f"{name!r} {message}, not {_shown(given)}", ""


def _literal(error: ErrorDetails, name: str, given: object) -> tuple[str, str]:
    allowed = [part.strip("' ") for part in error["ctx"]["expected"].replace(" or ", ", ").split(", ")]
    if error["loc"][-1] == "[key]":
        return f"{name!r} is not known here", _nearest(name, allowed)
    what = f"{name!r} cannot be {_shown(given)}"
    return what, _nearest(str(given), allowed) if len(allowed) > 1 else f"write {allowed[0]}"


def _nearest(name: str, known: Iterable[str]) -> str:
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6) or [
        candidate for candidate in names if candidate.lower() == name.replace("_", "").lower()
    ]
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known here: {', '.join(names)}" if names else ""


def _place(path: Path) -> str:
    return ".".join(str(part) for part in path[:-1]) or "the document"


def _shown(value: object) -> str:
    if value is None:
        return "empty"
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, list) else repr(value)


def _known_fields(model: type[BaseModel], path: Path) -> list[str]:
    owner = _type_at(model, path)
    if not _is_model(owner):
        return []
    return [field.alias or name for name, field in owner.model_fields.items()]


def _description(model: type[BaseModel], path: Path) -> str:
    owner = _type_at(model, path[:-1])
    if not _is_model(owner):
        return ""
    fields = {field.alias or name: field for name, field in owner.model_fields.items()}
    field = fields.get(str(path[-1]))
    return (field.description or "").partition("\n")[0].rstrip(".") if field else ""


def _type_at(model: Any, path: Path) -> Any:
    """The type of the value at a path of aliases, keys and indices; None when the path leaves the model."""
    for part in path:
        if _is_model(model):
            fields = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
            model = fields.get(str(part))
        elif get_origin(model) is dict:
            model = get_args(model)[1]
        else:
            return None
    return model


def _is_model(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel)

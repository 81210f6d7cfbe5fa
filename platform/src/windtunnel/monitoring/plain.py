"""Frozen dataclasses to JSON and back: their annotations say what stands where."""

from __future__ import annotations

import math
import types
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints


def to_plain(value: Any) -> Any:
    """Dataclasses, moments and tuples as JSON has them; NaN and infinity become null."""
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: to_plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return [to_plain(item) for item in value] if isinstance(value, list | tuple) else value


def from_plain(kind: Any, value: dict[str, Any]) -> Any:
    """An object of this dataclass. Unknown fields are left out, absent ones take their defaults. Raises
    TypeError or ValueError for what does not fit.
    """
    hints = _hints(kind)
    known = [one.name for one in fields(kind) if one.name in value]
    return kind(**{name: _read_as(hints[name], value[name]) for name in known})


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _read_as(hint: Any, value: Any) -> Any:
    """The value of a field of this type, out of JSON."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        inner = next(one for one in arguments if one is not type(None))
        return None if value is None else _read_as(inner, value)
    if is_dataclass(hint) and isinstance(hint, type):
        return from_plain(hint, value)
    if hint is datetime:
        return datetime.fromisoformat(value)
    if origin is tuple:
        return tuple(_read_as(arguments[0], item) for item in value)
    if origin is dict:
        return {key: _read_as(arguments[1], item) for key, item in value.items()}
    return value

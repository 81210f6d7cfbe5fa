"""Values that strings in a spec stand for: cron schedules, durations, function references.

Each is a pydantic annotation, checked where the YAML enters.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer

CRON_PRESETS = ("@hourly", "@daily", "@weekly", "@monthly", "@yearly")
_CRON_FIELDS = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")),
    ("day of week", 0, 7, ("sun", "mon", "tue", "wed", "thu", "fri", "sat")),
)
_CRON_PART = re.compile(r"(?:\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\d+))?", re.ASCII)
_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>[smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST = timedelta(days=3660)
"""Of a duration: what is far longer could not be added to a date."""


def check_cron(text: str) -> str:
    """The expression itself; raises ValueError that names the field at fault."""
    if text.startswith("@"):
        if text not in CRON_PRESETS:
            raise ValueError(f"{text!r} is no cron preset; use one of {', '.join(CRON_PRESETS)}")
        return text
    fields = text.split()
    if len(fields) != len(_CRON_FIELDS):
        raise ValueError(
            f"{text!r} has {len(fields)} fields, cron has 5; "
            "write minute, hour, day of month, month, day of week"
        )
    for value, (name, low, high, names) in zip(fields, _CRON_FIELDS, strict=True):
        for part in value.split(","):
            if not _cron_part_is_valid(part.lower(), low, high, names):
                raise ValueError(f"{part!r} is no {name} of a cron expression; it takes {low} to {high}")
    return text


def _cron_part_is_valid(part: str, low: int, high: int, names: tuple[str, ...]) -> bool:
    match = _CRON_PART.fullmatch(part)
    if not match or (match["step"] and int(match["step"]) == 0):
        return False
    ends = [_cron_number(end, low, names) for end in (match["first"], match["last"]) if end]
    in_range = all(end is not None and low <= end <= high for end in ends)
    return in_range and ends == sorted(ends, key=lambda end: end or 0)


def _cron_number(text: str, low: int, names: tuple[str, ...]) -> int | None:
    if text.isdigit():
        return int(text)
    return names.index(text) + low if text in names else None


def parse_duration(value: object) -> timedelta:
    """`90s`, `30m`, `2h`, `1d` → timedelta; raises ValueError."""
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    seconds = float(match["number"]) * _UNITS[match["unit"]] if match else 0.0
    if seconds < timedelta.resolution.total_seconds():
        raise ValueError(f"{value!r} is no duration; write a number above 0 and s, m, h or d, such as 30m")
    if seconds > _LONGEST.total_seconds():
        raise ValueError(f"a duration of {value!r} is too long; write {_LONGEST.days}d or less")
    return timedelta(seconds=seconds)


def format_duration(value: timedelta) -> str:
    return f"{value.total_seconds():.6f}".rstrip("0").rstrip(".") + "s"


def check_function(text: str) -> str:
    """`module:name`, both identifiers; whether they exist is the loader's question."""
    module, colon, name = text.partition(":")
    if not colon or not all(part.isidentifier() for part in (*module.split("."), name)):
        raise ValueError(f"{text!r} is no function reference; write module:name, such as features:transform")
    return text


Cron = Annotated[str, AfterValidator(check_cron)]
Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration, json_schema_input_type=str),
    PlainSerializer(format_duration, return_type=str),
]
FunctionRef = Annotated[
    str, AfterValidator(check_function), Field(json_schema_extra={"x-windtunnel-function": True})
]

"""Figures, moments and amounts as people read them."""

from __future__ import annotations

import math
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_BYTES = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))
MISSING = "\N{EN DASH}"


def number(value: float | None, digits: int = 3) -> str:
    """With so many significant digits; whole numbers with separators; a dash for what is not known."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    # No exponent above a millionth: 0.00021, not 2.1e-04.
    if abs(value) >= 1e-6:
        decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
        return f"{value:.{decimals}f}"
    return f"{value:.1e}"


def fixed(value: float | None, decimals: int = 4) -> str:
    """With so many decimals, so that figures below each other compare."""
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{value:,.{decimals}f}"


def alike(values: Sequence[float]) -> list[str]:
    """All with as few decimals as tell them exactly."""
    exact = (
        decimals
        for decimals in range(9)
        if all(math.isclose(round(value, decimals), value, abs_tol=1e-12) for value in values)
    )
    decimals = next(exact, 9)
    return [fixed(value, decimals) for value in values]


def signed(value: float | None, digits: int = 2) -> str:
    """Such as +0.031: which side of nothing it is on matters."""
    if value is None or not math.isfinite(value):
        return MISSING
    sign = "+" if value > 0 else "\N{MINUS SIGN}" if value < 0 else "\N{PLUS-MINUS SIGN}"
    return sign + number(abs(value), digits)


def percent(share: float | None, digits: int = 0) -> str:
    """Of a share from 0 to 1."""
    if share is None or not math.isfinite(share):
        return MISSING
    if 0 < share < 0.5 * 10 ** (-2 - digits):
        return f"< {10**-digits:g} %"
    return f"{100 * share:.{digits}f} %"


def duration(seconds: float | None) -> str:
    """The largest unit and what is over in the next: `3 h 12 min`, `4.2 s`."""
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    place = next(place for place, (size, _) in enumerate(_UNITS) if whole >= size)
    parts = []
    for size, unit in _UNITS[place : place + 2]:
        if whole >= size:
            parts.append(f"{whole // size} {unit}")
        whole %= size
    return " ".join(parts)


def size(count: float | None) -> str:
    """Bytes in the largest unit that leaves a whole number."""
    if count is None:
        return MISSING
    for unit, name in _BYTES:
        if count >= unit:
            return f"{number(count / unit)} {name}"
    return f"{count:.0f} B"


def moment(value: datetime | str | None) -> str:
    """Such as `30 Nov 2026, 15:42`, in UTC."""
    found = at(value)
    return f"{found.day} {found:%b %Y, %H:%M}" if found else MISSING


def day(value: datetime | str | None) -> str:
    """Such as `30 Nov`."""
    found = at(value)
    return f"{found.day} {found:%b}" if found else MISSING


def at(value: datetime | str | None) -> datetime | None:
    """A moment out of a record; None for what is none."""
    if value is None or isinstance(value, datetime):
        return value
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None


def count(amount: int, one: str, many: str = "") -> str:
    """`1 column`, `3 columns`."""
    return f"{amount:,} {one if amount == 1 else many or one + 's'}"


def short(digest: object) -> str:
    """The first twelve digits of a digest."""
    return str(digest or MISSING).removeprefix("sha256:")[:12]


def clip(name: object, longest: int = 40) -> str:
    """A name that may be long, cut in its middle so that its end still tells it from others."""
    plain = str(name)
    return plain if len(plain) <= longest else f"{plain[: longest - 12]}…{plain[-11:]}"


def span(start: datetime, end: datetime) -> str:
    """A window: `3 Jan to 10 Jan 2023`, a whole day by its name, with the hours where it is short."""
    if end - start == timedelta(days=1) and start.time() == time():
        return f"{day(start)} {start.year}"
    if (end - start).days >= 3:
        first = day(start) if start.year == end.year else f"{day(start)} {start.year}"
        return f"{first} to {day(end)} {end.year}"
    if start.date() == end.date():
        return f"{day(start)} {start.year}, {start:%H:%M} to {end:%H:%M}"
    return f"{moment(start)} to {moment(end)}"

"""Made-up histories: few keys and few moments, so that ties, corrections and edges of ttl are the rule.

Instants are integers of nanoseconds since the epoch, which the oracle compares as they are; a history says
in which unit and zone each side stores them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from .oracle import Row, View

HOUR = 3_600 * 10**9
# Two hours before midnight: files of UTC days are cut within the few hours that histories span.
START = int(datetime(2026, 3, 1, 22, tzinfo=UTC).timestamp()) * 10**9
UNITS = {"us": 1_000, "ns": 1}
ZONES = [None, "UTC", "Asia/Kolkata", "America/New_York"]
TTLS = [None, 0, HOUR, 2 * HOUR, HOUR + 1_000, 30 * HOUR]
MOMENT = "event_timestamp"


@dataclass(frozen=True)
class Stamps:
    """How one side stores instants."""

    unit: str = "us"
    zone: str | None = "UTC"

    @property
    def type(self) -> pa.DataType:
        return pa.timestamp(self.unit, self.zone)

    def array(self, instants: list[int | None]) -> pa.Array:
        """Exactly these instants, whatever the zone is called."""
        scaled = [None if at is None else at // UNITS[self.unit] for at in instants]
        return pa.array(scaled, pa.int64()).cast(self.type)


@dataclass(frozen=True)
class Keys:
    """One kind of join key: what its values are, and the types of both sides."""

    values: tuple[Any, ...]
    asked: pa.DataType
    stored: pa.DataType


KEYS = [
    Keys((1, 2, 3, None), pa.int64(), pa.int64()),
    Keys((1, 2, 2**31 - 1, None), pa.int64(), pa.int32()),
    Keys((1, 2, 3, None), pa.float64(), pa.int64()),
    Keys((1, 2, 3, None), pa.int32(), pa.uint64()),
    Keys((0.0, -0.0, float("nan"), None), pa.float64(), pa.float64()),
    Keys(("a", "b", "", None), pa.string(), pa.string()),
    Keys(("a", "b", "", None), pa.dictionary(pa.int32(), pa.string()), pa.large_string()),
    Keys((True, False, None, None), pa.bool_(), pa.bool_()),
    Keys((b"a", b"\x00", b"", None), pa.binary(), pa.binary()),
]


@dataclass(frozen=True)
class History:
    """Feature rows and what is asked of them."""

    views: list[View]
    entity_rows: list[Row]
    known_then: bool
    asked: Stamps
    stored: Stamps
    keys: Keys
    cut: int = 0
    """Into how many pieces, or files, the feature rows are cut; 0 and 1 are one."""

    def table(self, view: View) -> pa.Table:
        """The view's rows as they are stored."""
        columns = {}
        for name, dtype in view.types.items():
            values = [row[name] for row in view.rows]
            stamp = pa.types.is_timestamp(dtype)
            columns[name] = self.stored.array(values) if stamp else pa.array(values, dtype)
        return pa.table(columns)

    def entity_table(self) -> pa.Table:
        columns = {"row": pa.array([row["row"] for row in self.entity_rows], pa.int64())}
        for name in ("k", "k2"):
            columns[name] = pa.array([row[name] for row in self.entity_rows], self.keys.asked)
        columns["c"] = pa.array([row["c"] for row in self.entity_rows], pa.string())
        columns[MOMENT] = self.asked.array([row[MOMENT] for row in self.entity_rows])
        return pa.table(columns)


@dataclass(frozen=True)
class Shape:
    """One kind of view: its join keys, by column of the entity rows."""

    name: str
    keys: dict[str, str]


SHAPES = [
    Shape("plain", {"k": "k"}),
    Shape("pair", {"k": "k", "c": "c"}),
    Shape("mapped", {"k2": "k"}),
    Shape("entityless", {}),
]


def _digits(code: int, *bases: int) -> list[int]:
    """The digits of a number in mixed bases: one drawn integer is quicker than many, and shrinks as well."""
    digits = []
    for base in bases:
        code, digit = divmod(code, base)
        digits.append(digit)
    return digits


_ROW = (4, 3, 6, 3, 7, 4)
_ENTITY = (4, 4, 3, 7, 3)


def _row(code: int, number: int, keys: Keys, unit: str) -> Row:
    key, second, hour, edge, late, value = _digits(code, *_ROW)
    event = START + hour * HOUR + (edge - 1) * UNITS[unit]
    # Known before its time, at once, at edges, hours later, or nobody knows when.
    created = [
        event,
        event,
        event + HOUR,
        event - HOUR,
        event + 2 * HOUR + UNITS[unit],
        event + 9 * HOUR,
        None,
    ][late]
    return {
        "k": keys.values[key],
        "c": ["x", "y", None][second],
        MOMENT: event,
        "created": created,
        "number": number,
        "maybe": [None, "", "words", f"text {number}"][value],
        "many": None if value == 0 else [float(number)] * (value - 1),
    }


TYPES = {
    "c": pa.string(),
    MOMENT: pa.timestamp("us"),
    "created": pa.timestamp("us"),
    "number": pa.int64(),
    "maybe": pa.string(),
    "many": pa.list_(pa.float64()),
}


def _entity(code: int, number: int, keys: Keys, unit: str) -> Row:
    key, other, second, hour, edge = _digits(code, *_ENTITY)
    moment = START + hour * HOUR + (edge - 1) * UNITS[unit]
    return {
        "row": number,
        "k": keys.values[key],
        "k2": keys.values[other],
        "c": ["x", "y", None][second],
        MOMENT: moment,
    }


def _size(bases: tuple[int, ...]) -> int:
    size = 1
    for base in bases:
        size *= base
    return size


_ROWS = st.lists(st.integers(0, _size(_ROW) - 1), max_size=14)
_ENTITIES = st.lists(st.integers(0, _size(_ENTITY) - 1), max_size=8)
_SETTINGS = (len(SHAPES), 2, len(TTLS))
_VIEWS = st.lists(st.tuples(st.integers(0, _size(_SETTINGS) - 1), _ROWS), min_size=1, max_size=2)
_STORAGE = (2, 2, len(ZONES), 2, len(ZONES), len(KEYS), 4)


@st.composite
def histories(draw: st.DrawFn) -> History:
    """A history of one or two views."""
    known_then, asked, asked_zone, stored, stored_zone, kind, cut = _digits(
        draw(st.integers(0, _size(_STORAGE) - 1)), *_STORAGE
    )
    units = list(UNITS)
    keys = KEYS[kind]
    views = []
    for number, (code, rows) in enumerate(draw(_VIEWS)):
        shape, created, ttl = _digits(code, *_SETTINGS)
        views.append(
            View(
                name=f"{SHAPES[shape].name}_{number}",
                rows=[_row(row, at, keys, units[stored]) for at, row in enumerate(rows)],
                keys=SHAPES[shape].keys,
                features={name: f"{name}_{number}" for name in ("number", "maybe", "many")},
                created="created" if created else None,
                ttl=TTLS[ttl],
                types={"k": keys.stored, **TYPES},
            )
        )
    entities = [_entity(row, at, keys, units[asked]) for at, row in enumerate(draw(_ENTITIES))]
    return History(
        views, entities, bool(known_then),
        Stamps(units[asked], ZONES[asked_zone]), Stamps(units[stored], ZONES[stored_zone]), keys, cut,
    )  # fmt: skip


def ttl_of(view: View) -> timedelta | None:
    """As Feast takes it."""
    return None if view.ttl is None else timedelta(microseconds=view.ttl // 1_000)

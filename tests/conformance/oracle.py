"""What a point-in-time join answers, in plain Python over lists of dicts: slow, and short enough to check
by eye. It knows instants (anything that compares and subtracts), no units, zones, files or frames."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class View:
    """A feature view's rows in storage order, and how they are asked for."""

    name: str
    rows: list[Row]
    keys: dict[str, str]
    """Column of the entity rows → column of `rows`."""
    features: dict[str, str]
    """Column of `rows` → column of the answer."""
    event: str = "event_timestamp"
    created: str | None = None
    ttl: Any = None
    """None or zero: for ever."""
    types: dict[str, Any] = field(default_factory=dict)
    """Arrow types of the columns, for those who write them; the oracle does not care."""


def answer(entity_rows: list[Row], moment: str, views: list[View], *, known_then: bool) -> list[Row]:
    """Every entity row, in order, with the features of the views."""
    answers = []
    for entity in entity_rows:
        found = dict(entity)
        for view in views:
            row = best_row(entity, entity[moment], view, known_then=known_then)
            for stored, asked in view.features.items():
                found[asked] = None if row is None else row[stored]
        answers.append(found)
    return answers


def best_row(entity: Row, moment: Any, view: View, *, known_then: bool) -> Row | None:
    """The feature row that an entity row gets, None when there is none."""
    best = None
    for row in view.rows:
        if not is_candidate(row, entity, moment, view, known_then=known_then):
            continue
        # In storage order, so that of equals the last one stays.
        if best is None or not older(row, best, view):
            best = row
    return best


def is_candidate(row: Row, entity: Row, moment: Any, view: View, *, known_then: bool) -> bool:
    for asked, stored in view.keys.items():
        if missing(entity[asked]) or missing(row[stored]) or entity[asked] != row[stored]:
            return False
    if moment is None or row[view.event] is None or row[view.event] > moment:
        return False
    if view.ttl and row[view.event] < moment - view.ttl:
        return False
    if known_then and view.created is not None:
        return row[view.created] is not None and row[view.created] <= moment
    return True


def older(row: Row, other: Row, view: View) -> bool:
    """Whether `row` loses against `other` by its event timestamp, or by its created, null being smallest."""
    if row[view.event] != other[view.event]:
        return bool(row[view.event] < other[view.event])
    if view.created is None or other[view.created] is None:
        return False
    return row[view.created] is None or bool(row[view.created] < other[view.created])


def newest(view: View, first: Any, last: Any) -> list[Row]:
    """The best row of each entity with an event timestamp in [first, last], by the same order."""
    best: dict[tuple[Any, ...], Row] = {}
    for row in view.rows:
        keys = tuple(row[stored] for stored in view.keys.values())
        event = row[view.event]
        if any(missing(key) for key in keys) or event is None or not first <= event <= last:
            continue
        if keys not in best or not older(row, best[keys], view):
            best[keys] = row
    return list(best.values())


def missing(key: Any) -> bool:
    """A null or NaN key equals nothing."""
    return key is None or key != key

"""The point-in-time join: for each entity row the newest feature row that was there, by an as-of join.

An entity row with keys k and moment t gets from a view the feature row r with

- all join keys equal (a null or NaN key equals nothing);
- r.event_timestamp <= t, and >= t - ttl if the view has a ttl (both ends included; none or 0: for ever);
- with `known_then`, for a view with a created column: r.created <= t (null is unknown, so not known then).

Among those: the largest event timestamp, then the largest created (null is the smallest), then the last in
storage order. Its values are taken as they are, nulls included. Timestamps may have any unit and zone; naive
ones are UTC.

Feature rows are read in chunks and folded into the best row so far, so memory follows what is asked for and
not what is stored. No Feast and no files here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from windtunnel.errors import DataError
from windtunnel.features.offline.chunks import chunks
from windtunnel.features.offline.join_keys import as_key, common_key_type, no_common_type
from windtunnel.features.offline.moments import (
    as_us,
    finest_unit,
    require_moments,
    span_of,
    to_integer,
    within,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime, timedelta

    import numpy.typing as npt

    from windtunnel.features.offline.moments import Unit

    Integers = npt.NDArray[np.integer]

_NEVER = np.iinfo(np.int64).min
_WHERE = "entity rows"


@dataclass(frozen=True)
class FeatureRows:
    """The feature rows of one view."""

    rows: pl.LazyFrame
    """In storage order."""
    keys: Mapping[str, str]
    """Column of the entity rows → column of `rows`; empty for a view without entities."""
    event_timestamp: str
    created: str | None
    ttl: timedelta | None
    features: Mapping[str, str]
    """Column of `rows` → column of the answer."""
    name: str = "feature rows"
    """What errors call it."""

    def columns(self) -> list[str]:
        """The columns that are needed of `rows`; one may serve twice."""
        moments = [self.event_timestamp, self.created] if self.created else [self.event_timestamp]
        return list(dict.fromkeys([*self.keys.values(), *moments, *self.features]))

    def within(self, first: datetime | None, last: datetime | None) -> pl.Expr:
        """True for rows with an event timestamp in [first, last]."""
        dtype = self.schema()[self.event_timestamp]
        edges = [None if edge is None else as_us(edge) for edge in (first, last)]
        return within(self.event_timestamp, dtype, "us", *edges)

    def schema(self) -> dict[str, pl.DataType]:
        """Types of `columns()`; raises DataError for one that is missing or no timestamp."""
        known = dict(self.rows.collect_schema())
        for column in self.columns():
            if column not in known:
                raise DataError(
                    f"there is no column {column!r}",
                    where=self.name,
                    fix=f"the files have {', '.join(known) or 'none'}",
                )
        require_moments(known[self.event_timestamp], self.event_timestamp, self.name)
        if self.created:
            require_moments(known[self.created], self.created, self.name)
        return {column: known[column] for column in self.columns()}


def as_of_join(
    entity_rows: pl.DataFrame, moment: str, views: Sequence[FeatureRows], *, known_then: bool
) -> pl.DataFrame:
    """`entity_rows` with the features of all views; `moment` names its column of moments.

    Every entity row comes back, in order, its own columns unchanged. Raises DataError for a column that is
    missing or of a type that cannot be compared, and for a feature named like another column.
    """
    require_distinct([*entity_rows.columns, *(name for view in views for name in view.features.values())])
    asked = Asked(entity_rows, moment)
    answers = [features_at(asked, view, known_then=known_then) for view in views]
    return entity_rows.hstack([column for answer in answers for column in answer.get_columns()])


def require_distinct(names: Sequence[str]) -> None:
    """Raises DataError when two columns of an answer would have one name."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(
            f"column {twice[0]!r} would be in the answer twice",
            where="entity rows and features",
            fix="ask with full_feature_names=True, or rename the column of the entity rows",
        )


def features_at(asked: Asked, view: FeatureRows, *, known_then: bool) -> pl.DataFrame:
    """The view's features alone, one row per entity row."""
    schema = view.schema()
    questions = asked.of(view, schema)
    ttl = span_of(view.ttl, questions.unit)
    best = _Best(pl.DataFrame(schema={name: schema[name] for name in view.features}), len(questions.moments))
    if questions.sorted.height:
        for chunk in chunks(view.rows.select(view.columns())):
            best.fold(_candidates(chunk.rows, view, questions, known_then), chunk.rows, whole=chunk.whole)
    return best.answer(None if ttl is None else questions.moments - ttl).rename(dict(view.features))


@dataclass(frozen=True)
class _Questions:
    """What the entity rows ask of a view."""

    unit: Unit
    moments: pl.Series
    """Of every entity row, as integers of `unit`."""
    groups: pl.DataFrame
    """Each combination of keys that is asked for (`k0`, `k1`, …), with its number `group`."""
    sorted: pl.DataFrame
    """`group`, `moment`, `row` of entity rows that can have an answer, sorted by moment."""


class Asked:
    """Entity rows; what they ask is worked out once for views with the same keys and types."""

    def __init__(self, entity_rows: pl.DataFrame, moment: str) -> None:
        """`moment` names the column of moments. Raises DataError when there is none."""
        self._rows = entity_rows
        self._moment = moment
        self._known: dict[object, _Questions] = {}
        self._require(moment)
        require_moments(entity_rows.schema[moment], moment, _WHERE)

    def of(self, view: FeatureRows, schema: Mapping[str, pl.DataType]) -> _Questions:
        stamps = [schema[view.event_timestamp], *([schema[view.created]] if view.created else [])]
        unit = finest_unit([self._rows.schema[self._moment], *stamps])
        types = tuple(
            (asked, self._key_type(asked, stored, view, schema)) for asked, stored in view.keys.items()
        )
        if (unit, types) not in self._known:
            self._known[unit, types] = self._ask(unit, types)
        return self._known[unit, types]

    def _require(self, column: str) -> None:
        if column not in self._rows.columns:
            raise DataError(
                f"there is no column {column!r}",
                where=_WHERE,
                fix=f"they have {', '.join(self._rows.columns) or 'none'}",
            )

    def _key_type(
        self, asked: str, stored: str, view: FeatureRows, schema: Mapping[str, pl.DataType]
    ) -> pl.DataType | None:
        """The type in which a key is compared, None when it cannot be equal to any."""
        self._require(asked)
        column = self._rows[asked]
        dtype = common_key_type(column.dtype, schema[stored])
        if dtype is None and column.null_count() < column.len() and _any_rows(view.rows):
            raise no_common_type(asked, column.dtype, schema[stored], view.name)
        return dtype

    def _ask(self, unit: Unit, types: Sequence[tuple[str, pl.DataType | None]]) -> _Questions:
        height = self._rows.height
        keys = pl.DataFrame(
            {
                f"k{number}": pl.repeat(None, height, dtype=pl.Int64, eager=True)
                if dtype is None
                else as_key(self._rows[name], dtype)
                for number, (name, dtype) in enumerate(types)
            }
        )
        groups, numbers = _numbered(keys, height)
        moments = to_integer(self._rows[self._moment], unit)
        questions = pl.DataFrame({"group": numbers, "moment": moments}).with_row_index("row")
        return _Questions(unit, moments, groups, questions.drop_nulls().sort("moment"))


def _any_rows(rows: pl.LazyFrame) -> bool:
    return bool(rows.select(pl.len()).collect().item())


def _numbered(keys: pl.DataFrame, height: int) -> tuple[pl.DataFrame, pl.Series]:
    """The distinct keys with their number, and the number of each row's (null where a key is)."""
    if not keys.width:
        return pl.DataFrame(), pl.repeat(0, height, dtype=pl.UInt32, eager=True)
    groups = keys.unique(maintain_order=False).drop_nulls().with_row_index("group")
    return groups, keys.join(groups, on=keys.columns, how="left", maintain_order="left")["group"]


@dataclass(frozen=True)
class _Candidates:
    """Per question that has one, the best feature row of a chunk."""

    asked: Integers
    """Position of the entity row."""
    found: Integers
    """Position of the feature row in its chunk."""
    event: Integers
    created: Integers


def _candidates(
    chunk: pl.DataFrame, view: FeatureRows, questions: _Questions, known_then: bool
) -> _Candidates:
    event = to_integer(chunk[view.event_timestamp], questions.unit)
    created = to_integer(chunk[view.created], questions.unit) if view.created else None
    rows = _asked_rows(chunk, view, questions.groups, event, created)
    if known_then and created is not None:
        rows = rows.drop_nulls("created")
    rows, on = _in_order(rows, known_then)
    asked = questions.sorted
    if rows.height:
        # Those before the first row have no candidate here.
        asked = asked.slice(asked["moment"].search_sorted(rows[on][0]))
    found = asked.join_asof(
        rows.select(on, "group", "found"),
        left_on="moment", right_on=on, by="group", check_sortedness=False,
    ).drop_nulls("found")  # fmt: skip
    at = found["found"]
    tie = event if created is None else created
    return _Candidates(
        found["row"].to_numpy(),
        at.to_numpy(),
        event.gather(at).to_numpy(),
        tie.gather(at).fill_null(_NEVER).to_numpy(),
    )


def _asked_rows(
    chunk: pl.DataFrame,
    view: FeatureRows,
    groups: pl.DataFrame,
    event: pl.Series,
    created: pl.Series | None,
) -> pl.DataFrame:
    """`event`, `created`, `group`, `found` (the position) of those rows whose keys are asked for."""
    columns = {"event": event} | ({} if created is None else {"created": created})
    keys = [name for name in groups.columns if name != "group"]
    for name, stored in zip(keys, view.keys.values(), strict=True):
        columns[name] = as_key(chunk[stored], groups.schema[name])
    rows = pl.DataFrame(columns).with_row_index("found").drop_nulls("event")
    if not keys:
        return rows.with_columns(pl.lit(0, pl.UInt32).alias("group"))
    return rows.join(groups, on=keys, how="inner", maintain_order="left").drop(keys)


def _in_order(rows: pl.DataFrame, known_then: bool) -> tuple[pl.DataFrame, str]:
    """Rows sorted so that the last one that is visible is the best one; and the column to join on."""
    event = rows["event"]
    if "created" not in rows.columns:
        return _sorted(rows, "event"), "event"
    created = rows["created"]
    if created.null_count() == 0 and (created == event).all():
        return _sorted(rows, "event"), "event"
    rows = rows.sort("event", "created", nulls_last=False, maintain_order=True)
    if not known_then or not (created > event).any():
        return rows, "event"
    # A late row is visible from `created` on; until then an older one may be the best, afterwards it is
    # the best of all that are visible: the running maximum of the rank.
    best = pl.col("rank").cum_max().over("group")
    late = (
        rows.with_row_index("rank")
        .with_columns(pl.max_horizontal("event", "created").alias("visible"))
        .sort("visible", maintain_order=True)
        .with_columns(best)
    )
    return late.with_columns(rows["found"].gather(late["rank"])), "visible"


def _sorted(rows: pl.DataFrame, by: str) -> pl.DataFrame:
    return rows if rows[by].is_sorted() else rows.sort(by, maintain_order=True)


class _Best:
    """The best feature row so far of each entity row."""

    def __init__(self, features: pl.DataFrame, height: int) -> None:
        self._features = features
        self._row = np.full(height, -1, np.int64)
        """Position in `_features`; -1 for none."""
        self._event = np.full(height, _NEVER, np.int64)
        self._created = np.full(height, _NEVER, np.int64)

    def fold(self, new: _Candidates, chunk: pl.DataFrame, *, whole: bool) -> None:
        """Take what is better of a later chunk; `whole` when no other follows."""
        features = chunk.select(self._features.columns)
        if whole:
            self._event[new.asked], self._row[new.asked] = new.event, new.found
            self._features = features
            return
        event, created = self._event[new.asked], self._created[new.asked]
        better = (new.event > event) | ((new.event == event) & (new.created >= created))
        asked, found = new.asked[better], new.found[better]
        self._event[asked], self._created[asked] = new.event[better], new.created[better]
        kept, found = np.unique(found, return_inverse=True)
        features = features[kept]
        self._row[asked] = self._features.height + found
        self._features = self._features.vstack(features) if self._features.height else features
        if self._features.height > 2 * len(self._row) + chunk.height:
            self._forget()

    def _forget(self) -> None:
        """Drop the rows that better ones have replaced."""
        kept, row = np.unique(self._row[self._row >= 0], return_inverse=True)
        self._row[self._row >= 0] = row
        self._features = self._features[kept]

    def answer(self, oldest: pl.Series | None) -> pl.DataFrame:
        """One row per entity row; null where there is none or its event timestamp is before `oldest`."""
        row = self._row
        if oldest is not None:
            row = np.where(self._event >= oldest.fill_null(_NEVER).to_numpy(), row, -1)
        at = pl.Series(row, dtype=pl.Int64).cast(pl.UInt32, strict=False)
        # One piece again: picking rows out of several is slow.
        return self._features.rechunk().select(pl.all().gather(at))

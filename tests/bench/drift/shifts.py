"""Named shifts with their sizes: each takes the rows of `world` and changes one thing about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from tests.bench.drift.world import notes

Change = Callable[[pl.DataFrame, np.random.Generator], pl.DataFrame]


@dataclass(frozen=True)
class Shift:
    """A change of `columns`: one of them, or their correlation, has to be found."""

    name: str
    size: str
    columns: tuple[str, ...]
    apply: Change

    @property
    def text(self) -> bool:
        return "note" in self.columns


def _each(column: str, function: Callable[[np.ndarray], np.ndarray]) -> Change:
    """A function of the values alone."""
    return _drawn(column, lambda values, _: function(values))


def _drawn(column: str, function: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> Change:
    """A function of the values that draws, too."""

    def apply(frame: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
        values = function(frame[column].to_numpy().copy(), random)
        return frame.with_columns(pl.Series(column, values, nan_to_null=False))

    return apply


def _some(column: str, share: float, value: object) -> Change:
    """`value` in a random share of the rows."""

    def apply(frame: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
        chosen = pl.Series(random.random(frame.height) < share)
        literal = pl.lit(value, dtype=frame.schema[column])
        return frame.with_columns(pl.when(chosen).then(literal).otherwise(pl.col(column)).alias(column))

    return apply


def _replaced(column: str, names: dict[str, str], share: float = 1.0) -> Change:
    def apply(frame: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
        chosen = pl.Series(random.random(frame.height) < share)
        renamed = pl.col(column).replace(names)
        return frame.with_columns(pl.when(chosen).then(renamed).otherwise(pl.col(column)).alias(column))

    return apply


def _moved(column: str, to: str, share: float) -> Change:
    """Of all rows, `share` more have the level `to`, taken from all others."""
    return _some(column, share, to)


def _lost(column: str, keep: float) -> Change:
    """Of the rows' values, 1 - keep are dealt out anew: the column is the same, its correlations shrink."""

    def change(values: np.ndarray, random: np.random.Generator) -> np.ndarray:
        index = np.flatnonzero(random.random(len(values)) >= keep)
        values[index] = values[random.permutation(index)]
        return values

    return _drawn(column, change)


def _texts(share: float, longer: float = 1.0, words: str = "") -> Change:
    def apply(frame: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
        chosen = pl.Series(random.random(frame.height) < share)
        new = pl.Series(
            notes(random, frame.height, np.array(words.split()), longer)
            if words
            else notes(random, frame.height, longer=longer)
        )
        return frame.with_columns(pl.when(chosen).then(new).otherwise(pl.col("note")).alias("note"))

    return apply


def _garbled(frame: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
    chosen = pl.Series(random.random(frame.height) < 0.3)
    garbled = pl.col("note").str.replace_all("e", "Ã©").str.replace_all("a", "Ã¤")
    return frame.with_columns(pl.when(chosen).then(garbled).otherwise(pl.col("note")).alias("note"))


def _without(column: str, level: str) -> Change:
    def apply(frame: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
        others = frame[column].filter(frame[column] != level)
        drawn = others.gather(random.integers(0, len(others), frame.height))
        return frame.with_columns(
            pl.when(pl.col(column) == level).then(drawn).otherwise(pl.col(column)).alias(column)
        )

    return apply


def _log_odds(column: str, by: float) -> Change:
    return _each(column, lambda x: 1.0 / (1.0 + np.exp(-np.log(x / (1.0 - x)) - by)))


GERMAN = (
    "der brief kam nicht an bitte senden sie mir die rechnung noch einmal danke falsche farbe konto gesperrt"
)
_CENTRE, _SPREAD = 40.0, 12.0

SHIFTS = [
    Shift("mean up", "+0.25 standard deviations", ("age",), _each("age", lambda x: x + 3.0)),
    Shift("mean down", "-0.25 standard deviations", ("balance",), _each("balance", lambda x: x - 32.0)),
    Shift("drift in scale", "amounts x 1.3", ("amount",), _each("amount", lambda x: x * 1.3)),
    Shift(
        "variance up",
        "standard deviation x 1.3",
        ("age",),
        _each("age", lambda x: _CENTRE + (x - _CENTRE) * 1.3),
    ),
    Shift(
        "variance down",
        "standard deviation x 0.75",
        ("age",),
        _each("age", lambda x: _CENTRE + (x - _CENTRE) * 0.75),
    ),
    Shift(
        "heavier tails",
        "normal to t with 3 degrees, same variance",
        ("age",),
        _drawn("age", lambda x, r: _CENTRE + _SPREAD * r.standard_t(3, len(x)) / np.sqrt(3.0)),
    ),
    Shift(
        "upper tail",
        "3 % of the rows x 4",
        ("rate",),
        _drawn("rate", lambda x, r: np.where(r.random(len(x)) < 0.03, np.minimum(x * 4, 0.93), x)),
    ),
    Shift(
        "lognormal shape",
        "log standard deviation 1 to 1.3",
        ("amount",),
        _each("amount", lambda x: np.exp(3.0 + 1.3 * (np.log(x) - 3.0))),
    ),
    Shift(
        "normal to lognormal",
        "same mean and variance",
        ("age",),
        _drawn("age", lambda x, r: _same_moments(r.lognormal(0.0, 0.6, len(x)), 0.6)),
    ),
    Shift(
        "one hump to two",
        "same mean and variance",
        ("age",),
        _drawn(
            "age",
            lambda x, r: (
                _CENTRE + _SPREAD * (0.8 * r.choice([-1.0, 1.0], len(x)) + 0.6 * r.normal(size=len(x)))
            ),
        ),
    ),
    Shift(
        "mixture weights",
        "50:50 to 62:38",
        ("distance",),
        _drawn(
            "distance",
            lambda x, r: np.where((x > 580) & (r.random(len(x)) < 0.24), r.normal(300, 60, len(x)), x),
        ),
    ),
    Shift("units", "kilometres to miles", ("distance",), _each("distance", lambda x: x * 0.621)),
    Shift(
        "units in part",
        "3 % of the rows x 1000",
        ("amount",),
        _drawn("amount", lambda x, r: np.where(r.random(len(x)) < 0.03, x * 1000, x)),
    ),
    Shift(
        "sign",
        "8 % of the rows negated",
        ("age",),
        _drawn("age", lambda x, r: np.where(r.random(len(x)) < 0.08, -x, x)),
    ),
    Shift(
        "sentinel",
        "2 % of the rows are -999",
        ("age",),
        _drawn("age", lambda x, r: np.where(r.random(len(x)) < 0.02, -999.0, x)),
    ),
    Shift("clipped", "at the 90th percentile", ("age",), _each("age", lambda x: np.minimum(x, 55.4))),
    Shift("rounding", "cents to whole amounts", ("price",), _each("price", lambda x: np.round(x))),
    Shift("granularity", "full precision to one decimal", ("age",), _each("age", lambda x: np.round(x, 1))),
    Shift("constant", "all rows alike", ("speed",), _each("speed", lambda x: np.zeros_like(x))),
    Shift(
        "stuck in part",
        "10 % of the rows alike",
        ("speed",),
        _drawn("speed", lambda x, r: np.where(r.random(len(x)) < 0.1, 0.3, x)),
    ),
    Shift(
        "zeros",
        "6 % of the rows are 0",
        ("rate",),
        _drawn("rate", lambda x, r: np.where(r.random(len(x)) < 0.06, 0.0, x)),
    ),
    Shift(
        "counts",
        "mean of a Poisson 3 to 3.6",
        ("orders",),
        _drawn("orders", lambda x, r: r.poisson(3.6, len(x)).astype(float)),
    ),
    Shift(
        "share of a flag", "30 % to 37 %", ("member",), _drawn("member", lambda x, r: r.random(len(x)) < 0.37)
    ),
    Shift("time zone", "hours moved by 4", ("hour",), _each("hour", lambda x: (x + 4) % 24)),
    Shift("missing, more", "5 % to 10 %", ("partly",), _some("partly", 0.053, None)),
    Shift("missing, new", "none to 3 %", ("amount",), _some("amount", 0.03, None)),
    Shift(
        "missing, gone",
        "5 % to none",
        ("partly",),
        _drawn("partly", lambda x, r: np.where(np.isnan(x), r.normal(size=len(x)), x)),
    ),
    Shift("missing, all", "none to all", ("rate",), _some("rate", 1.0, None)),
    Shift("missing category", "none to 4 %", ("carrier",), _some("carrier", 0.04, None)),
    Shift("categories swapped", "13 % and 5 %", ("carrier",), _replaced("carrier", {"UA": "NK", "NK": "UA"})),
    Shift("category grows", "16 % to 22 %", ("carrier",), _moved("carrier", "DL", 0.07)),
    Shift("category, new", "2.5 % of the rows", ("carrier",), _some("carrier", 0.025, "YX")),
    Shift("category, gone", "8 % to none", ("carrier",), _without("carrier", "AS")),
    Shift(
        "category, renamed",
        "15 % of the rows in lower case",
        ("carrier",),
        _replaced("carrier", {"AA": "aa", "B6": "b6", "DL": "dl", "UA": "ua", "WN": "wn", "AS": "as"}, 0.17),
    ),
    Shift("one of 400 levels", "1 % to 6 %", ("airport",), _moved("airport", "AP020", 0.05)),
    Shift("new among 400 levels", "3 % of the rows", ("airport",), _some("airport", 0.03, "ZZZ")),
    Shift("correlation weaker", "0.6 to 0.36, columns alike", ("correlation",), _lost("age", 0.6)),
    Shift("correlation gone", "0.6 to 0, columns alike", ("correlation",), _lost("age", 0.0)),
    Shift(
        "label only",
        "28 % to 34 %",
        ("label",),
        _drawn("label", lambda x, r: np.where(r.random(len(x)) < 0.085, 1.0, x)),
    ),
    Shift("label against features", "labels dealt out anew", ("correlation",), _lost("label", 0.0)),
    Shift("prediction only", "+0.3 in log odds", ("prediction",), _log_odds("prediction", 0.3)),
    Shift("texts longer", "by a quarter", ("note",), _texts(1.0, 1.25)),
    Shift("texts, other language", "15 % of the rows", ("note",), _texts(0.15, words=GERMAN)),
    Shift("texts, encoding", "30 % of the rows garbled", ("note",), _garbled),
]


def _same_moments(values: np.ndarray, sigma: float) -> np.ndarray:
    mean = np.exp(sigma**2 / 2.0)
    return _CENTRE + _SPREAD * (values - mean) / (mean * np.sqrt(np.exp(sigma**2) - 1.0))

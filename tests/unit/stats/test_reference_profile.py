"""The profile of a frame: small, readable, the same after JSON, and honest about what it cannot take."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.errors import DataError
from windtunnel.stats.category_columns import CategoryProfile
from windtunnel.stats.drift import compare
from windtunnel.stats.number_cells import count_cells, edges_of, granularity
from windtunnel.stats.number_columns import NumberProfile
from windtunnel.stats.reference_profile import FrameProfile, profile_frame
from windtunnel.stats.text_columns import TextProfile

ROWS = 2_000


def frame(rows: int = ROWS, seed: int = 0) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "amount": random.lognormal(3, 1, rows),
            "partly": np.where(random.random(rows) < 0.2, np.nan, random.normal(size=rows)),
            "flag": random.random(rows) < 0.3,
            "level": random.choice(["a", "b", "c"], rows),
            "code": [f"c{value}" for value in random.integers(0, 600, rows)],
            "note": [f"order {value} is late" for value in random.permutation(rows)],
            "empty": [None] * rows,
        }
    )


def test_columns_are_told_apart_by_what_they_hold() -> None:
    profile = profile_frame(frame())
    kinds = {name: column.kind for name, column in profile.columns.items()}
    assert kinds == {
        "amount": "number", "partly": "number", "flag": "number", "level": "category", "code": "category",
        "note": "text", "empty": "number",
    }  # fmt: skip


def test_it_says_the_same_after_json() -> None:
    days, weekdays = pl.Series(np.arange(ROWS) // 100), pl.Series(np.arange(ROWS) // 100 % 7)
    profile = profile_frame(frame(), days, weekdays)
    told = json.loads(json.dumps(profile.to_json(), allow_nan=False))
    again = FrameProfile.from_json(told)
    assert json.loads(json.dumps(again.to_json())) == told
    window, blocks, seasons = frame(300, seed=1), pl.Series([1] * 300), pl.Series([0] * 300)
    first, second = (compare(p, window, blocks=blocks, seasons=seasons) for p in (profile, again))
    assert [c.drifted for c in first] == [c.drifted for c in second]
    assert [c.p_value for c in second] == pytest.approx([c.p_value for c in first], rel=0.05, abs=1e-6)


@pytest.mark.parametrize("columns", [{}, {"constant": [1.0] * 60}, {"level": ["north"] * 60}])
@pytest.mark.parametrize("seasons", [None, pl.Series([0, 1] * 30)])
def test_a_profile_in_which_nothing_goes_together_can_be_read_again(
    columns: dict[str, Any], seasons: pl.Series | None
) -> None:
    """A lifecycle without slices has no columns to watch; labels of one class do not move."""
    profile = profile_frame(pl.DataFrame(columns), seasons=seasons if columns else None)
    told = json.loads(json.dumps(profile.to_json(), allow_nan=False))
    assert FrameProfile.from_json(told).to_json() == told


def test_fifty_columns_by_the_hour_of_the_week_make_less_than_half_a_megabyte() -> None:
    random = np.random.default_rng(5)
    wide = pl.DataFrame({f"column_{index}": random.lognormal(size=5_000) for index in range(50)})
    hours = pl.Series(np.arange(5_000) % 168)
    by_hour = json.dumps(profile_frame(wide, pl.Series(np.arange(5_000) // 125), hours).to_json())
    by_weekday = json.dumps(
        profile_frame(
            wide, pl.Series(np.arange(5_000) // 125), pl.Series(np.arange(5_000) // 125 % 7)
        ).to_json()
    )
    plain = json.dumps(profile_frame(wide).to_json())
    assert len(by_hour) < 450_000
    assert len(by_weekday) < 200_000
    assert len(plain) < 100_000


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=60))
@settings(max_examples=60)
def test_any_numbers_make_a_profile_and_every_row_is_counted_once(values: list[float]) -> None:
    column = pl.Series("x", values, dtype=pl.Float64)
    profile = profile_frame(pl.DataFrame([column])).columns["x"]
    assert isinstance(profile, NumberProfile)
    finite = [value for value in values if abs(value) < 1e100]
    assert profile.shares.present == len(finite)
    assert profile.shares.missing == len(values) - len(finite)
    counted, _ = profile.count(column)
    assert counted.counts.tolist() == profile.shares.counts.tolist()
    assert (counted.below, counted.above) == (0, 0)


def test_counting_in_chunks_is_counting() -> None:
    values = np.random.default_rng(6).normal(5.0, 2.0, 150_000)
    values[::1000] = np.nan
    present = np.sort(values[~np.isnan(values)])
    edges = edges_of(present)
    found = count_cells(values, edges, 0.0, 10.0, 4.0)
    assert found.counts.tolist() == np.histogram(present, [-np.inf, *edges, np.inf])[0].tolist()
    assert (found.missing, found.below, found.above) == (150, (present < 0).sum(), (present > 10).sum())
    assert found.mean == pytest.approx(present.mean())
    assert found.standard_deviation == pytest.approx(present.std())
    assert found.tail_means[1] == pytest.approx(present[present >= edges[-1]].mean())


def test_single_precision_falls_into_the_same_cells() -> None:
    for values in (
        np.array([0.1, 0.3, 0.7, 1.1] * 50),
        np.round(np.random.default_rng(7).gamma(2, 9, 5000), 2),
    ):
        profile = profile_frame(pl.DataFrame({"x": values})).columns["x"]
        assert isinstance(profile, NumberProfile)
        counted, _ = profile.count(pl.Series("x", values.astype(np.float32)))
        assert counted.counts.tolist() == profile.shares.counts.tolist()
        assert counted.below + counted.above == 0


def test_how_fine_values_are_does_not_depend_on_their_size() -> None:
    random = np.random.default_rng(8)
    for scale in (1.0, 50.0, 900.0):
        cents = granularity(np.round(random.random(4000) * scale, 2))
        assert (cents[4, 1] / cents[4, 0]) == 1.0  # multiples of 0.01
        full = granularity(random.random(4000) * scale)
        assert np.all(full[:, 1] <= 0.15 * full[:, 0])


def test_the_most_frequent_of_many_levels_are_not_overrated() -> None:
    random = np.random.default_rng(9)
    levels = pl.Series("code", [f"c{value}" for value in random.integers(0, 1000, 40_000)])
    profile = profile_frame(pl.DataFrame([levels])).columns["code"]
    assert isinstance(profile, CategoryProfile)
    top = profile.shares.counts[:200].sum() / profile.shares.present
    assert top == pytest.approx(0.2, abs=0.01)  # of the rows that chose them it would be 0.25


def test_texts_keep_words_and_three_grams() -> None:
    profile = profile_frame(frame()).columns["note"]
    assert isinstance(profile, TextProfile)
    assert {"order", "is", "late"} <= set(profile.words)
    assert " is" in profile.grams
    assert profile.length.mean == pytest.approx(np.mean([len(text) for text in frame()["note"]]))


def test_types_that_are_neither_numbers_nor_texts_are_refused_by_name() -> None:
    dates = pl.DataFrame({"when": pl.Series(["2023-01-01"]).str.to_date()})
    with pytest.raises(DataError, match="column when: values of type Date"):
        profile_frame(dates)


def test_blocks_of_another_length_are_refused() -> None:
    with pytest.raises(DataError, match="3 blocks for 2,000 rows"):
        profile_frame(frame(), pl.Series([1, 2, 3]))


@pytest.mark.parametrize("low", [0.1, 0.3, np.nextafter(0.1, 1.0), 0.0, 1.7e12])
def test_what_differs_in_its_last_digits_is_one_value(low: float) -> None:
    """A mean of constants jitters so; no number lies between the two that could be an edge."""
    values = pl.Series("x", [low, np.nextafter(low, np.inf)] * 200)
    wide = pl.DataFrame([values, pl.Series("y", np.random.default_rng(9).normal(size=400))])
    profile = FrameProfile.from_json(json.loads(json.dumps(profile_frame(wide).to_json(), allow_nan=False)))
    assert profile.columns["x"].to_json()["shares"]["counts"] == [400]
    half = wide.with_columns(x=pl.lit(low))
    assert not any(column.drifted for column in compare(profile, half))


def test_an_edge_still_parts_its_neighbours_after_json() -> None:
    """Seconds since 1970, one apart: eleven digits."""
    frame = pl.DataFrame({"x": [1_764_540_002.0, 1_764_540_003.0] * 200})
    profile = FrameProfile.from_json(json.loads(json.dumps(profile_frame(frame).to_json())))
    (found,) = compare(profile, frame)
    assert (found.drifted, found.ks) == (False, 0.0)

"""What a window says beside its reference: numbers, decisions and sentences."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from windtunnel.stats.drift import CORRELATION, ColumnDrift, DriftRule, compare
from windtunnel.stats.reference_profile import FrameProfile, profile_frame


def frame(rows: int, seed: int) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    age = random.normal(40, 10, rows)
    return pl.DataFrame(
        {
            "age": age,
            "pay": 2 * age + random.normal(0, 15, rows),
            "carrier": random.choice(["AA", "DL", "UA", "EV"], rows, p=[0.4, 0.3, 0.2, 0.1]),
            "member": random.random(rows) < 0.5,
        }
    )


@pytest.fixture(scope="module")
def reference() -> FrameProfile:
    return profile_frame(frame(10_000, seed=0))


def of(found: list[ColumnDrift], name: str) -> ColumnDrift:
    return next(column for column in found if column.column == name)


def test_a_window_like_the_reference_has_not_drifted(reference: FrameProfile) -> None:
    found = compare(reference, frame(2_000, seed=1))
    assert [column.column for column in found] == ["age", "pay", "carrier", "member", CORRELATION]
    assert not any(column.drifted or column.reasons for column in found)
    assert of(found, "age").psi == pytest.approx(0.0, abs=0.01)


def test_a_moved_mean_is_told_in_plain_words(reference: FrameProfile) -> None:
    window = frame(2_000, seed=1).with_columns(pl.col("age") + 5)
    found = of(compare(reference, window), "age")
    assert found.drifted
    assert "its values moved up by 0.48 standard deviations (mean 40" in found.reasons[0]
    assert found.wasserstein == pytest.approx(0.5, abs=0.05)
    assert found.effect == pytest.approx(
        0.2, abs=0.03
    )  # what two normals half a deviation apart do not share


def test_a_flag_and_a_rate_are_told_as_shares(reference: FrameProfile) -> None:
    window = frame(2_000, seed=1).with_columns(
        pl.when(pl.int_range(2_000) % 10 == 0).then(None).otherwise(pl.col("age")).alias("age")
    )
    found = of(compare(reference, window), "age")
    assert found.drifted
    assert found.reasons == ["it is missing in 10.0% of the rows (0.0% before)"]
    assert (found.rows, found.missing, found.reference_missing) == (1_800, 0.1, 0.0)


def test_new_and_gone_categories_are_named(reference: FrameProfile) -> None:
    window = frame(2_000, seed=1).with_columns(pl.col("carrier").replace({"EV": "NK"}))
    found = of(compare(reference, window), "carrier")
    assert found.drifted
    assert [name for name, _ in found.new_categories] == ["NK"]
    assert [name for name, _ in found.gone_categories] == ["EV"]
    assert any("never seen before: 'NK'" in reason for reason in found.reasons)


def test_columns_swapped_between_rows_are_seen_though_each_is_as_before(reference: FrameProfile) -> None:
    window = frame(2_000, seed=1)
    found = compare(reference, window.with_columns(pl.col("age").shuffle(seed=1)))
    assert [column.column for column in found if column.drifted] == [CORRELATION]
    assert (
        "age and pay go together otherwise: correlation +0.80 before, " in of(found, CORRELATION).reasons[0]
    )


def test_a_column_that_is_gone_is_missing_everywhere(reference: FrameProfile) -> None:
    found = of(compare(reference, frame(500, seed=1).drop("pay")), "pay")
    assert (found.drifted, found.missing, found.psi) == (True, 1.0, None)
    assert of(compare(reference, frame(50, seed=1).drop("pay")), "pay").reasons == [
        "the window has no such column",
        "too few rows to tell: 50 of 100",
    ]


def test_too_few_rows_are_no_verdict(reference: FrameProfile) -> None:
    found = compare(reference, frame(99, seed=1).with_columns(pl.lit(1000.0).alias("age")))
    assert not any(column.drifted for column in found)
    assert of(found, "age").reasons == ["too few rows to tell: 99 of 100"]
    assert not any(column.drifted for column in compare(reference, frame(0, seed=1)))


def test_a_trifle_stays_one_however_many_rows_show_it(reference: FrameProfile) -> None:
    window = frame(300_000, seed=1).with_columns(pl.col("age") + 0.6)
    found = of(compare(reference, window), "age")
    assert not found.drifted
    assert of(compare(reference, window, DriftRule(min_effect=0.005)), "age").drifted


def test_one_day_is_one_day_however_many_rows_it_has() -> None:
    random = np.random.default_rng(10)
    day = np.repeat(np.arange(30), 1_000)
    load = random.normal(size=30)[day] * 0.5 + random.normal(size=30_000)
    busy = pl.DataFrame({"load": 1.0 + random.normal(size=50_000)})  # as two of thirty days were
    one_day = pl.Series(np.zeros(50_000))
    assert not compare(profile_frame(pl.DataFrame({"load": load}), pl.Series(day)), busy, blocks=one_day)[
        0
    ].drifted
    assert compare(profile_frame(pl.DataFrame({"load": load})), busy)[0].drifted


def test_a_weekend_is_compared_with_weekends() -> None:
    random = np.random.default_rng(11)
    day = np.repeat(np.arange(56), 200)
    weekend = day % 7 >= 5
    trips = pl.DataFrame({"distance": random.lognormal(6 + weekend, 0.5, len(day))})
    window = pl.DataFrame({"distance": random.lognormal(7, 0.5, 400)})
    kind, saturday = pl.Series(day % 7), pl.Series([5] * 400)
    by_weekday = profile_frame(trips, pl.Series(day), kind)
    assert not compare(by_weekday, window, seasons=saturday)[0].drifted
    assert compare(by_weekday, window, seasons=pl.Series([2] * 400))[0].drifted
    assert compare(profile_frame(trips), window)[0].drifted


def test_a_window_of_texts_in_another_language_is_seen() -> None:
    random = np.random.default_rng(12)
    english, german = (
        ["the", "order", "came", "late", "please", "pay", "back"],
        ["die", "ware", "kam", "nicht", "an", "bitte", "geld"],
    )

    def notes(words: list[str], rows: int) -> pl.DataFrame:
        return pl.DataFrame({"note": [" ".join(random.choice(words, 9)) for _ in range(rows)]})

    profile = profile_frame(notes(english, 2_000))
    assert not compare(profile, notes(english, 500))[0].drifted
    found = compare(profile, notes(german, 500))[0]
    assert found.kind == "text"
    assert found.drifted
    assert any("outside the known vocabulary (0.0% before)" in reason for reason in found.reasons)


def test_json_keeps_everything(reference: FrameProfile) -> None:
    window = frame(500, seed=1).with_columns(pl.lit("ZZ").alias("carrier"), pl.col("age") + 20)
    for column in compare(reference, window):
        told = json.loads(json.dumps(column.to_json(), allow_nan=False))
        assert ColumnDrift.from_json(told).to_json() == column.to_json()


def test_a_picture_has_few_bins_that_sum_to_one(reference: FrameProfile) -> None:
    window = frame(2_000, seed=1).with_columns(
        pl.when(pl.int_range(2_000) % 4 == 0).then(None).otherwise(pl.col("age")).alias("age"),
        pl.col("carrier").replace({"EV": "NK"}),
    )
    found = compare(reference, window)
    pictures = {column.column: column.histogram for column in found if column.histogram is not None}
    assert set(pictures) == {"age", "pay", "carrier", "member"}
    for picture in pictures.values():
        assert 2 <= len(picture.labels) == len(picture.reference) == len(picture.current) <= 13
        assert sum(picture.reference) == pytest.approx(1.0, abs=1e-3)
        assert sum(picture.current) == pytest.approx(1.0, abs=1e-3)
    assert pictures["age"].labels[-1] == "missing"
    assert pictures["age"].current[-1] == 0.25
    assert pictures["member"].labels == ["0", "1"]
    assert set(pictures["carrier"].labels) == {"AA", "DL", "UA", "EV", "NK"}


def test_a_week_by_weekday_leaves_no_day_to_learn_from_and_days_still_differ() -> None:
    random = np.random.default_rng(13)
    share = 0.25 + 0.08 * random.normal(size=14)
    day = np.repeat(np.arange(14), 800)
    late = pl.DataFrame({"late": (random.random(len(day)) < share[day]).astype(float)})
    first, second = day < 7, day >= 7
    profile = profile_frame(late.filter(first), pl.Series(day[first]), pl.Series(day[first] % 7))
    window, blocks, seasons = late.filter(second), pl.Series(day[second]), pl.Series(day[second] % 7)
    rule = DriftRule(min_effect=0.01)
    found = compare(profile, window, rule, blocks, seasons)[0]
    assert abs(share[:7].mean() - share[7:].mean()) > 0.02  # what independent rows would be surprised by
    assert not found.drifted
    assert compare(profile_frame(late.filter(first)), window, rule)[0].drifted


def test_columns_that_move_together_in_one_fog_have_not_drifted() -> None:
    """Sight is 10 miles on all days but a foggy one in seven, and alike for all rows of an hour: within that
    day it goes with whatever those hours had besides.
    """

    def days(count: int, seed: int) -> tuple[pl.DataFrame, pl.Series]:
        random = np.random.default_rng(seed)
        foggy = np.repeat(np.arange(count) % 7 == 3, 18)
        hours = {
            "sight": np.where(foggy, random.uniform(1, 10, len(foggy)), 10.0),
            "late": random.normal(size=len(foggy)),
        }
        rows = pl.DataFrame({name: np.repeat(values, 20) for name, values in hours.items()})
        return rows, pl.Series(np.repeat(np.arange(count), 18 * 20))

    rows, blocks = days(35, seed=1)
    profile = FrameProfile.from_json(json.loads(json.dumps(profile_frame(rows, blocks).to_json())))
    for seed in range(2, 22):
        rows, blocks = days(7, seed)
        assert not of(compare(profile, rows, blocks=blocks), CORRELATION).drifted, seed

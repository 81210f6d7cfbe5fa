"""Logged rows put together: any order, any batch; and what cannot have been written so."""

from __future__ import annotations

import dataclasses
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windtunnel.errors import IntegrityError
from windtunnel.lineage.answers import answers_of
from windtunnel.prediction_log.ids import derived_id
from windtunnel.prediction_log.reading import LoggedRow

MOMENT = datetime(2026, 11, 24, 17, 30, 1, 250_000, tzinfo=UTC)
ID = derived_id(MOMENT, b"request")
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.one_of(st.none(), st.floats(allow_nan=False, width=64))


def logged(row: int = 0, **told: Any) -> LoggedRow:
    fields: dict[str, Any] = {
        "prediction_id": ID,
        "row": row,
        "time": MOMENT,
        "version": "1",
        "digest": "sha256:" + "1" * 64,
        "role": "champion",
        "key": None,
        "entities": {"carrier": "UA"},
        "event_time": None,
        "features": {"b": 1.0, "a": None},
        "missing": 1,
        "stale": False,
        "prediction": 0.25,
        "latency_seconds": 0.001,
        "writer": "pod-1",
        "object_key": "demo/predictions/2026-11-24/17/pod-1-00000001.parquet",
    }
    return LoggedRow(**{**fields, **told})


def test_features_keep_the_models_order_and_null_is_missing() -> None:
    (answer,) = answers_of([logged()])
    assert answer.names == ("b", "a")
    assert answer.inputs[0, 0] == 1.0
    assert math.isnan(answer.inputs[0, 1])


@given(
    st.lists(
        st.tuples(VALUES, VALUES, st.floats(allow_nan=False, allow_infinity=False)), min_size=1, max_size=20
    ),
    st.randoms(use_true_random=False),
)
def test_a_batch_is_whole_and_in_order_however_it_was_read(
    values: list[tuple[float | None, float | None, float]], random: Any
) -> None:
    rows = [
        logged(row, features={"b": b, "a": a}, prediction=prediction)
        for row, (b, a, prediction) in enumerate(values)
    ]
    twice = [dataclasses.replace(row, object_key="elsewhere") for row in random.sample(rows, len(rows) // 2)]
    mixed = rows + twice
    random.shuffle(mixed)
    (answer,) = answers_of(mixed)
    assert answer.predictions.tolist() == [prediction for _, _, prediction in values]
    expected = np.array([[math.nan if v is None else v for v in row[:2]] for row in values])
    np.testing.assert_array_equal(answer.inputs, expected)


def test_who_answered_and_who_shadowed_come_apart() -> None:
    shadow = logged(role="shadow", version="2", digest="sha256:" + "2" * 64, prediction=0.5)
    first, second = answers_of([logged(), shadow])
    assert (first.role, second.role) == ("champion", "shadow")
    assert second.predictions.tolist() == [0.5]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([logged(1)], "row 0 of the request is not in the log, but row 1 is"),
        ([logged(0), logged(2)], "row 1 of the request is not in the log, but row 2 is"),
        ([logged(0), logged(0, prediction=0.26)], "row 0 stands in the log twice, with different content"),
        ([logged(0), logged(1, features={"a": 1.0, "b": 1.0})], "row 1 has other features than row 0"),
        ([logged(0), logged(1, key="other")], "row 1 tells another time or key"),
        ([logged(time=MOMENT + timedelta(seconds=1))], "its id of 2026-11-24T17:30:01.25"),
        ([logged(prediction=math.inf)], "row 0 holds no number as prediction: inf"),
    ],
)
def test_rows_that_cannot_have_been_written_so_are_told(rows: list[LoggedRow], words: str) -> None:
    with pytest.raises(IntegrityError) as told:
        answers_of(rows)
    assert words in told.value.what
    assert told.value.where.startswith("demo/predictions/")

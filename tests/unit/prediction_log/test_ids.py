"""Ids of predictions as people paste them, and as they must not be."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windtunnel.errors import RequestError
from windtunnel.prediction_log.ids import derived_id, parse_id
from windtunnel.serving.prediction_id import prediction_id

ID = "019abf3c-4e2a-7c1d-8a55-0e4b6f1d2c3b"
MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))


def test_an_id_of_serving_tells_when_it_was_made() -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    found = parse_id(prediction_id())
    assert before <= found.time <= datetime.now(UTC)
    assert found.hour <= found.time < found.hour + timedelta(hours=1)
    assert (found.hour.minute, found.hour.second, found.hour.microsecond) == (0, 0, 0)


@pytest.mark.parametrize(
    "pasted", [ID.upper(), f"  {ID}\n", f'"{ID}"', f"'{ID}'", ID.replace("-", ""), f' "{ID}" ']
)
def test_it_may_be_pasted_in_many_ways(pasted: str) -> None:
    assert parse_id(pasted).text == ID


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is empty"),
        ('""', "it is empty"),
        (ID[:-1], "it has 31 digits, an id has 32"),
        (ID + "0", "it has 33 digits"),
        (ID[:8] + "…", "it is shortened"),
        (ID[:8] + "...", "it is shortened"),
        (ID.replace("f", "g", 1), "'g' is no hexadecimal digit"),
        (ID.replace("0", "\N{ARABIC-INDIC DIGIT ZERO}", 1), "is no hexadecimal digit"),
        ("-" + ID.replace("-", ""), "its hyphens stand in other places"),
        (str(uuid.uuid5(uuid.NAMESPACE_DNS, "x")), "version 5, and ids of predictions have version 7"),
        ("019abf3c-4e2a-7c1d-0a55-0e4b6f1d2c3b", "its 17th digit is 0"),
        ("ffffffff-ffff-7fff-bfff-ffffffffffff", "after the year 9999"),
        ("../../etc/passwd", "is no hexadecimal digit"),
        ("flight_delay", "is no hexadecimal digit"),
    ],
)
def test_what_is_wrong_with_an_id_is_said(text: str, why: str) -> None:
    with pytest.raises(RequestError) as refused:
        parse_id(text)
    assert why in refused.value.what
    assert "parameters.prediction_id" in refused.value.fix


@given(st.text(max_size=80))
def test_any_text_is_an_id_or_refused(text: str) -> None:
    try:
        found = parse_id(text).text
    except RequestError as refused:
        found, said = ID, refused.what
    else:
        said = ""
    assert uuid.UUID(found).version == 7
    assert len(said) < 250


@given(MOMENTS, st.binary(max_size=40))
def test_a_derived_id_is_one_id_and_keeps_its_moment(moment: datetime, content: bytes) -> None:
    made = derived_id(moment, content)
    assert made == derived_id(moment, content)
    assert made != derived_id(moment, content + b"x")
    parsed = parse_id(made)
    assert uuid.UUID(made).variant == uuid.RFC_4122
    assert timedelta() <= moment - parsed.time < timedelta(milliseconds=1)

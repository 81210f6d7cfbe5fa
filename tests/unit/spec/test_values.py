from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windtunnel.spec.values import check_cron, check_function, format_duration, parse_duration


@pytest.mark.parametrize(
    "text",
    ["* * * * *", "5 4 * * 1-5", "*/15 0-6/2 1,15 jan-mar sun", "0 0 31 12 7", "@daily", "0 12 * * MON,fri"],
)
def test_cron_is_taken(text: str) -> None:
    assert check_cron(text) == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("* * * *", "has 4 fields"),
        ("60 * * * *", "'60' is no minute"),
        ("* 24 * * *", "'24' is no hour"),
        ("* * 0 * *", "'0' is no day of month"),
        ("* * * 13 *", "'13' is no month"),
        ("* * * * 8", "'8' is no day of week"),
        ("*/0 * * * *", "is no minute"),
        ("*/00 * * * *", "is no minute"),
        ("² * * * *", "'²' is no minute"),
        ("٣ * * * *", "'٣' is no minute"),
        ("5-1 * * * *", "is no minute"),
        ("* * * * funday", "is no day of week"),
        ("1,,2 * * * *", "is no minute"),
        ("@dayly", "no cron preset"),
        ("", "has 0 fields"),
    ],
)
def test_bad_cron_names_the_field(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        check_cron(text)


@given(st.tuples(*(st.integers(low, high) for low, high in ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7)))))
def test_any_moment_is_a_cron_expression(fields: tuple[int, ...]) -> None:
    check_cron(" ".join(map(str, fields)))


@given(st.text())
def test_cron_never_fails_otherwise(text: str) -> None:
    try:
        check_cron(text)
    except ValueError as error:
        assert ";" in str(error)  # noqa: PT017 - says how to mend it


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("1.5h", 5400), ("2d", 172800), ("1000001s", 1000001), ("0.25s", 0.25)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)
    assert parse_duration(format_duration(timedelta(seconds=seconds))) == timedelta(seconds=seconds)


@pytest.mark.parametrize("value", ["", "30", "m", "-5m", "0s", "0.0000001s", "30 m", 30, None])
def test_what_is_no_duration_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        parse_duration(value)


@pytest.mark.parametrize("text", ["3661d", "999999999999d", "9" * 400 + "s"])
def test_a_duration_that_no_date_could_take_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is too long; write 3660d or less"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["train", ":train", "train:", "train:a b", "tr-ain:x", "a/b:c", "../x:y"])
def test_what_is_no_function_reference_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no function reference"):
        check_function(text)

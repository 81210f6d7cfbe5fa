from __future__ import annotations

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from windtunnel.spec.slices import slices


@given(st.dates(date(2000, 1, 1), date(2030, 1, 1)), st.integers(0, 400), st.integers(1, 60))
def test_slices_cover_every_day_once_and_none_is_too_long(first: date, extra: int, size: int) -> None:
    parts = slices(first, first + timedelta(extra), size)
    covered = [start + timedelta(offset) for start, end in parts for offset in range((end - start).days + 1)]
    assert covered == [first + timedelta(offset) for offset in range(extra + 1)]
    assert all((end - start).days < size for start, end in parts)


def test_slices_end_with_the_calendar() -> None:
    assert slices(date(9999, 12, 30), date.max, 90) == [(date(9999, 12, 30), date.max)]

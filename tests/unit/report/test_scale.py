"""Places in a picture."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from windtunnel.report.charts.scale import Scale, around, path

amounts = st.floats(-1e6, 1e6, allow_nan=False)


@given(st.lists(st.none() | amounts | st.just(math.nan) | st.just(math.inf), max_size=20))
def test_every_value_has_a_place_inside(values: list[float | None]) -> None:
    scale = around(values, 200.0, 30.0)
    for value in values:
        if value is not None and math.isfinite(value):
            assert 30.0 <= scale(value) <= 200.0


@given(amounts, st.floats(1e-6, 1e6))
def test_ticks_are_few_rise_and_lie_inside(low: float, length: float) -> None:
    scale = Scale(low, low + length, 0.0, 100.0)
    ticks = scale.ticks()
    assert len(ticks) <= 6
    assert ticks == sorted(set(ticks))
    room = length * 1e-6 + 1e-9
    assert all(scale.low - room <= tick <= scale.high + room for tick in ticks)


def test_what_is_beyond_an_end_is_put_on_it() -> None:
    scale = Scale(0.0, 1.0, 10.0, 90.0)
    assert (scale(-5.0), scale(0.5), scale(7.0)) == (10.0, 50.0, 90.0)


def test_one_value_alone_stands_in_the_middle() -> None:
    assert around([0.4], 0.0, 100.0)(0.4) == 50.0
    assert Scale(3.0, 3.0, 0.0, 100.0)(3.0) == 50.0


def test_a_path_breaks_where_nothing_is_known() -> None:
    assert path([(0, 1), (2, 3), None, (4, 5.55)], "now") == '<path d="M0 1L2 3M4 5.5" class="now"/>'

"""How the days of a run are cut into slices, in Airflow and on a laptop alike."""

from __future__ import annotations

from datetime import date


def slices(first: date, last: date, size: int) -> list[tuple[date, date]]:
    """The days from `first` to `last` in slices of at most `size`, in order; both ends are included."""
    # By ordinals: a date beyond the calendar's end would be none.
    end = last.toordinal()
    return [
        (date.fromordinal(start), date.fromordinal(min(start + size - 1, end)))
        for start in range(first.toordinal(), end + 1, size)
    ]

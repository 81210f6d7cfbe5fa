"""Which days a run is about, and how they are cut into slices. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from windtunnel.errors import RequestError
from windtunnel.spec.slices import slices

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Window:
    """Days from `start` to `end`, both included."""

    start: date
    end: date

    def to_json(self) -> dict[str, str]:
        return {"start": self.start.isoformat(), "end": self.end.isoformat()}

    def slices(self, days: int) -> list[Window]:
        """Cut into windows of at most `days` days, oldest first."""
        return [Window(first, last) for first, last in slices(self.start, self.end, days)]


def interval_window(start: datetime, end: datetime) -> Window:
    """The days that a schedule's interval completes: from its first day to the last whole day before its end.

    Intervals that follow each other share no day and leave out none; an empty one is about yesterday.
    """
    last = end.date() - DAY
    return Window(min(start.date(), last), last)


def event_window(extras: Iterable[tuple[datetime, Mapping[str, Any]]]) -> Window | None:
    """The window that the newest asset event tells of, or None when none tells."""
    telling = [(at, extra) for at, extra in extras if "end" in extra]
    if not telling:
        return None
    _, extra = max(telling, key=lambda item: item[0])
    end = date.fromisoformat(str(extra["end"]))
    return Window(date.fromisoformat(str(extra.get("start") or end)), end)


def run_window(params: Mapping[str, Any], given: Window) -> Window:
    """What the run's params ask for; `given` (events, schedule) fills in what they leave out.

    `start` without `end` runs to the end of `given`; `end` without `start` is that one day. Raises
    RequestError.
    """
    end = _day(params, "end") or given.end
    start = _day(params, "start") or (end if params.get("end") else given.start)
    if start > end:
        raise RequestError(
            f"start {start} lies after end {end}",
            where="params of the run",
            fix="both days are included, so start must not be later than end",
        )
    return Window(start, end)


def moments(params: Mapping[str, Any], run_after: datetime) -> dict[str, str]:
    """The moments that a monitor run is about, in UTC: `end`, by default that of the run, and `start` where
    it is given. Raises RequestError.
    """
    start, end = _moment(params, "start"), _moment(params, "end") or run_after
    if start and start >= end:
        raise RequestError(
            f"start {start.isoformat()} is not before end {end.isoformat()}",
            where="params of the run",
            fix="the window goes from start until before end; give an earlier start",
        )
    told = {"start": start, "end": end}
    return {name: moment.astimezone(UTC).isoformat() for name, moment in told.items() if moment}


def _moment(params: Mapping[str, Any], name: str) -> datetime | None:
    value = params.get(name)
    if value in (None, ""):
        return None
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError as error:
        raise RequestError(
            f"{value!r} is no moment",
            where=f"param {name!r} of the run",
            fix="write it as in 2013-01-31T12:00Z",
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _day(params: Mapping[str, Any], name: str) -> date | None:
    value = params.get(name)
    if value in (None, ""):
        return None
    try:
        return date.fromisoformat(str(value))
    except ValueError as error:
        raise RequestError(
            f"{value!r} is no day", where=f"param {name!r} of the run", fix="write it as in 2013-01-31"
        ) from error

"""How long what a lifecycle leaves behind is kept."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from windtunnel.spec.model import SpecModel

_Kept = Annotated[int, Field(ge=1, le=36_600)]
"""Days."""


class Retention(SpecModel):
    """What `retain` may take away, once a day. What serves, may serve again or answered a prediction that is
    still in the log stays, however old it is."""

    unreferenced_days: Annotated[int, Field(ge=7, le=36_600)] = 30
    """Bundles and snapshots that nothing refers to any more, such as those of refused challengers, from when
    a run made or used them last: a week at least, in which the longest run should end."""
    record_days: _Kept = 90
    """Stage records, task logs, cached results and the monitor's pages; the newest runs stay. So long a
    bundle stays, too, that the gate let pass."""
    prediction_days: _Kept | None = None
    """Predictions: of serving from the day of their answer, of batch scoring from when they were written;
    null: for ever."""
    feature_days: _Kept | None = None
    """Clean partitions, quarantined rows and feature rows, from the newest day that all sources and views
    have; null: for ever."""

"""How a lifecycle is watched once it serves, and when what is seen starts a training by itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from windtunnel.spec.model import SpecModel
from windtunnel.spec.values import Cron, Duration, FunctionRef

FARTHEST: Final = timedelta(days=92)
"""How far back rows are looked for by count, and how much farther for labels that are late."""

Seasons = Literal["none", "weekday", "hour", "weekday_hour"]


class Retrain(SpecModel):
    """When a bad finding is answered by a training; the gate decides over its model as over any other."""

    on_drift: bool = False
    """Train by itself when drift or worse quality lasts; false: only say so."""
    sustained: Annotated[int, Field(ge=1, le=100)] = 2
    """Windows in a row that must be bad before a training starts, and good before all is well again."""
    cool_down: Duration = timedelta(hours=24)
    """Time between the starts of two such trainings, at least."""
    per_week: Annotated[int, Field(ge=1, le=1000)] = 2
    """Such trainings in any seven days, at most."""


class Monitoring(SpecModel):
    """What `monitor` looks at: the newest predictions beside the rows that the model was judged on."""

    schedule: Cron | None = None
    """When the monitor DAG runs; null means by hand."""
    window: Duration = timedelta(hours=24)
    """The current window: predictions of this long, up to the moment of the run."""
    rows: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """The current window by count: this many newest predictions, however old; null: by `window`."""
    min_rows: Annotated[int, Field(ge=1)] = 500
    """With fewer predictions than this a window says nothing, neither good nor bad."""
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.01
    """Share of quiet windows that may be called drifted, over all columns together."""
    seasons: Seasons = "none"
    """Compare like with like: rows of a weekday, an hour of the day or both with such rows alone."""
    skew_rows: Annotated[int, Field(ge=0, le=100_000)] = 200
    """Predictions whose features are computed again offline, to compare them with those served; 0: none."""
    embedding: FunctionRef | None = None
    """`embedding(features)` → a matrix with one row of numbers for each row; its shift is measured too."""
    retrain: Retrain = Retrain()

    @model_validator(mode="after")
    def _a_window_can_be_enough(self) -> Monitoring:
        if self.rows is not None and self.rows < self.min_rows:
            raise ValueError(
                f"rows {self.rows} is below minRows {self.min_rows}, so no window would ever do; raise it"
            )
        return self

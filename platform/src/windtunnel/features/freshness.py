"""How fresh a view is: what `publish` writes, and what alerts and people read.

`<lifecycle>/freshness/<view>.json` holds the newest state of each view. Whether it is stale depends on the
moment of asking, so it is computed by the reader.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from windtunnel.digests import canonical_json

if TYPE_CHECKING:
    from datetime import timedelta

    from windtunnel.features.online.online_marker import Materialized, Slice
    from windtunnel.objects import ObjectStore


@dataclass(frozen=True)
class ViewFreshness:
    """A view of the online store, as it was published.

    `newest_event` is the newest event timestamp of all that was materialized (UTC; None: nothing ever was);
    `end` the newest day (ISO date) that a run was published for. `rows` (keys written), `bytes` (of feature
    files) and `seconds` are of the run that was published last. `objective_seconds` is the lifecycle's
    freshness objective, None where it has none.
    """

    view: str
    newest_event: datetime | None
    end: str
    rows: int
    bytes: int
    seconds: float
    objective_seconds: float | None
    published: datetime

    def age_seconds(self, now: datetime) -> float | None:
        """Of the newest event, 0 for one that is dated ahead; None where there is none."""
        return max(0.0, (now - self.newest_event).total_seconds()) if self.newest_event else None

    def is_stale(self, now: datetime) -> bool:
        """Whether the objective is missed; a view without an objective never is."""
        if self.objective_seconds is None:
            return False
        age = self.age_seconds(now)
        return age is None or age > self.objective_seconds

    def to_json(self) -> dict[str, Any]:
        moments = {name: _text(getattr(self, name)) for name in ("newest_event", "published")}
        return {**asdict(self), **moments}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ViewFreshness:
        newest = value["newest_event"]
        return cls(
            **{
                **value,
                "newest_event": datetime.fromisoformat(newest) if newest else None,
                "published": datetime.fromisoformat(value["published"]),
            }
        )


def measure(
    view: str,
    filled: Materialized,
    days: Slice,
    objective: timedelta | None,
    before: ViewFreshness | None,
    now: datetime,
) -> ViewFreshness:
    """Of a view whose `days` a run has filled; `before` is what was published last."""
    slices = [m for (first, last), m in filled.slices.items() if first <= days[1] and days[0] <= last]
    return ViewFreshness(
        view=view,
        newest_event=filled.newest_event,
        end=max(str(days[1]), before.end if before else ""),
        rows=sum(marker.rows for marker in slices),
        bytes=sum(marker.bytes for marker in slices),
        seconds=round(sum(marker.seconds for marker in slices), 2),
        objective_seconds=objective.total_seconds() if objective else None,
        published=now,
    )


def write_freshness(store: ObjectStore, lifecycle: str, freshness: ViewFreshness) -> None:
    store.put(f"{freshness_folder(lifecycle)}/{freshness.view}.json", canonical_json(freshness.to_json()))


def read_freshness(store: ObjectStore, lifecycle: str) -> dict[str, ViewFreshness]:
    """By view, of all views that were ever published."""
    found = (
        ViewFreshness.from_json(json.loads(store.get(entry.key)))
        for entry in store.list(freshness_folder(lifecycle))
        if entry.key.endswith(".json")
    )
    return {freshness.view: freshness for freshness in found}


def freshness_folder(lifecycle: str) -> str:
    """Where the states of its views stand."""
    return f"{lifecycle}/freshness"


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None

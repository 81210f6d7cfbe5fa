"""Fill the online store from the offline store, and say what was done.

The work is done by `materialization_engine.BatchMaterializationEngine`, a plugin that Feast's configuration
names. It is a module of its own because it has to import Feast, which takes seconds.
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from windtunnel.errors import SpecError

if TYPE_CHECKING:
    from datetime import datetime

    from feast import FeatureStore

ENGINE = "windtunnel.features.online.materialization_engine.BatchMaterializationEngine"
"""What Feast's configuration says: `batch_engine: {"type": ENGINE}`."""


@dataclass(frozen=True)
class MaterializationReport:
    """What a materialization did; two of them can be added."""

    written: int = 0
    """Rows that are in the online store now; one per key, unless the offline store gave a key twice."""
    skipped: int = 0
    """Rows that were older than what the online store already held."""
    bytes: int = 0
    """Keys, fields and values of the written and the skipped rows, as they were sent."""
    newest_event: datetime | None = None
    """The newest event timestamp among them, in UTC."""

    def __add__(self, other: MaterializationReport) -> MaterializationReport:
        events = [report.newest_event for report in (self, other) if report.newest_event]
        return MaterializationReport(
            self.written + other.written,
            self.skipped + other.skipped,
            self.bytes + other.bytes,
            max(events, default=None),
        )


def materialize_view(store: FeatureStore, view: str, start: datetime, end: datetime) -> MaterializationReport:
    """The newest row of every key with start <= event timestamp <= end → the online store.

    Goes through Feast, so that its registry knows: the interval is recorded when everything was written, and
    not at all when something failed. Raises StoreError or PermanentError for faults of the online store,
    DataError for values that it cannot hold, and SpecError when the store is configured with another engine.
    """
    engine = store._get_provider().batch_engine
    if not isinstance(getattr(engine, "totals", None), MaterializationReport):
        raise SpecError(
            f"{type(engine).__name__} does not report what it writes",
            where="batch_engine",
            fix=f"configure the feature store with {ENGINE}",
        )
    before = engine.totals
    engine.totals = MaterializationReport()
    try:
        # Feast prints coloured lines.
        with contextlib.redirect_stdout(io.StringIO()):
            store.materialize(start, end, [view])
        report: MaterializationReport = engine.totals
        return report
    finally:
        engine.totals = before + engine.totals

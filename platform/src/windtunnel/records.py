"""Stage records: when a stage ran, how long, how much it took, what came out, in the object store.

Written once, by the stage's own process or, where that died without a word, by who saw it die.

`<lifecycle>/runs/<run_id>/<stage>[.<view>][.<map_index>].<try>.json`
"""

from __future__ import annotations

import json
import re
import resource
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from windtunnel.digests import canonical_json
from windtunnel.errors import WindtunnelError
from windtunnel.spec.failures import Reason

if TYPE_CHECKING:
    import logging
    from datetime import datetime

    from windtunnel.objects import ObjectStore
    from windtunnel.spec.stages import StageResult


_WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


@dataclass(frozen=True)
class Measured:
    """Seconds of wall clock and CPU, and the peak resident set in bytes; children that ended are counted."""

    seconds: float
    cpu_seconds: float
    max_memory_bytes: int


class Usage:
    """Measures from its making on."""

    def __init__(self) -> None:
        self._clock = time.monotonic()
        self._cpu = _cpu_seconds()

    def measure(self) -> Measured:
        unit = 1 if sys.platform == "darwin" else 1024
        peak = max(resource.getrusage(who).ru_maxrss for who in _WHO)
        return Measured(
            seconds=round(time.monotonic() - self._clock, 3),
            cpu_seconds=round(_cpu_seconds() - self._cpu, 3),
            max_memory_bytes=peak * unit,
        )


def _cpu_seconds() -> float:
    usages = (resource.getrusage(who) for who in _WHO)
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


@dataclass(frozen=True)
class StageRecord:
    """One try of one stage; `result` is None and `error` says why when it failed."""

    stage: str
    run_id: str
    try_number: int
    map_index: int | None
    started: datetime
    ended: datetime
    usage: Measured
    result: StageResult | None
    error: str
    pod: str
    spec_digest: str
    code_version: str
    view: str = ""
    """The feature view that the stage was about, where it is about one."""
    reason: Reason | None = None
    """Why it failed, in one word; None when it did not."""
    because: str = ""
    """Why the run was started, where somebody said so."""
    stage_class: str = ""
    """The class of its pod; empty on a laptop."""
    price_per_hour: float | None = None
    """What an hour of that class cost when it ran, in the currency of the chart's values; None: not known."""

    @property
    def cost(self) -> float | None:
        """What the try cost; None without a price."""
        if self.price_per_hour is None:
            return None
        return round(self.usage.seconds / 3600 * self.price_per_hour, 6)

    def key(self, lifecycle: str) -> str:
        parts = [self.stage, self.view, "" if self.map_index is None else str(self.map_index)]
        name = ".".join(part for part in [*parts, str(self.try_number)] if part)
        return f"{lifecycle}/runs/{run_folder(self.run_id)}/{name}.json"

    def to_json(self) -> dict[str, Any]:
        outputs = self.result.outputs if self.result else {}
        return {
            "stage": self.stage,
            "run_id": self.run_id,
            "try": self.try_number,
            "view": self.view,
            "map_index": self.map_index,
            "started": self.started.isoformat(),
            "ended": self.ended.isoformat(),
            "seconds": self.usage.seconds,
            "cpu_seconds": self.usage.cpu_seconds,
            "max_memory_bytes": self.usage.max_memory_bytes,
            "class": self.stage_class,
            "price_per_hour": self.price_per_hour,
            "cost": self.cost,
            "rows": sum(output.rows for output in outputs.values()),
            "bytes": sum(output.bytes for output in outputs.values()),
            "outcome": "success" if self.result else "failed",
            "cached": bool(self.result and self.result.cached),
            "reason": str(self.reason or ""),
            "error": self.error,
            "because": self.because,
            "pod": self.pod,
            "spec_digest": self.spec_digest,
            "code_version": self.code_version,
            "facts": self.result.facts if self.result else {},
            "outputs": {name: output.to_json() for name, output in outputs.items()},
        }


def run_folder(run_id: str) -> str:
    """A run id as one segment of a key; Airflow's hold `+`, `:` and more."""
    return re.sub(r"[^A-Za-z0-9_.=+@:,()\-]", "_", run_id).strip(".:") or "_"


def write_record(store: ObjectStore, lifecycle: str, record: StageRecord, log: logging.Logger) -> None:
    """Write once. A record that cannot be written is logged: it must not fail the work that it describes."""
    try:
        if not store.put_new(record.key(lifecycle), canonical_json(record.to_json())):
            log.info("there is a record of this try already: %s", record.key(lifecycle))
    except WindtunnelError as error:
        log.warning("no stage record was written: %s", error)


def record_death(store: ObjectStore, lifecycle: str, record: StageRecord) -> bool:
    """Record a failure that the stage's own process could not tell, or could not tell rightly.

    What the process wrote stays, but `stopped`, which is all that one knows who is asked to end, gives way to
    who knows why it was asked. Whether the record now says this; raises StoreError.
    """
    key = record.key(lifecycle)
    if store.put_new(key, canonical_json(record.to_json())):
        return True
    found = json.loads(store.get(key))
    if found.get("reason") != Reason.STOPPED or record.reason in (Reason.STOPPED, Reason.UNKNOWN):
        return bool(found.get("reason") == record.reason and found.get("error") == record.error)
    store.put(key, canonical_json({**found, "reason": str(record.reason), "error": record.error}))
    return True


def read_records(store: ObjectStore, lifecycle: str, run_id: str | None = None) -> list[dict[str, Any]]:
    """The records of a run, or of all runs, in the order in which the stages started."""
    prefix = f"{lifecycle}/runs" + (f"/{run_folder(run_id)}" if run_id else "")
    records = [json.loads(store.get(entry.key)) for entry in store.list(prefix)]
    return sorted(records, key=lambda record: str(record["started"]))

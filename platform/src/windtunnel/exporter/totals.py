"""What stage records and ledger entries of a lifecycle add up to.

Counters must not fall when the exporter starts anew (Prometheus would take it for a reset and count
everything twice), and reading years of records at each start is no way either. So totals are kept in the
object store, with the moment up to which they count.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from windtunnel.spec.failures import Reason, recorded_reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from windtunnel.objects import Entry

VERSION: Final = 1
OVERLAP: Final = timedelta(minutes=15)
"""How late an object may show up in a listing, after one that was written later."""
MOST_STAGES: Final = 32
MOST_SOURCES: Final = 64
MOST_ACTIONS: Final = 32
MOST_PARTS: Final = 64
MOST_KINDS: Final = 16
MOST_STOPPED: Final = 512
OTHER: Final = "other"
"""Where what is beyond those is counted."""
_GAPS: Final = 8
_FEWEST_GAPS: Final = 2
_WITH_A_VERDICT: Final = "rollout"
_BY_ITSELF: Final = ("scheduled__", "asset_triggered__")
"""How Airflow's run ids begin when nobody started the run by hand."""


@dataclass
class StageTotals:
    """Of one stage. Moments are seconds since the epoch, as Prometheus wants them."""

    runs: dict[str, int] = field(default_factory=dict)
    """By outcome."""
    failures: dict[str, int] = field(default_factory=dict)
    """By reason."""
    last_failure: dict[str, float] = field(default_factory=dict)
    """By reason."""
    failing: dict[str, tuple[str, float, str]] = field(default_factory=dict)
    """Parts of the stage (a view, a slice, a shard) whose last try failed: its run, its start, its reason."""
    last_success: float | None = None
    cpu_seconds: float = 0.0
    cost: float | None = None
    """None until a record names what it cost."""
    last_run: str = ""
    last_start: float = 0.0
    """Of the run, by the first record of it that was read."""
    last_seconds: float = 0.0
    peak_memory: int = 0
    starts: dict[str, float] = field(default_factory=dict)
    """First start of each of the last runs that came by themselves, and will come again."""

    def count(self, record: Mapping[str, Any]) -> None:
        outcome = str(record["outcome"])
        self.runs[outcome] = self.runs.get(outcome, 0) + 1
        self.cpu_seconds += _number(record.get("cpu_seconds"))
        if (cost := record.get("cost")) is not None:
            self.cost = (self.cost or 0.0) + _number(cost)
        self.fail(record)
        if outcome == "success":
            self.last_success = max(self.last_success or 0.0, _moment(record["ended"]))
            self._mend(record)
        self._last(record)

    def fail(self, record: Mapping[str, Any]) -> None:
        """Count the reason alone: also that of a failure which is explained after it was counted."""
        reason = recorded_reason(record)
        if reason is not None:
            self.failures[reason] = self.failures.get(reason, 0) + 1
            self.last_failure[reason] = max(self.last_failure.get(reason, 0.0), _moment(record["ended"]))
            if reason is not Reason.STOPPED:  # by somebody who knows
                part = _bounded(_part(record), self.failing, MOST_PARTS)
                self.failing[part] = (str(record["run_id"]), _moment(record["started"]), str(reason))

    def _mend(self, record: Mapping[str, Any]) -> None:
        """A success mends its own part, and all that failed in runs before."""
        run, started, mended = str(record["run_id"]), _moment(record["started"]), _part(record)
        self.failing = {
            part: (failed_run, failed_start, reason)
            for part, (failed_run, failed_start, reason) in self.failing.items()
            if failed_start > started or (part != mended and failed_run == run)
        }

    @property
    def longest_gap(self) -> float | None:
        """None with fewer than three runs that came by themselves."""
        starts = sorted(self.starts.values())
        gaps = [after - before for before, after in pairwise(starts)]
        return max(gaps) if len(gaps) >= _FEWEST_GAPS else None

    def _last(self, record: Mapping[str, Any]) -> None:
        run, started = str(record["run_id"]), _moment(record["started"])
        seconds, memory = _number(record.get("seconds")), int(_number(record.get("max_memory_bytes")))
        if run == self.last_run:
            self.last_seconds = max(self.last_seconds, seconds)
            self.peak_memory = max(self.peak_memory, memory)
        elif started >= self.last_start:
            self.last_run, self.last_start = run, started
            self.last_seconds, self.peak_memory = seconds, memory
        if self._comes_again(record):
            self.starts[run] = min(started, self.starts.get(run, started))
            newest = sorted(self.starts.items(), key=lambda item: item[1])[-_GAPS - 1 :]
            self.starts = dict(newest)

    @staticmethod
    def _comes_again(record: Mapping[str, Any]) -> bool:
        """Whether a run like this one can be waited for: not what somebody, or drift, had a reason for, and
        no rollout, which waits for a verdict.
        """
        by_itself = str(record["run_id"]).startswith(_BY_ITSELF) and not record.get("because")
        return by_itself and record["stage"] != _WITH_A_VERDICT


@dataclass
class RetentionTotals:
    """What `retain` found and took away, by kind: objects and bytes."""

    kept: dict[str, tuple[int, int]] = field(default_factory=dict)
    """At the newest sweep."""
    swept: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By all of them."""
    at: float = 0.0
    """When the newest one ended."""

    def count(self, facts: Mapping[str, Any], ended: float) -> None:
        kept, swept = _amounts(facts["kept"]), _amounts(facts["swept"])
        if facts.get("dry_run"):
            return
        if ended >= self.at:
            self.kept, self.at = kept, ended
        # Of every kind that there is, from the first sweep on: a counter that begins at 7 has not grown.
        for name, (objects, size) in (dict.fromkeys(kept, (0, 0)) | swept).items():
            kind = _bounded(name, self.swept, MOST_KINDS)
            before = self.swept.get(kind, (0, 0))
            self.swept[kind] = (before[0] + objects, before[1] + size)


def _amounts(told: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Of the first kinds; what is beyond those is nobody's of ours."""
    return {
        str(kind): (int(_number(amount["objects"])), int(_number(amount["bytes"])))
        for kind, amount in list(told.items())[:MOST_KINDS]
    }


@dataclass
class Totals:
    """Of one lifecycle."""

    stages: dict[str, StageTotals] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)
    """Rows set aside, by source."""
    retention: RetentionTotals = field(default_factory=RetentionTotals)
    ledger: dict[str, int] = field(default_factory=dict)
    """Entries by action."""
    ledger_last: dict[str, float] = field(default_factory=dict)
    ledger_number: int = 0
    """Of the last entry that is counted."""
    newest: datetime | None = None
    """When the newest record that is counted was written, by the store's clock."""
    recent: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Records counted that were written shortly before that: by key, when, and their entity tags."""
    stopped: list[str] = field(default_factory=list)
    """Keys of the last records counted that say `stopped`: what may still be explained, however late."""

    def is_new(self, entry: Entry) -> bool:
        """Whether a record was not counted yet, or was explained since."""
        late = self.newest is None or entry.modified > self.newest - OVERLAP
        return late and self.recent.get(entry.key) != _stamp(entry)

    def count(self, entry: Entry, record: Mapping[str, Any] | None) -> None:
        """Count a record once; None for one that cannot be read, which is remembered as seen.

        Raises KeyError, TypeError, ValueError for what is no stage record: nothing of it is counted then.
        """
        seen = entry.key in self.recent or entry.key in self.stopped
        self._remember(entry)
        if record is None:
            return
        StageTotals().count(record)  # raises before anything is added
        rejected, retained = _rejected(record), _retained(record)
        stage = self.stages.setdefault(
            _bounded(str(record["stage"]), self.stages, MOST_STAGES), StageTotals()
        )
        if recorded_reason(record) is Reason.STOPPED:
            self.stopped = [*(key for key in self.stopped if key != entry.key), entry.key][-MOST_STOPPED:]
        if seen:
            stage.fail(record)
            return
        stage.count(record)
        for source, rows in rejected.items():
            name = _bounded(source, self.rejected, MOST_SOURCES)
            self.rejected[name] = self.rejected.get(name, 0) + rows
        if retained:
            self.retention.count(retained, _moment(record["ended"]))

    def enter(self, number: int, data: bytes) -> None:
        """Count an entry of the ledger once.

        Raises AttributeError, KeyError, TypeError, ValueError for what is no entry: nothing of it is counted
        then, and it is seen all the same.
        """
        self.ledger_number = number
        entry = json.loads(data)
        written, action = _moment(entry["written"]), str(entry.get("action", OTHER))
        action = _bounded(action, self.ledger, MOST_ACTIONS)
        self.ledger[action] = self.ledger.get(action, 0) + 1
        self.ledger_last[action] = max(self.ledger_last.get(action, 0.0), written)

    def _remember(self, entry: Entry) -> None:
        self.recent[entry.key] = _stamp(entry)
        if self.newest is None or entry.modified > self.newest:
            self.newest = entry.modified
            oldest = (self.newest - OVERLAP).astimezone(UTC).isoformat(timespec="microseconds")
            self.recent = {key: stamp for key, stamp in self.recent.items() if stamp[0] > oldest}

    def to_json(self) -> dict[str, Any]:
        newest = self.newest.isoformat() if self.newest else None
        return {**asdict(self), "newest": newest, "version": VERSION}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Totals:
        """Raises KeyError, TypeError, ValueError for what is none of this version."""
        if value.pop("version") != VERSION:
            raise ValueError("written by another release")
        stages = {name: _stage_totals(stage) for name, stage in value.pop("stages").items()}
        newest = value.pop("newest")
        retention = _retention_totals(value.pop("retention", {}))
        value["recent"] = {key: (str(when), str(tag)) for key, (when, tag) in value["recent"].items()}
        moment = datetime.fromisoformat(newest) if newest else None
        return cls(**value, stages=stages, retention=retention, newest=moment)


def _stage_totals(value: dict[str, Any]) -> StageTotals:
    failing = {
        part: (str(run), float(start), str(why)) for part, (run, start, why) in value.pop("failing").items()
    }
    return StageTotals(**value, failing=failing)


def _retention_totals(value: Mapping[str, Any]) -> RetentionTotals:
    """Empty where they were kept by a release that knew of none."""
    amounts = {
        name: {str(kind): (int(objects), int(size)) for kind, (objects, size) in value[name].items()}
        for name in ("kept", "swept")
        if name in value
    }
    return RetentionTotals(**amounts, at=float(value.get("at", 0.0)))


def _retained(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a sweep tells; raises KeyError, TypeError, ValueError for what is none."""
    if record["stage"] != "retain" or record["outcome"] != "success":
        return {}
    facts: Mapping[str, Any] = record["facts"]
    RetentionTotals().count(facts, 0.0)
    return facts


def _part(record: Mapping[str, Any]) -> str:
    """Which of a stage's parts a record is about; empty for one that has none."""
    index = record.get("map_index")
    return ".".join(
        part for part in (str(record.get("view") or ""), "" if index is None else str(index)) if part
    )


def _rejected(record: Mapping[str, Any]) -> dict[str, int]:
    """Rows that this try set aside, by source; a cached result set none aside again."""
    if record["stage"] != "extract" or record.get("cached"):
        return {}
    rejected: Mapping[str, Any] = (record.get("facts") or {}).get("rejected") or {}
    return {str(source): int(_number(rows)) for source, rows in rejected.items()}


def _bounded(name: str, known: Mapping[str, Any], most: int) -> str:
    """The name, or `other` once there are so many: what is counted by name must not grow for ever."""
    return name if name in known or len(known) < most else OTHER


def _stamp(entry: Entry) -> tuple[str, str]:
    # to the microsecond always, because they are compared as texts
    return entry.modified.astimezone(UTC).isoformat(timespec="microseconds"), entry.etag


def _number(value: Any) -> float:
    """Raises ValueError for NaN and infinity, after which a total would never be a number again."""
    number = float(value or 0.0)
    if not math.isfinite(number):
        raise ValueError(f"{number} is no figure")
    return number


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()

"""The policy: from what was measured, window after window, to "train again" or not. Pure functions.

A window speaks for a retraining (`votes`), against it, or, with too few rows, not at all. Only windows that
bring new rows count: counted from the newest one back, one that shares more than a tenth of its time with the
window counted after it is left out. An impatient schedule would make one bad day look like many. Windows in
a row, and windows that somebody asked for, are counted each among their own (`Measure.series`), and so are
those of serving and of batch scoring: a person who looks at a bad hour does not make it two bad windows.

The alarm has hysteresis in both directions: it takes `sustained` bad windows in a row to raise it, and as
many good ones to end it. It belongs to a model version: a new champion starts without. While it lasts, a bad
window asks for a training, unless

- the lifecycle leaves that to people (`retrain.onDrift`),
- no day is published that the champion, or the last training that made a model, did not have yet,
- the training before began less than `retrain.coolDown` ago, or
- the last seven days have seen `retrain.perWeek` trainings.

How many trainings there were, the ledger tells (entries `retraining`), so nothing is counted twice and
nothing is forgotten when a pod dies.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from windtunnel.monitoring.measures import Policy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from windtunnel.monitoring.measures import Measure, PolicyState
    from windtunnel.spec.monitoring import Retrain

DRIFT: Final = "drift"
RETRAINING: Final = "retraining"
RETRAINED: Final = "retrained"
RECOVERED: Final = "recovered"
"""Actions of the ledger in this story; `retrained` is written by the train stage."""
WEEK: Final = timedelta(days=7)
_SHOWN: Final = 5
_APART: Final = 0.9
"""Of a window's length, from its end back to the end of the one before it, at least."""


@dataclass(frozen=True)
class Decision:
    """What follows from a measure: `policy` stands in it; the rest says what the ledger has to tell."""

    policy: Policy
    seen: bool = False
    """An alarm was raised that the ledger does not know yet."""
    recovered: bool = False
    """The alarm that the ledger tells of last is over."""


@dataclass(frozen=True)
class _Alarm:
    raised: bool
    bad: int
    good: int
    """Windows in a row, up to the newest that counts; one of the two is 0."""


def decide(
    measures: Sequence[Measure],
    current: Measure,
    entries: Sequence[Mapping[str, Any]],
    now: datetime,
    rule: Retrain,
    *,
    cutoff: date | None = None,
    newest_cutoff: date | None = None,
) -> Decision:
    """What follows from `current`, after the `measures` before it and the ledger's `entries` (oldest first).

    `cutoff` is the first day that the champion has seen nothing of, `newest_cutoff` the same of a model that
    would be trained now; None: not known, and nothing speaks against a training then. Entries of the run that
    made `current` are its own, from a try before: they do not count against it.
    """
    told = [entry for entry in entries if entry.get("run_id") != current.run_id]
    known = [one for one in measures if one.window.end <= current.window.end and one.series == current.series]
    alarm = _alarm(counted([*known, current], current.version), rule.sustained)
    used = _starts_since(told, now - WEEK)
    against = _past(measures, current) or _nothing_new(told, cutoff, newest_cutoff)
    state, reason = _Answer(current, alarm, told, now, rule).state(used, against)
    policy = Policy(
        state=state,
        streak=alarm.bad,
        retrain=state == "retrain",
        reason=reason,
        next_allowed=next_allowed(told, now, rule) if alarm.raised and rule.on_drift else None,
        used_this_week=len(used) + (state == "retrain"),
    )
    episode = _open_episode(told, current)
    return Decision(
        policy,
        seen=alarm.raised and (episode is None or episode.get("version") != current.version),
        recovered=episode is not None
        and not alarm.raised
        and alarm.good >= rule.sustained
        and _is_good(current)
        and not _past(measures, current),
    )


def votes(measure: Measure) -> list[str]:
    """What in it speaks for a retraining, in words; empty: nothing does.

    Skew, stale features and damaged data do not: a model trained anew would be served no better inputs. The
    estimate of the quality is heard only while there are too few labels for the quality itself.
    """
    found = []
    if measure.drift and measure.drift.drifted:
        names = measure.drift.drifted
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        found.append(f"drift of {', '.join(names[:_SHOWN])}{more}")
    quality, estimated = measure.quality, measure.estimated
    if quality and quality.worse:
        found.append(f"{quality.metric} {quality.loss:.4g}, {quality.reference_loss:.4g} when it was judged")
    if measure.concept and measure.concept.detected:
        found.append("the relation of features and label has changed")
    judged = quality is not None and quality.enough
    if not judged and estimated and estimated.worse:
        found.append(
            f"{estimated.metric} estimated at {estimated.value:.4g}, {estimated.reference:.4g} when it was "
            "judged"
        )
    return found


def counted(measures: Sequence[Measure], version: str) -> list[Measure]:
    """The windows of a version that count, oldest first.

    Of several measures of the same window the one made last stands for it. They are chosen from the newest
    one back, so that it always counts; windows that share more than a tenth with the one counted after them,
    and those with too few rows, do not.
    """
    of_window = {
        (measure.window.end, measure.window.start): measure
        for measure in sorted(measures, key=lambda one: one.made)
        if measure.version == version and measure.window.enough
    }
    chosen: list[Measure] = []
    for _, measure in sorted(of_window.items(), reverse=True):
        if not chosen or _lies_before(measure, chosen[-1]):
            chosen.append(measure)
    return chosen[::-1]


def _lies_before(measure: Measure, later: Measure) -> bool:
    """Whether all of it but a tenth does."""
    length = later.window.end - later.window.start
    return later.window.end - measure.window.end >= _APART * length


def next_allowed(entries: Sequence[Mapping[str, Any]], now: datetime, rule: Retrain) -> datetime | None:
    """From when on the cool-down and the budget allow another training; None: they allow it now."""
    starts = sorted(_starts_since(entries, datetime.min.replace(tzinfo=UTC)))
    limits = [starts[-1] + rule.cool_down] if starts else []
    if len(starts) >= rule.per_week:
        limits.append(starts[-rule.per_week] + WEEK)
    latest = max(limits, default=now)
    return latest if latest > now else None


@dataclass(frozen=True)
class _Answer:
    current: Measure
    alarm: _Alarm
    told: Sequence[Mapping[str, Any]]
    now: datetime
    rule: Retrain

    def state(self, used: Sequence[datetime], against: str) -> tuple[PolicyState, str]:
        """`used`: starts of trainings in the last week; `against`: why none would be of use, or empty."""
        found = "; ".join(votes(self.current)) if self.current.window.enough else ""
        if not self.alarm.raised:
            return self._calm(found)
        if not found:
            return "watching", self._nothing_now()
        for_windows = f"{found}, for {_windows(self.alarm.bad)}"
        if not self.rule.on_drift:
            return "watching", f"{for_windows}; retrain.onDrift is off, so a person decides"
        if against:
            return "watching", f"{for_windows}; {against}"
        if len(used) >= self.rule.per_week:
            return "out_of_budget", (
                f"{for_windows}; {len(used)} trainings in seven days are all that retrain.perWeek allows"
            )
        allowed = next_allowed(self.told, self.now, self.rule)
        if allowed:
            return "cooling_down", f"{for_windows}; retrain.coolDown ends at {_moment(allowed)}"
        return "retrain", for_windows

    def _calm(self, found: str) -> tuple[PolicyState, str]:
        if found:
            return "watching", f"{found}; bad windows in a row: {self.alarm.bad} of {self.rule.sustained}"
        if not self.current.window.enough:
            return "quiet", f"{self.current.window.rows:,} rows are too few to say anything"
        return "quiet", "nothing speaks for a retraining"

    def _nothing_now(self) -> str:
        if not self.current.window.enough:
            return f"{self.current.window.rows:,} rows are too few to say whether the drift is over"
        return f"nothing in this window; good windows in a row: {self.alarm.good} of {self.rule.sustained}"


def _alarm(windows: Sequence[Measure], sustained: int) -> _Alarm:
    alarm = _Alarm(raised=False, bad=0, good=0)
    for measure in windows:
        bad, good = (alarm.bad + 1, 0) if votes(measure) else (0, alarm.good + 1)
        raised = bad >= sustained or (alarm.raised and good < sustained)
        alarm = _Alarm(raised, bad, good)
    return alarm


def _starts_since(entries: Sequence[Mapping[str, Any]], since: datetime) -> list[datetime]:
    starts = [datetime.fromisoformat(entry["at"]) for entry in entries if entry.get("action") == RETRAINING]
    return [start for start in starts if start > since]


def _is_good(measure: Measure) -> bool:
    return measure.window.enough and not votes(measure)


def _past(measures: Sequence[Measure], current: Measure) -> str:
    """Why a window that a person looks back on starts nothing; empty for the newest window."""
    of_log = [one for one in measures if one.window.folder == current.window.folder]
    # what somebody asked for never holds up the windows in a row
    newer = [one for one in of_log if one.continues or not current.continues]
    newest = max((one.window.end for one in newer if one.version == current.version), default=None)
    if newest is None or newest <= current.window.end:
        return ""
    return f"a newer window, up to {_moment(newest)}, was measured before"


def _nothing_new(
    entries: Sequence[Mapping[str, Any]], cutoff: date | None, newest_cutoff: date | None
) -> str:
    """Why a training would have no day that was not trained on already; empty where it would have some."""
    if newest_cutoff is None:
        return ""
    if cutoff is not None and newest_cutoff <= cutoff:
        return "no day is published that the champion was not trained on or judged by; load newer days"
    before = _learnt(entries)
    if before and newest_cutoff <= date.fromisoformat(before):
        return "no day is published that the training before did not have; load newer days"
    return ""


def _learnt(entries: Sequence[Mapping[str, Any]]) -> str:
    """The cutoff of the last training that made a model; one that failed has used up no days. Else empty."""
    asked, learnt = "", ""
    for entry in entries:
        if entry.get("action") == RETRAINING:
            asked = entry.get("cutoff") or ""
        elif entry.get("action") == RETRAINED:
            learnt = asked
    return learnt


def _open_episode(entries: Sequence[Mapping[str, Any]], current: Measure) -> Mapping[str, Any] | None:
    """The drift that the ledger tells of last, in windows of the same series, unless it is over."""
    told = [one for one in entries if one.get("series", current.series) == current.series]
    last = next((one for one in reversed(told) if one.get("action") in (DRIFT, RECOVERED)), None)
    return last if last is not None and last["action"] == DRIFT else None


def _windows(count: int) -> str:
    return "1 window" if count == 1 else f"{count} windows in a row"


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"

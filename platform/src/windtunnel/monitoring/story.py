"""The story of drift in the ledger, and what a monitor run answers with: the policy, put to work.

    drift       an alarm was raised: windows in a row speak for a retraining
    retraining  this run asks for one; __train starts because of it
    (retrained, then refusal or promotion: the stages of that training)
    recovered   windows in a row are good again

Each entry names the measure that it stands on. It is written before the answer is given, under an identity
of its run or its episode, so a run whose pod died says the same again and nothing twice.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, timedelta
from typing import TYPE_CHECKING, Any, Final

from windtunnel.features.freshness import read_freshness
from windtunnel.ledger import Ledger
from windtunnel.monitoring.measures import measure_key, read_measures_apart
from windtunnel.monitoring.policy import DRIFT, RECOVERED, RETRAINING, WEEK, decide

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from windtunnel.monitoring.measures import Measure, Series
    from windtunnel.monitoring.policy import Decision
    from windtunnel.objects import ObjectStore
    from windtunnel.spec.lifecycle import Lifecycle

_WINDOWS: Final = 25
"""So far back the policy looks, at least."""
_PER_WINDOW: Final = 4
"""Measures that are read for each: of those with too few rows another one may stand in."""
_ENTRIES: Final = 100
"""Of the ledger, that are read at least: a drift that is not over may have been told of long ago."""
_A_RETRY: Final = timedelta(days=1)
"""So long after its first try a run may be tried again."""


def measures_before(
    store: ObjectStore, lifecycle: Lifecycle, version: str, series: Series, start: datetime, end: datetime
) -> list[Measure]:
    """The measures of a version before the window from `start` to `end`, oldest first: as many windows of its
    series, however often the schedule looks, and the newest of each other series.
    """
    apart = (end - start) / _PER_WINDOW
    count = _PER_WINDOW * max(_WINDOWS, 4 * lifecycle.spec.monitoring.retrain.sustained)
    return read_measures_apart(store, lifecycle.name, version, series, end, apart, count)


def respond(
    store: ObjectStore,
    lifecycle: Lifecycle,
    measure: Measure,
    before: Sequence[Measure],
    cutoff: date | None,
    now: datetime,
) -> tuple[Measure, dict[str, Any]]:
    """The measure of the champion with the policy's word in it, and the facts that the run answers with:
    `state`, `reason`, `retrain`, `measure` (its key), `end` (the last day to train on, ISO, or None).

    `before` are the measures of `measures_before`, `cutoff` is the champion's. Writes the ledger; the measure
    is the caller's to write. Raises StoreError, IntegrityError.
    """
    rule = lifecycle.spec.monitoring.retrain
    ledger = Ledger(store, lifecycle.name)
    end = _newest_day(store, lifecycle)
    newest_cutoff = lifecycle.cutoff(end) if end else None
    decision = decide(
        before,
        measure,
        ledger.newest(_ENTRIES, since=now - max(WEEK, rule.cool_down)),
        now,
        rule,
        cutoff=cutoff,
        newest_cutoff=newest_cutoff,
    )
    told = replace(measure, policy=decision.policy)
    facts = {
        "state": decision.policy.state,
        "reason": decision.policy.reason,
        "retrain": decision.policy.retrain,
        "measure": measure_key(measure),
        "end": end.isoformat() if end else None,
    }
    training = {"end": facts["end"], "cutoff": newest_cutoff.isoformat() if newest_cutoff else None}
    entries = _entries(told, decision, now, training)
    if entries:
        ledger.append_all(entries, since=now - _A_RETRY)
    return told, facts


def _entries(
    measure: Measure, decision: Decision, now: datetime, training: dict[str, Any]
) -> list[tuple[str, dict[str, Any]]]:
    """Identity and content of what is to be told, in order."""
    about = {
        "lifecycle": measure.lifecycle,
        "version": measure.version,
        "bundle_digest": measure.bundle,
        "run_id": measure.run_id,
        "at": now.astimezone(UTC).isoformat(),
        "reason": decision.policy.reason,
        "measure": measure_key(measure),
        "series": measure.series,
    }
    actions: list[tuple[str, dict[str, Any]]] = []
    if decision.seen:
        actions.append((DRIFT, {}))
    if decision.policy.retrain:
        actions.append((RETRAINING, training))
    if decision.recovered:
        actions.append((RECOVERED, {}))
    return [
        (f"{action}:{measure.version}:{measure.run_id}", {"action": action, **about, **more})
        for action, more in actions
    ]


def _newest_day(store: ObjectStore, lifecycle: Lifecycle) -> date | None:
    """The newest day that every view was published for; None where one never was."""
    known = read_freshness(store, lifecycle.name)
    ends = [known[view].end for view in lifecycle.spec.features.views if view in known]
    return date.fromisoformat(min(ends)) if len(ends) == len(lifecycle.spec.features.views) else None

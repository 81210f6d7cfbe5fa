"""What serving pods have counted of a champion and its challenger, read from the text of their /metrics.

`read` takes a process's counters since its start; `since` is what came on top of an earlier reading, also
when the process began anew in between. Both are plain mappings, so that pods can be added up.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Counts = Counter[tuple[str, ...]]
"""Number of events by what they are: (who, what) or (who, what, which)."""

CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"
REQUESTS: Final = "requests"
FAULTS: Final = "faults"
"""Of the challenger with the reason as third part."""
RESTARTS: Final = "restarts"
SECONDS: Final = "seconds"
"""Predictions by the time that they took; third part: upper bound of the bucket, as `repr` of a float."""
PREDICTIONS: Final = "predictions"
"""Predictions by their value, in the same way."""

_PREFIX: Final = "windtunnel_serving_"
_MOST: Final = 2.0**53
"""Nothing counts below 0 or further than this: what does would spoil the tests for all other pods."""
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})?\s+(\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True)
class Reading:
    """Counters of one serving process."""

    started: float
    """When the process began, in seconds since the epoch; 0: unknown."""
    counts: Counts
    states: frozenset[str] = field(default_factory=frozenset)
    """States that the challenger is in, as the process says."""


def read(text: str, model: str, champion: str, challenger: str) -> Reading:
    """The counters of two versions of a model, from the Prometheus text format; a line that is none is
    passed over."""
    counts: Counts = Counter()
    cumulated: dict[tuple[str, str, str], dict[float, float]] = {}
    states = set()
    started = 0.0
    for name, labels, value in _samples(text):
        if name == "process_start_time_seconds":
            started = value
            continue
        if labels.get("model") != model:
            continue
        version = labels.get("version")
        who = CHAMPION if version == champion else CHALLENGER if version == challenger else None
        if who is None:
            continue
        name = name.removeprefix(_PREFIX)
        if name in _HISTOGRAMS:
            series = (who, _HISTOGRAMS[name], labels.get("role", ""))
            bound = _number(labels.get("le", ""))
            if bound is not None:
                cumulated.setdefault(series, {})[bound] = value
        elif name == "challenger_state" and who == CHALLENGER and value:
            states.add(labels.get("state", ""))
        else:
            _count(counts, who, name, labels, value)
    for (who, what, _), buckets in cumulated.items():
        before = 0.0
        for bound in sorted(buckets):
            counts[who, what, repr(bound)] += max(0, int(buckets[bound] - before))
            before = buckets[bound]
    return Reading(started, counts, frozenset(states))


_HISTOGRAMS: Final = {"predict_seconds_bucket": SECONDS, "predictions_bucket": PREDICTIONS}


def _count(counts: Counts, who: str, name: str, labels: Mapping[str, str], value: float) -> None:
    number = int(value)
    if who == CHAMPION:
        # what it answered in the challenger's stead has the role `fallback`: it would dilute its faults
        if name == "requests_total" and labels.get("role") == CHAMPION:
            failed = labels.get("code") == "500"
            if failed or labels.get("code") == "200":  # others reached no model: bad requests, a store away
                counts[who, REQUESTS] += number
            if failed:
                counts[who, FAULTS] += number
    elif name == "challenger_requests_total":
        counts[who, REQUESTS] += number
    elif name == "challenger_faults_total":
        counts[who, FAULTS, labels.get("reason", "")] += number
    elif name == "challenger_restarts_total":
        counts[who, RESTARTS] += number


def since(before: Reading, now: Reading) -> Counts:
    """What was counted between two readings of one pod.

    A process that began anew counts from 0: then all that it has counted is new. A single count that has
    fallen, as that of predictions does when it gets other buckets, began anew by itself.
    """
    if now.started != before.started:
        return Counter(now.counts)
    anew = {key[:2] for key, number in before.counts.items() if now.counts[key] < number}
    # zeros stay: they name the buckets of the histograms
    return Counter(
        {key: number - (0 if key[:2] in anew else before.counts[key]) for key, number in now.counts.items()}
    )


def _samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for line in text.splitlines():
        if not line.startswith((_PREFIX, "process_start_time_seconds")):
            continue
        found = _SAMPLE.match(line)
        if found is None:
            continue
        name, labels, number = found.groups()
        value = _number(number)
        if value is not None and 0.0 <= value <= _MOST:
            yield name, {key: _plain(text) for key, text in _LABEL.findall(labels or "")}, value


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _plain(value: str) -> str:
    if "\\" not in value:
        return value
    return _ESCAPED.sub(lambda found: {"n": "\n"}.get(found[1], found[1]), value)

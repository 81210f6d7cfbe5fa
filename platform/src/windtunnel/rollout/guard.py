"""The guard: shall the challenger keep its traffic? Pure: counters in, a verdict out, no clock, no cluster.

Hard failures need no statistics: a death of its process, an answer that is no number, a bundle that a pod
rejects, and three faults in ten seconds that are half of what it was asked. All else is left to always-valid
tests against the champion on the same traffic (`rollout.comparisons`), one each for

    faults         the challenger's share exceeds the champion's by more than errorMargin
    fault limit    it exceeds maxErrorRate
    latency        more than 1 % of its answers, beyond the champion's own, take over maxLatencyRatio times as
                   long as the slowest 1 % of the champion's
    predictions    they lie higher, or lower, than the champion's by more than maxPredictionShift

that together take a challenger back which did nothing wrong with a chance of at most ALPHA in all its time,
however often one looks.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from windtunnel.rollout.comparisons import Comparisons, faults, requests
from windtunnel.rollout.counters import (
    CHALLENGER,
    CHAMPION,
    FAULTS,
    REQUESTS,
    RESTARTS,
    Counts,
    Reading,
    since,
)
from windtunnel.rollout.evidence import Evidence

if TYPE_CHECKING:
    from collections.abc import Mapping

    from windtunnel.spec.servedmodel import GuardSettings

_WINDOW_SECONDS: Final = 10.0
_WINDOW_FAULTS: Final = 3
_POD_RESTARTS: Final = 2
_HARD: Final = {"died": "ChallengerDied", "not_a_number": "NotANumber"}
_REPEATED: Final = {"timeout": "RepeatedTimeouts", "overloaded": "Overloaded"}


@dataclass(frozen=True)
class Healthy:
    """Enough requests, and nothing against the challenger."""

    message: str


@dataclass(frozen=True)
class Broken:
    """The challenger must go. `reason` is in CamelCase, `message` for people."""

    reason: str
    message: str
    evidence: Evidence


@dataclass(frozen=True)
class Waiting:
    """Nothing against the challenger so far, and too little for it."""

    message: str


Verdict = Healthy | Broken | Waiting


class Guard:
    """Watches one challenger beside one champion. Once broken, it stays so.

    forgive: what the processes had counted before the first look is not held against the challenger.
    before: what an earlier guard of the same challenger had seen; this one goes on from there.
    """

    def __init__(
        self, settings: GuardSettings, *, forgive: bool = False, before: Evidence | None = None
    ) -> None:
        self._settings = settings
        self._forgive = forgive
        self._readings: dict[str, Reading] = {}
        self._total: Counts = Counter()
        self._window: deque[tuple[float, int, Counter[str]]] = deque()
        """Moment, requests and faults of each of the last looks."""
        self._pod_restarts = 0
        self._told = 0
        self._message = ""
        self._broken: Broken | None = None
        self._before = before or Evidence()
        self._tests: Comparisons | None = None

    def look(self, readings: Mapping[str, Reading], now: float) -> Verdict:
        """Judge by the counters of all pods that answered, by pod; `now` in seconds of any steady clock.

        A pod's first reading is where its comparison starts; hard failures that it had counted before, while
        nobody looked, break the guard all the same.
        """
        if self._broken is None:
            self._broken = self._judge(readings, now)
        if self._broken is not None:
            return self._broken
        if not self._readings:
            return Waiting("no serving pod has told what it counted yet")
        asked = self._before.requests + requests(self._total)
        if asked < self._settings.min_requests:
            return Waiting(f"fewer than {self._settings.min_requests:,} requests so far")
        if asked >= 2 * self._told:  # not anew each second, as each is a write of the status
            self._told, self._message = asked, str(self.evidence)
        return Healthy(self._message)

    def _judge(self, readings: Mapping[str, Reading], now: float) -> Broken | None:
        earlier: Counts = Counter()
        block: Counts = Counter()
        for pod, reading in sorted(readings.items()):
            before = self._readings.get(pod)
            if before is None:
                earlier.update(reading.counts)
            else:
                block.update(since(before, reading))
                self._pod_restarts += before.started != reading.started
            self._readings[pod] = reading
        self._total.update(block)
        held = block if self._forgive else block + earlier
        states = {state: pod for pod, reading in readings.items() for state in reading.states}
        return self._hard(held, states) or self._repeated(block, now) or self._statistical(block, earlier)

    def _hard(self, counts: Counts, states: Mapping[str, str]) -> Broken | None:
        for reason, name in _HARD.items():
            if number := counts[CHALLENGER, FAULTS, reason]:
                return self._break(name, f"{number:,} of its requests ended so")
        if counts[CHALLENGER, RESTARTS]:
            return self._break("ChallengerDied", "its process died and was started again")
        for state in ("Rejected", "Quarantined"):
            if state in states:
                return self._break(state, f"by pod {states[state]}; status.challenger says why")
        if self._pod_restarts >= _POD_RESTARTS:
            return self._break(
                "PodsRestarted", f"serving processes ended {self._pod_restarts} times beside it"
            )
        return None

    def _repeated(self, block: Counts, now: float) -> Broken | None:
        self._window.append((now, requests(block), faults(block)))
        while self._window[0][0] < now - _WINDOW_SECONDS:
            self._window.popleft()
        asked = sum(number for _, number, _ in self._window)
        kinds: Counter[str] = Counter()
        for _, _, of_look in self._window:
            kinds.update(of_look)
        failed = kinds.total()
        if failed < _WINDOW_FAULTS or 2 * failed < asked:
            return None
        kind = kinds.most_common(1)[0][0]
        return self._break(
            _REPEATED.get(kind, "RepeatedErrors"),
            f"{failed:,} of {asked:,} requests failed within {_WINDOW_SECONDS:.0f} s ({kind})",
        )

    def _statistical(self, block: Counts, earlier: Counts) -> Broken | None:
        if self._tests is None:
            if not self._readings:
                return None
            self._tests = Comparisons(self._settings, earlier, self._before.tests)
        found = self._tests.update(block)
        return self._break(*found) if found else None

    def _break(self, reason: str, what: str) -> Broken:
        evidence = self.evidence
        return Broken(reason, f"{what}. Since the guard looks: {evidence}", evidence)

    @property
    def evidence(self) -> Evidence:
        """What was seen so far."""
        total = self._total
        seen = Evidence(
            requests=requests(total),
            faults=faults(total).total(),
            champion_requests=total[CHAMPION, REQUESTS],
            champion_faults=total[CHAMPION, FAULTS],
            tests=self._tests.found() if self._tests else self._before.tests,
        )
        return self._before + seen

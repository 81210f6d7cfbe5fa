"""The evidence as the status shows it: which rollout and which step it is about, and not anew each second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from windtunnel.rollout.evidence import Evidence
from windtunnel.spec.servedmodel import RolloutEvidence

if TYPE_CHECKING:
    from datetime import datetime

    from windtunnel.spec.servedmodel import ServedModel

SECONDS: Final = 2.0
"""Between two writes of the status that only tell of more requests."""


def found(model: ServedModel) -> RolloutEvidence | None:
    """What an earlier controller has told of the rollout that goes on."""
    rollout, challenger = model.spec.rollout, model.spec.challenger
    said = model.status.challenger if model.status else None
    if rollout is None or challenger is None or said is None or said.version != challenger.version:
        return None
    return said.evidence if said.evidence and said.evidence.run_id == rollout.run_id else None


class EvidenceLog:
    """About one challenger; `before` is what is known from an earlier controller."""

    def __init__(self, began: datetime, before: RolloutEvidence | None = None) -> None:
        self._since = before.since if before else began
        self._step = before.step_since if before else None
        self._at_step = before.requests - before.step_requests if before else 0
        """Requests before the step began."""
        self._told: RolloutEvidence | None = None
        self._told_at = 0.0
        self.before = (
            Evidence(
                before.requests,
                before.faults,
                before.champion_requests,
                before.champion_faults,
                before.tests,
            )
            if before
            else None
        )

    def tell(self, model: ServedModel, evidence: Evidence, now: float) -> RolloutEvidence:
        """What to show; `now` in seconds of any steady clock."""
        rollout = model.spec.rollout
        since = rollout.since if rollout else None
        if since != self._step:
            self._step, self._at_step = since, evidence.requests
        fresh = RolloutEvidence(
            run_id=rollout.run_id if rollout else "",
            since=self._since,
            requests=evidence.requests,
            faults=evidence.faults,
            champion_requests=evidence.champion_requests,
            champion_faults=evidence.champion_faults,
            step_since=since,
            step_requests=max(0, evidence.requests - self._at_step),
            tests=evidence.tests,
        )
        told = self._told
        if told is None or _matters(told, fresh) or now - self._told_at >= SECONDS:
            self._told, self._told_at = fresh, now
            return fresh
        return told


def _matters(told: RolloutEvidence, fresh: RolloutEvidence) -> bool:
    """Whether somebody waits for what is new."""
    return _gist(told) != _gist(fresh)


def _gist(evidence: RolloutEvidence) -> object:
    tests = [(test.name, test.conclusion, test.at_most) for test in evidence.tests]
    return evidence.run_id, evidence.step_since, tests

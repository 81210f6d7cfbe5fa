"""The steps of a rollout: shadow → canary, step by step → the seat. Pure: a ServedModel in, a move out.

All that a rollout has to remember stands in the ServedModel (`spec.rollout`, traffic, shadow, history), so
whoever runs it may die at any line, and the next one asks the same question again:

    Shadow ──> (Paused) ──> Canary 5 % ──> Canary 25 % ──> … ──> (Paused) ──> promoted
       └───────────┴─────────────┴──────────────┴────────────────────┴──> refused, or taken back by the guard

A step is held until the challenger has answered enough requests in it and the evidence shows that the next
one cannot cost more than is allowed (`rollout.evidence`); a step that gets too little in time ends as the
plan's `when_quiet` says. Nothing goes on that the controller has not looked at.

Of two runs the one with the newest verdict goes on: the higher version, and of equal versions the later
comer. The other one's refusal stands in the history, so that its repeats find their end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from windtunnel.rollout.evidence import missing_for
from windtunnel.rollout.history import acts, promoted_by, taken_back, with_act
from windtunnel.rollout.moves import Hold, Move, Over, Plan, Promote, Refuse, Write
from windtunnel.spec.lifecycle import LONGEST_LOADING, LONGEST_PAUSE
from windtunnel.spec.servedmodel import RolloutState

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

    from windtunnel.spec.servedmodel import (
        Act,
        ChallengerStatus,
        ModelVersion,
        RolloutEvidence,
        ServedModel,
        ServedModelSpec,
    )

BY: Final = "stage/rollout"
_NOBODY: Final[Mapping[str, Any]] = {"challenger": None, "traffic": 0, "shadow": False, "rollout": None}


def next_move(model: ServedModel, plan: Plan, now: datetime) -> Move:
    """What the run has to do now. Raises TemporaryError when too many acts wait for the ledger."""
    spec = model.spec
    if spec.champion == plan.challenger or promoted_by(model, plan.run_id):
        return Promote("it has the seat", rolled_out=False)
    ended = _end_of(model, plan)
    if ended is not None:
        return Over(ended)
    ours = spec.rollout is not None and spec.rollout.run_id == plan.run_id
    if spec.champion.version != plan.expected_champion:
        if not ours:
            return Promote("another version serves than the verdict was about", rolled_out=False)  # says no
        message = (
            f"version {spec.champion.version} serves, the verdict compares with {plan.expected_champion}"
        )
        return refuse(model, plan, "ChampionChanged", message, now, _NOBODY)
    return _go_on(model, plan, now) if ours else _begin(model, plan, now)


def is_new(model: ServedModel, plan: Plan) -> bool:
    """Whether the run has neither begun nor ended nor been overtaken: the challenger is to be looked at."""
    spec = model.spec
    begun = spec.rollout is not None and spec.rollout.run_id == plan.run_id
    return not (
        begun or spec.champion == plan.challenger or _end_of(model, plan) or promoted_by(model, plan.run_id)
    )


def refuse(
    model: ServedModel,
    plan: Plan,
    reason: str,
    message: str,
    now: datetime,
    changes: Mapping[str, Any] | None = None,
) -> Refuse:
    """With `changes` of the spec; without, what stands there is not this run's."""
    told = with_act(
        changes or {},
        model,
        "refusal",
        plan.challenger,
        at=now,
        by=BY,
        run_id=plan.run_id,
        reason=f"{reason}: {message}",
        evidence=plan.evidence,
    )
    return Refuse(reason, message, told)


def _end_of(model: ServedModel, plan: Plan) -> Act | None:
    for act in reversed(acts(model)):
        mine = act.run_id == plan.run_id and act.version == plan.challenger.version
        if mine and act.action in ("refusal", "taken_back"):
            return act
    return None


def _begin(model: ServedModel, plan: Plan, now: datetime) -> Move:
    spec, other = model.spec, model.spec.rollout
    scores = spec.challenger is not None and bool(spec.traffic or spec.shadow or other)
    if spec.challenger is not None and scores:
        whose = f"of run {other.run_id}" if other else "that somebody set by hand"
        if _is_newer(spec.challenger, plan.challenger):
            message = f"version {spec.challenger.version} {whose} is rolling out, and is newer"
            return refuse(model, plan, "NewerRollout", message, now)
        state = _first_state(plan, now)
        if other is not None and spec.challenger == plan.challenger:
            # the evidence is about the same version: only who goes on changes
            changes: dict[str, Any] = {"rollout": other.model_copy(update={"run_id": plan.run_id})}
        else:
            changes = state or dict(_NOBODY)
        by = f"version {plan.challenger.version} of run {plan.run_id}"
        told = with_act(
            changes,
            model,
            "refusal",
            spec.challenger,
            at=now,
            by=BY,
            run_id=other.run_id if other else "",
            reason=f"Superseded: by {by}, the newer verdict",
        )
        says = f"version {spec.challenger.version} {whose} gives way: this verdict is newer"
        return Write(told, says, begins=True)
    said = taken_back(model, plan.challenger)
    if spec.challenger == plan.challenger and said is not None:
        message = (
            f"version {said.version} was taken back at {said.at:%Y-%m-%d %H:%M:%S}: {said.reason}; train a "
            "better one, or give it traffic again, or take it out as challenger, and start a new run"
        )
        return refuse(model, plan, "TakenBack", message, now)
    first = _first_state(plan, now)
    if first is None:
        return Promote("the lifecycle declares neither shadow nor steps", rolled_out=False)
    return Write(first, _tell(first), begins=True)


def _first_state(plan: Plan, now: datetime) -> dict[str, Any] | None:
    """Fields of the spec as the rollout begins; None when it has no step at all."""
    if plan.shadow is not None:
        state = _state(plan, now, "Shadow", shadow=True)
    elif plan.steps and plan.pause_before != "canary":
        state = _state(plan, now, "Canary", traffic=plan.steps[0])
    elif plan.steps or plan.pause_before:
        state = _state(plan, now, "Paused")
    else:
        return None
    return {"challenger": plan.challenger, **plan.settings, **state}


def _state(
    plan: Plan,
    now: datetime,
    phase: Literal["Shadow", "Canary", "Paused"],
    traffic: int = 0,
    shadow: bool = False,
) -> dict[str, Any]:
    state = RolloutState(run_id=plan.run_id, phase=phase, since=now)
    return {"traffic": traffic, "shadow": shadow, "rollout": state}


def _go_on(model: ServedModel, plan: Plan, now: datetime) -> Move:
    spec, state = model.spec, model.spec.rollout
    assert state is not None, "asked for a rollout that has begun"
    if spec.challenger != plan.challenger:
        message = f"somebody made version {_name(spec.challenger)} the challenger"
        return refuse(model, plan, "ChallengerChanged", message, now, {"rollout": None})
    if state.phase != "Paused" and not (spec.traffic or spec.shadow):
        return refuse(model, plan, "StoppedByHand", "somebody took its requests away", now, _NOBODY)
    against = _against(model, plan)
    if against is not None:
        return refuse(model, plan, *against, now, _NOBODY)
    waited = now - state.since
    if state.phase == "Paused":
        if state.approved:
            return _advance(model, plan, now, f"approved by {_approver(state)}")
        if waited >= LONGEST_PAUSE:
            return refuse(
                model, plan, "NotApproved", f"nobody approved it within {_words(waited)}", now, _NOBODY
            )
        return Hold(
            "Paused", f"paused for {_words(waited)}: `windtunnel promote {model.metadata.name}` goes on"
        )
    if state.approved:
        return _advance(model, plan, now, f"{_step_name(spec)} is ended by {_approver(state)}")
    return _step(model, plan, now, waited)


def _step(model: ServedModel, plan: Plan, now: datetime, waited: timedelta) -> Move:
    """A step that gathers evidence."""
    where, challenger, evidence = _step_name(model.spec), _seen(model, plan), _evidence(model, plan)
    if challenger is None or challenger.state != "Ready" or evidence is None:
        longest = max(LONGEST_LOADING, plan.step_timeout)
        lacks = (
            "the controller has not looked at it yet"
            if challenger is None
            else f"version {plan.challenger.version} is not ready in every serving pod yet"
            if challenger.state != "Ready"
            else "the controller has not told yet what the pods count"
        )
        if waited >= longest:
            return refuse(model, plan, "NotReady", f"after {_words(longest)} {lacks}", now, _NOBODY)
        return Hold(f"{where}: {lacks}", f"{where}, {_words(waited)}: {lacks}")
    missing = _missing(model, plan, evidence)
    if not missing:
        return _advance(model, plan, now, f"{where} has shown enough ({_count(evidence)})")
    lacks = ", ".join(missing)
    if waited >= plan.step_timeout:
        if plan.when_quiet == "promote":
            return _advance(model, plan, now, f"{where} ends after {_words(waited)}, though it lacks {lacks}")
        message = f"{where} has lasted {_words(waited)} and lacks {lacks}"
        return refuse(model, plan, "TooLittleEvidence", message, now, _NOBODY)
    return Hold(where, f"{where}, {_words(waited)}: {_count(evidence)}; lacks {lacks}")


def _advance(model: ServedModel, plan: Plan, now: datetime, why: str) -> Move:
    spec, phase = model.spec, model.spec.rollout.phase if model.spec.rollout else "Paused"
    following = next((step for step in plan.steps if step > spec.traffic), None)
    if phase == "Paused":
        following = plan.steps[0] if plan.steps and not spec.traffic else None
    # Where there is no canary, the pause before it is the one before the seat: whoever asked for one gets it.
    pauses = (phase == "Shadow" and plan.pause_before == "canary") or (
        following is None and plan.pause_before == "champion"
    )
    if phase != "Paused" and pauses:
        changes = _state(plan, now, "Paused", spec.traffic, spec.shadow)
    elif following is not None:
        changes = _state(plan, now, "Canary", traffic=following)
    else:
        return Promote(f"{why}: version {plan.challenger.version} has earned the seat")
    return Write(changes, f"{why}: {_tell(changes)}")


def _missing(model: ServedModel, plan: Plan, evidence: RolloutEvidence) -> list[str]:
    """What keeps the step from ending."""
    traffic = model.spec.traffic
    following = next((step for step in plan.steps if step > traffic), 100)
    wanted = plan.requests if traffic else plan.shadow or 0
    left = wanted - evidence.step_requests
    return [*([f"{left:,} requests"] if left > 0 else []), *missing_for(following, evidence)]


def _against(model: ServedModel, plan: Plan) -> tuple[str, str] | None:
    """What already speaks against the challenger, where the guard is off or cannot write."""
    challenger, evidence = _seen(model, plan), _evidence(model, plan)
    if challenger is not None and challenger.state in ("Rejected", "Quarantined"):
        return challenger.state, challenger.message or "the serving pods say so"
    worse = [test.name for test in evidence.tests if test.conclusion == "Worse"] if evidence else []
    return ("Worse", f"shown to be worse than allowed in: {', '.join(worse)}") if worse else None


def _seen(model: ServedModel, plan: Plan) -> ChallengerStatus | None:
    """What the controller says of the challenger, if it has seen the present spec."""
    status, generation = model.status, model.metadata.generation
    if status is None or (generation is not None and (status.observed_generation or 0) < generation):
        return None
    said = status.challenger
    return said if said is not None and said.version == plan.challenger.version else None


def _evidence(model: ServedModel, plan: Plan) -> RolloutEvidence | None:
    """What the controller has seen since this step began."""
    challenger, state = _seen(model, plan), model.spec.rollout
    evidence = challenger.evidence if challenger else None
    if evidence is None or state is None or evidence.run_id != plan.run_id:
        return None
    return evidence if evidence.step_since == state.since else None


def _is_newer(theirs: ModelVersion, ours: ModelVersion) -> bool:
    """Whether they have the newer verdict: versions are numbered as models are registered."""
    numbered = theirs.version.isdecimal() and ours.version.isdecimal()
    return numbered and int(theirs.version) > int(ours.version)


def _approver(state: RolloutState) -> str:
    return state.approved_by or "somebody"


def _step_name(spec: ServedModelSpec) -> str:
    return f"canary at {spec.traffic} %" if spec.traffic else "shadow"


def _tell(changes: Mapping[str, Any]) -> str:
    phase = changes["rollout"].phase
    if phase == "Paused":
        return "it pauses until somebody approves"
    if phase == "Shadow":
        return "it scores copies of the requests"
    return f"it answers {changes['traffic']} % of the requests"


def _count(evidence: RolloutEvidence) -> str:
    return (
        f"{evidence.faults:,} faults in {evidence.requests:,} requests; "
        f"champion {evidence.champion_faults:,} in {evidence.champion_requests:,}"
    )


def _name(version: ModelVersion | None) -> str:
    return version.version if version else "none"


def _words(span: timedelta) -> str:
    seconds = round(span.total_seconds())
    if seconds < 120:
        return f"{seconds} s"
    minutes = seconds // 60
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"

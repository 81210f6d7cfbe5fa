"""rollout: a verdict → preflight → shadow → canary → the champion's seat on the ServedModel, once per run.

What is done next follows from the ServedModel alone (`rollout.steps`), and every change is a
compare-and-swap, so the pod may die at any line: its retry goes on from there. A run that stands in the
ServedModel's history has had its promotion or its refusal: a retry undoes neither. The ledger and MLflow's
alias follow.

The first model of a lifecycle has nobody to be compared with, and where nothing serves (a laptop) there is
nothing to see: there the preflight decides.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

from windtunnel.digests import digest
from windtunnel.errors import (
    ConflictError,
    DeniedError,
    IntegrityError,
    PermanentError,
    TemporaryError,
    WindtunnelError,
)
from windtunnel.ledger import Ledger
from windtunnel.registry import preflight
from windtunnel.registry.models import ModelRegistry
from windtunnel.registry.renewal import renew
from windtunnel.rollout.driving import Driver, Refused
from windtunnel.rollout.mirror import record
from windtunnel.rollout.moves import Plan
from windtunnel.rollout.promotion import Candidate
from windtunnel.rollout.served_models import open_served_models
from windtunnel.rollout.steps import BY, is_new
from windtunnel.spec.servedmodel import (
    GuardSettings,
    ModelVersion,
    PredictionLogSettings,
    ServingSettings,
    object_name,
)
from windtunnel.stages.base import Reference, StageResult
from windtunnel.stages.refusals import record_refusal

if TYPE_CHECKING:
    from windtunnel.registry.preflight import Flight
    from windtunnel.rollout.promotion import Promoted
    from windtunnel.rollout.served_models import ServedModels
    from windtunnel.spec.servedmodel import ServedModel
    from windtunnel.stages.base import StageEnv, StageRequest

POLL_SECONDS = 1.0
REPORT_SECONDS = 15.0
LONGEST_WAIT_SECONDS = 600.0
"""The stage gives up earlier when its own timeout is shorter: a reason is better than a kill."""


def identity(request: StageRequest, env: StageEnv) -> None:
    """Never cached: what serves may have changed since."""


def run(request: StageRequest, env: StageEnv) -> StageResult:
    try:
        return _roll_out(request, env)
    except DeniedError as error:
        # An API server that has just started denies everybody until it has read its roles.
        fix = "a retry follows; if it is denied, too, look at the role of the rollout's service account"
        raise TemporaryError(error.what, where=error.where, fix=fix) from error


def _roll_out(request: StageRequest, env: StageEnv) -> StageResult:
    verdict = _read_verdict(request, env)
    version = str(request.inputs["model"].meta["version"])
    bundle = request.inputs["bundle"]
    uri, name = request.inputs["verdict"].uri, request.inputs["verdict"].digest
    if verdict["decision"] != "promote":
        record_refusal(env.store, verdict, uri, name, request)
        env.log.info("the verdict refuses version %s: nothing is promoted", version)
        reason = "; ".join(verdict["reasons"])
        champion = _champion_of(verdict)
        return _result(env, version, bundle.digest, promoted=False, champion=champion, reason=reason)
    served_models = open_served_models(env.settings.served_models, os.environ)
    renew(env.store, bundle.uri)  # somebody may have thought for long about its approval
    candidate = _candidate(request, verdict, env)
    plan = _plan(candidate, served_models, env)
    driver = Driver(served_models, candidate, plan, env.log)
    refused = _preflight(served_models, candidate, plan, driver, env)
    done = refused or _drive(driver, served_models, candidate, env)
    serves = done.served_model.spec.champion.version
    _tell(served_models, done.served_model, env)
    if isinstance(done, Refused):
        env.log.warning("version %s is refused, version %s goes on serving: %s", version, serves, done.reason)
        return _result(env, version, bundle.digest, promoted=False, champion=serves, reason=done.reason)
    if served_models.settles:
        _wait(served_models, done.served_model, env)
    return _result(env, version, bundle.digest, promoted=True, champion=version)


def _tell(served_models: ServedModels, model: ServedModel, env: StageEnv) -> None:
    """Let the ledger and MLflow's alias follow. In a cluster the controller does so, too, and goes on until
    they answer: there an outage fails nothing."""
    try:
        number = record(model, Ledger(env.store, env.lifecycle.name))
        served_models.note_recorded(model.metadata.name, number)
        # Somebody may have rolled back meanwhile.
        serves = served_models.get(model.metadata.name) or model
        _follow(env.lifecycle.name, serves.spec.champion.version, env)
    except TemporaryError as error:
        if not served_models.settles:
            raise
        env.log.warning("the controller will record this when it can: %s", error)


def _candidate(request: StageRequest, verdict: dict[str, Any], env: StageEnv) -> Candidate:
    bundle, spec = request.inputs["bundle"], env.lifecycle.spec
    return Candidate(
        lifecycle=env.lifecycle.name,
        champion=ModelVersion(
            version=str(request.inputs["model"].meta["version"]), bundle=bundle.uri, digest=bundle.digest
        ),
        expected_champion=_champion_of(verdict),
        serving=ServingSettings.model_validate(spec.serving.model_dump(exclude={"keep_warm"})),
        run_id=request.run_id,
        by=BY,
        reason="; ".join([*_because(request), *verdict["reasons"]]),
        evidence=request.inputs["verdict"].uri,
        guard=GuardSettings.model_validate(spec.rollout.guard.model_dump()),
        keep_warm=spec.serving.keep_warm,
        prediction_log=PredictionLogSettings.model_validate(spec.prediction_log.model_dump()),
    )


def _because(request: StageRequest) -> list[str]:
    because = request.params.get("reason")
    return [f"trained because of {because}"] if because else []


def _plan(candidate: Candidate, served_models: ServedModels, env: StageEnv) -> Plan:
    rollout = env.lifecycle.spec.rollout
    if not served_models.settles:
        rollout = rollout.model_copy(update={"shadow": None, "steps": (), "pause_before": None})
    return Plan(
        challenger=candidate.champion,
        expected_champion=candidate.expected_champion,
        run_id=candidate.run_id,
        shadow=rollout.shadow.requests if rollout.shadow else None,
        steps=rollout.steps,
        requests=rollout.requests,
        step_timeout=rollout.step_timeout,
        when_quiet=rollout.when_quiet,
        pause_before=rollout.pause_before,
        settings={"guard": candidate.guard},
        evidence=candidate.evidence,
    )


def _preflight(
    served_models: ServedModels, candidate: Candidate, plan: Plan, driver: Driver, env: StageEnv
) -> Refused | None:
    """Look at the bundle before anybody is asked to serve it; None: nothing against it, or no need to look.

    Raises what is wrong with the first model of a lifecycle: there is no ServedModel yet to say it.
    """
    current = served_models.get(object_name(candidate.lifecycle))
    if current is not None and not is_new(current, plan):
        return None
    try:
        flight = _fly(candidate.champion, env)
        env.log.info("preflight: %s", flight)
        if current is not None:
            _compare(flight, current.spec.champion, env)
    except PermanentError as error:
        if current is None:
            raise
        return driver.refuse("Preflight", str(error))
    return None


def _fly(version: ModelVersion, env: StageEnv) -> Flight:
    limit = env.lifecycle.spec.serving.resources.memory_limit
    return preflight.fly(env.lifecycle.name, version, env.settings.store, limit, os.environ)


def _compare(flight: Flight, champion: ModelVersion, env: StageEnv) -> None:
    try:
        usual = _fly(champion, env)
    except PermanentError as error:
        env.log.warning("the champion's time is unknown, its bundle does not load here: %s", error)
        return
    preflight.compare(flight, usual, env.lifecycle.spec.rollout.guard.max_latency_ratio)


def _read_verdict(request: StageRequest, env: StageEnv) -> dict[str, Any]:
    reference = request.inputs["verdict"]
    content = env.store.get(env.store.key(reference.uri))
    if digest(content) != reference.digest:
        raise IntegrityError(
            "the verdict was changed after it was written", where=reference.uri, fix="evaluate again"
        )
    verdict: dict[str, Any] = json.loads(content)
    judged, given = verdict["challenger"]["digest"], request.inputs["bundle"].digest
    if judged != given:
        raise IntegrityError(
            f"the verdict is about bundle {judged[:19]}…, not {given[:19]}…",
            where=reference.uri,
            fix="evaluate again",
        )
    return verdict


def _champion_of(verdict: dict[str, Any]) -> str | None:
    return str(verdict["champion"]["version"]) if verdict["champion"] else None


def _drive(
    driver: Driver, served_models: ServedModels, candidate: Candidate, env: StageEnv
) -> Promoted | Refused:
    """Roll out. When somebody else's version serves, MLflow's alias is made to follow that one."""
    try:
        done = driver.drive()
    except ConflictError:
        serves = served_models.get(object_name(candidate.lifecycle))
        if serves is not None:
            try:
                _follow(candidate.lifecycle, serves.spec.champion.version, env)
            except WindtunnelError as error:
                env.log.warning("MLflow's alias does not follow what serves: %s", error)
        raise
    if isinstance(done, Refused):
        return done
    if done.changed:
        replaced = done.served_model.spec.previous
        env.log.info(
            "version %s is the champion%s",
            candidate.champion.version,
            f", version {replaced.version} is kept as previous"
            if replaced
            else ", the first of this lifecycle",
        )
    else:
        env.log.info("version %s was the champion already", candidate.champion.version)
    return done


def _follow(lifecycle: str, version: str, env: StageEnv) -> None:
    """Let MLflow's alias name what serves."""
    ModelRegistry(env.settings.tracking_uri).set_champion(lifecycle, version)


def _wait(served_models: ServedModels, promoted: ServedModel, env: StageEnv) -> None:
    """Until every ready pod serves the version; raises TemporaryError (a retry waits on) or ConflictError."""
    version, name = promoted.spec.champion.version, promoted.metadata.name
    limit = min(
        LONGEST_WAIT_SECONDS, max(30.0, env.lifecycle.stage("rollout").timeout.total_seconds() - 60.0)
    )
    started = reported = time.monotonic()
    shown = ""
    while True:
        current = served_models.get(name)
        if current is None or current.spec.champion.version != version:
            serves = f"version {current.spec.champion.version}" if current else "no ServedModel"
            raise ConflictError(
                f"version {version} was promoted, but {serves} took its place before it served",
                where=f"ServedModel {name}",
                fix="see the ledger: `windtunnel status`",
            )
        now = time.monotonic()
        if _serves(current, version):
            env.log.info("version %s serves after %.0f s", version, now - started)
            return
        state = _state(current)
        if state != shown or now - reported >= REPORT_SECONDS:
            env.log.info("waiting for version %s, %.0f s: %s", version, now - started, state)
            shown, reported = state, now
        if now - started > limit:
            raise TemporaryError(
                f"version {version} is promoted but does not serve after {limit:.0f} s: {state}",
                where=f"ServedModel {name}",
                fix=f"see `kubectl describe servedmodel {name}` and its pods' logs; a retry goes on waiting",
            )
        time.sleep(POLL_SECONDS)


def _serves(current: ServedModel, version: str) -> bool:
    status, generation = current.status, current.metadata.generation
    if status is None or status.champion != version or status.phase != "Ready":
        return False
    return generation is None or (status.observed_generation or 0) >= generation


def _state(current: ServedModel) -> str:
    status = current.status
    if status is None:
        return "the controller has not seen it yet"
    told = "; ".join(f"{c.type}={c.status} {c.reason}: {c.message}".rstrip(": ") for c in status.conditions)
    return f"{status.phase}, {status.ready} ready, serving {status.champion or 'none'}" + (
        f"; {told}" if told else ""
    )


def _result(
    env: StageEnv,
    version: str,
    bundle_digest: str,
    promoted: bool,
    champion: str | None,
    reason: str = "",
) -> StageResult:
    reference = Reference(
        "promotion",
        f"servedmodels/{object_name(env.lifecycle.name)}",
        bundle_digest,
        meta={"version": version, "promoted": promoted},
    )
    facts = {"promoted": promoted, "version": version, "champion": champion}
    if reason:
        facts["reason"] = reason
    return StageResult(outputs={"promotion": reference}, facts=facts)

"""rollout: a verdict → the champion's seat on the ServedModel, once per run, and a ledger entry.

In this order, each step safe to repeat: compare-and-swap, ledger, MLflow's alias, wait until the version
serves. If the pod dies in between, its retry finds what is done and goes on from there. A run that stands in
the ServedModel's history has had its promotion: if another version serves by then, somebody took it back, and
a retry must not undo that.
"""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from windtunnel.digests import digest
from windtunnel.errors import ConflictError, IntegrityError, TemporaryError, WindtunnelError
from windtunnel.ledger import Ledger
from windtunnel.registry.models import ModelRegistry
from windtunnel.rollout.mirror import record
from windtunnel.rollout.promotion import Candidate, Promoted, promote
from windtunnel.rollout.served_models import open_served_models
from windtunnel.spec.servedmodel import ModelVersion, ServingSettings, object_name
from windtunnel.stages.base import Reference, StageResult
from windtunnel.stages.evaluate import record_refusal

if TYPE_CHECKING:
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
    verdict = _read_verdict(request, env)
    version = str(request.inputs["model"].meta["version"])
    bundle = request.inputs["bundle"]
    ledger = Ledger(env.store, env.lifecycle.name)
    uri, name = request.inputs["verdict"].uri, request.inputs["verdict"].digest
    if verdict["decision"] != "promote":
        record_refusal(ledger, verdict, uri, name, request.run_id)
        env.log.info("the verdict refuses version %s: nothing is promoted", version)
        return _result(env, version, bundle.digest, promoted=False, champion=_champion_of(verdict))
    served_models = open_served_models(env.settings.served_models, os.environ)
    candidate = Candidate(
        lifecycle=env.lifecycle.name,
        champion=ModelVersion(version=version, bundle=bundle.uri, digest=bundle.digest),
        expected_champion=_champion_of(verdict),
        serving=ServingSettings.model_validate(env.lifecycle.spec.serving.model_dump(exclude={"keep_warm"})),
        run_id=request.run_id,
        by="stage/rollout",
        reason="; ".join(verdict["reasons"]),
        evidence=uri,
    )
    done = _promote(served_models, candidate, env)
    number = record(done.served_model, ledger)
    served_models.note_recorded(done.served_model.metadata.name, number)
    _follow(candidate.lifecycle, version, env)
    if served_models.settles:
        _wait(served_models, done.served_model, env)
    return _result(env, version, bundle.digest, promoted=True, champion=version)


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


def _promote(served_models: ServedModels, candidate: Candidate, env: StageEnv) -> Promoted:
    """Promote. When somebody else's version serves, MLflow's alias is made to follow that one."""
    try:
        done = promote(served_models, candidate, datetime.now(UTC))
    except ConflictError:
        serves = served_models.get(object_name(candidate.lifecycle))
        if serves is not None:
            try:
                _follow(candidate.lifecycle, serves.spec.champion.version, env)
            except WindtunnelError as error:
                env.log.warning("MLflow's alias does not follow what serves: %s", error)
        raise
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
    env: StageEnv, version: str, bundle_digest: str, promoted: bool, champion: str | None
) -> StageResult:
    reference = Reference(
        "promotion",
        f"servedmodels/{object_name(env.lifecycle.name)}",
        bundle_digest,
        meta={"version": version, "promoted": promoted},
    )
    facts = {"promoted": promoted, "version": version, "champion": champion}
    return StageResult(outputs={"promotion": reference}, facts=facts)

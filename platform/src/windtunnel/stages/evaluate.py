"""evaluate: challenger and champion on the same fresh window → a verdict with its reasons, and the reference
profile that monitoring compares the challenger's days with, once it serves.

The first model of a lifecycle has no champion to match; it must be shown to beat the base rate (the training
set's mean label, the same answer for everyone). Beside the decision, the verdict reports a logistic (or
linear) baseline: a model that it beats would be the better choice, and the verdict says so.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.digests import canonical_json, digest
from windtunnel.monitoring.reference import build_profile, write_profile
from windtunnel.registry.bundle import profile_key, read_bundle
from windtunnel.registry.models import ModelRegistry
from windtunnel.registry.snapshots import read_snapshot
from windtunnel.stages.base import Reference, StageResult
from windtunnel.stages.refusals import record_refusal
from windtunnel.stats.calibration import reliability
from windtunnel.stats.gate import GateResult, Rule, judge, refusal
from windtunnel.stats.logistic import LinearBaseline
from windtunnel.stats.metrics import quality

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.registry.bundle import Bundle
    from windtunnel.registry.models import RegisteredVersion
    from windtunnel.registry.snapshots import Snapshot
    from windtunnel.stages.base import StageEnv, StageRequest

API_VERSION = "windtunnel.dev/v1alpha1"
CHALLENGER, CHAMPION, BASE_RATE, LOGISTIC = "challenger", "champion", "base_rate", "logistic"


@dataclass(frozen=True)
class _Contest:
    """Everyone's predictions [N] on the evaluation window; `champion` is None for the first model."""

    challenger: Bundle
    champion: Bundle | None
    champion_version: str | None
    predictions: dict[str, NDArray[np.float64]]


def identity(request: StageRequest, env: StageEnv) -> dict[str, Any]:
    champion = ModelRegistry(env.settings.tracking_uri).champion(env.lifecycle.name)
    return {
        "snapshot": request.inputs["snapshot"].digest,
        "bundle": request.inputs["bundle"].digest,
        "version": request.inputs["model"].meta["version"],
        "champion": [champion.version, champion.bundle_digest] if champion else None,
    }


def run(request: StageRequest, env: StageEnv) -> StageResult:
    source, packed = request.inputs["snapshot"], request.inputs["bundle"]
    registry = ModelRegistry(env.settings.tracking_uri)
    snapshot = read_snapshot(env.store, source.uri, source.digest)
    contest = _contest(
        snapshot,
        read_bundle(env.store, packed.uri, packed.digest),
        registry.champion(env.lifecycle.name),
        env,
    )
    result = _judge(contest, snapshot, env)
    kind = env.lifecycle.spec.label.kind
    label = snapshot.evaluation.label
    metrics = {name: quality(kind, label, prediction) for name, prediction in contest.predictions.items()}
    notes = [*_notes(metrics, env), *_start(contest.challenger)]
    profile = _profile(contest, snapshot, env)
    reference = _write(request, contest, snapshot, result, metrics, notes, profile, env)
    _log(result, metrics, notes, contest, env)
    version = str(request.inputs["model"].meta["version"])
    registry.log_metrics(env.lifecycle.name, version, _flat(metrics))
    facts = {
        "decision": result.decision,
        "reasons": [*result.reasons, *notes],
        "version": version,
        "champion_version": contest.champion_version,
        "difference": _finite(result.difference),
        "interval": _finite(list(result.interval)),
        "rows": result.rows,
        "metrics": _finite(
            {
                who: {name: round(value, 5) for name, value in values.items()}
                for who, values in metrics.items()
            }
        ),
    }
    return StageResult(outputs={"verdict": reference}, facts=facts)


def still_there(result: StageResult, env: StageEnv) -> bool:
    """Whether the reference profile is: it goes with the bundle, and training makes that without it."""
    bundle = result.outputs["verdict"].meta.get("bundle")
    return bool(bundle) and env.store.exists(profile_key(env.lifecycle.name, str(bundle)))


def _contest(
    snapshot: Snapshot, challenger: Bundle, version: RegisteredVersion | None, env: StageEnv
) -> _Contest:
    evaluation, train = snapshot.evaluation, snapshot.train
    predictions = {CHALLENGER: challenger.predict(evaluation.inputs_of(challenger))}
    champion = None
    if version is not None:
        champion = read_bundle(env.store, version.bundle, version.bundle_digest)
        predictions[CHAMPION] = champion.predict(evaluation.inputs_of(champion))
    predictions[BASE_RATE] = np.full(len(evaluation.label), train.label.mean())
    baseline = LinearBaseline.fit(env.lifecycle.spec.label.kind, train.inputs(), train.label)
    predictions[LOGISTIC] = baseline.predict(evaluation.inputs())
    return _Contest(challenger, champion, version.version if version else None, predictions)


def _judge(contest: _Contest, snapshot: Snapshot, env: StageEnv) -> GateResult:
    rows = snapshot.evaluation
    rule = _rule(contest.champion is None, env)
    seen = _seen(contest, snapshot)
    if seen:
        return refusal(rule, len(rows.label), seen)
    first = contest.champion is None
    return judge(
        rule,
        rows.label,
        contest.predictions[CHALLENGER],
        contest.predictions[BASE_RATE if first else CHAMPION],
        {name: rows.column(name) for name in env.lifecycle.spec.evaluation.slices},
        rival_name="the base rate" if first else f"champion version {contest.champion_version}",
        guard=not first,
    )


def _rule(first: bool, env: StageEnv) -> Rule:
    evaluation = env.lifecycle.spec.evaluation
    return Rule(
        metric=evaluation.metric,
        mode="improve" if first else evaluation.gate.mode,
        margin=evaluation.gate.margin,
        min_gain=0.0 if first else evaluation.gate.min_gain,
        alpha=evaluation.gate.alpha,
        min_rows=evaluation.min_rows,
    )


def _seen(contest: _Contest, snapshot: Snapshot) -> str:
    """Why the window is not fresh for one of the two, or nothing."""
    start = str(snapshot.manifest["evaluation"][0])
    for name, bundle in ((CHALLENGER, contest.challenger), (CHAMPION, contest.champion)):
        if bundle is not None and str(bundle.manifest["cutoff"]) > start:
            return (
                f"the {name}'s training cut-off {bundle.manifest['cutoff']} lies inside the evaluation "
                f"window, which starts on {start}: the comparison would flatter it; take a later end"
            )
    return ""


def _notes(metrics: dict[str, dict[str, float]], env: StageEnv) -> list[str]:
    """What the reader should know though it decides nothing."""
    metric = env.lifecycle.spec.evaluation.metric
    ours, plain = metrics[CHALLENGER][metric], metrics[LOGISTIC][metric]
    name = "logistic" if env.lifecycle.spec.label.kind == "binary" else "linear"
    if f"{plain:.5f}" == f"{ours:.5f}":
        return [f"note: a {name} regression does as well on this window ({metric} {plain:.5f})"]
    if plain < ours:
        return [
            f"note: a {name} regression does better on this window ({metric} {plain:.5f} against {ours:.5f})"
        ]
    return [f"note: {metric} is {plain - ours:.5f} better than a {name} regression's on this window"]


def _start(challenger: Bundle) -> list[str]:
    """How the challenger began, of a lifecycle with training.warmStart."""
    start = challenger.manifest.get("start")
    if start is None:
        return []
    warm = start["taken"] == "warm"
    return [
        f"note: trained on from version {start['champion']}" if warm else "note: trained from a cold start"
    ]


def _profile(contest: _Contest, snapshot: Snapshot, env: StageEnv) -> str:
    """Write the challenger's reference profile; its digest."""
    profile = build_profile(
        env.lifecycle, env.directory, contest.challenger, snapshot, contest.predictions[CHALLENGER]
    )
    return write_profile(env.store, profile)[1]


def _write(
    request: StageRequest,
    contest: _Contest,
    snapshot: Snapshot,
    result: GateResult,
    metrics: dict[str, dict[str, float]],
    notes: list[str],
    profile: str,
    env: StageEnv,
) -> Reference:
    label = snapshot.evaluation.label
    binary = env.lifecycle.spec.label.kind == "binary"
    shown = [name for name in (CHALLENGER, CHAMPION, LOGISTIC) if binary and name in contest.predictions]
    verdict = {
        "apiVersion": API_VERSION,
        "kind": "Verdict",
        "lifecycle": env.lifecycle.name,
        "decision": result.decision,
        "reasons": result.reasons,
        "notes": notes,
        "challenger": _named(request.inputs["model"].meta["version"], contest.challenger),
        "champion": _named(contest.champion_version, contest.champion),
        "snapshot": snapshot.digest,
        "profile": profile,
        "window": snapshot.manifest["evaluation"],
        "gate": result.to_json(),
        "metrics": metrics,
        "reliability": {
            name: [asdict(b) for b in reliability(label, contest.predictions[name])] for name in shown
        },
    }
    content = canonical_json(_finite(verdict))
    name = digest(content)
    key = f"{env.lifecycle.name}/verdicts/{name.removeprefix('sha256:')}.json"
    # Not written anew: its age says how far back the ledger may tell of it.
    if not env.store.put_new(key, content) and env.store.get(key) != content:
        env.store.put(key, content)
    if result.decision == "refuse":
        record_refusal(env.store, verdict, env.store.uri(key), name, request)
    meta = {
        "decision": result.decision,
        "champion_version": contest.champion_version,
        "bundle": contest.challenger.digest,
    }
    return Reference("verdict", env.store.uri(key), name, rows=result.rows, bytes=len(content), meta=meta)


def _named(version: str | None, bundle: Bundle | None) -> dict[str, Any] | None:
    if bundle is None:
        return None
    return {
        "version": version,
        "bundle": bundle.uri,
        "digest": bundle.digest,
        "cutoff": bundle.manifest["cutoff"],
    }


def _log(
    result: GateResult,
    metrics: dict[str, dict[str, float]],
    notes: list[str],
    contest: _Contest,
    env: StageEnv,
) -> None:
    names = list(metrics[CHALLENGER])
    env.log.info("%-18s %s", "", " ".join(f"{who:>12}" for who in contest.predictions))
    for name in names:
        env.log.info("%-18s %s", name, " ".join(f"{metrics[who][name]:12.4f}" for who in contest.predictions))
    env.log.info("verdict: %s", result.decision)
    for reason in [*result.reasons, *notes]:
        env.log.info("  %s", reason)


def _flat(metrics: dict[str, dict[str, float]]) -> dict[str, float]:
    """The challenger's by plain name, the others' behind their own."""
    return {
        name if who == CHALLENGER else f"{who}.{name}": value
        for who, values in metrics.items()
        for name, value in values.items()
    }


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""monitor: a window of the prediction log, beside what the model was judged on → a measure, with a report.

Read are the predictions that callers got, their labels so far as they have come, the reference profile that
the evaluation wrote, feature rows for a sample of the predictions, and the freshness of the views. What
cannot be measured (no profile, no labels, too few rows) is said in the measure and fails nothing. The policy
then says whether this, with the windows before it, speaks for a retraining.

Params: `start`, `end` (moments), `version`, `folder` (`scores`: batch scoring); see monitoring.windows.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from windtunnel.digests import canonical_json, digest
from windtunnel.errors import IntegrityError, NotFoundError
from windtunnel.ledger import Ledger
from windtunnel.lineage.judgement import acts_about, read_verdict
from windtunnel.monitoring.labels import labels_complete
from windtunnel.monitoring.measures import (
    measure_key,
    read_measure,
    report_key,
    write_measure,
)  # fmt: skip
from windtunnel.monitoring.measuring import Subject, measure
from windtunnel.monitoring.reference import read_profile
from windtunnel.monitoring.story import measures_before, respond
from windtunnel.monitoring.windows import asked, back_to_labels, read_window
from windtunnel.registry.bundle import read_manifest
from windtunnel.registry.models import ModelRegistry
from windtunnel.registry.renewal import renew
from windtunnel.report import render_report
from windtunnel.stages.base import Reference, StageResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windtunnel.monitoring.measures import Measure
    from windtunnel.monitoring.windows import Asked
    from windtunnel.registry.models import RegisteredVersion
    from windtunnel.stages.base import StageEnv, StageRequest

_ENTRIES = 200
"""Entries of the ledger in which the verdict of the version is looked for."""


def identity(request: StageRequest, env: StageEnv) -> None:
    """Never cached: labels come in late."""


def run(request: StageRequest, env: StageEnv) -> StageResult:
    now = datetime.now(UTC)
    window = asked(request.params, env.lifecycle.spec, now)
    registry, name = ModelRegistry(env.settings.tracking_uri), env.lifecycle.name
    champion = registry.champion(name)
    version = registry.get(name, window.version) if window.version else champion
    if version is None:
        env.log.info("no version has the seat of the champion yet: there is nothing to look at")
        return StageResult(facts={"state": "quiet", "reason": "there is no champion yet", "retrain": False})
    renew(env.store, version.bundle)
    subject = _subject(version, env)
    window = back_to_labels(window, labels_complete(env))
    window, logged = read_window(env.store, name, window, subject.digest)
    before = measures_before(
        env.store, env.lifecycle, version.version, window.series, window.start, window.end
    )
    state = _state(before, subject, window) if window.continues else None
    made = measure(env, subject, window, logged, state, request.run_id, now)
    if champion is not None and champion.version == version.version:
        made, facts = respond(env.store, env.lifecycle, made, before, _cutoff(subject), now)
    else:
        facts = {
            "state": "quiet",
            "reason": "not the champion",
            "retrain": False,
            "measure": measure_key(made),
        }
    key = write_measure(env.store, made)
    made = read_measure(env.store, key)  # of a try before this one, if that came so far
    _report(made, env)
    _log(made, env)
    return StageResult(outputs={"measure": _reference(made, key, env)}, facts={**facts, **_facts(made)})


def _subject(version: RegisteredVersion, env: StageEnv) -> Subject:
    """Raises IntegrityError for a reference profile that is not the one that the verdict names."""
    found = read_profile(env.store, env.lifecycle.name, version.bundle_digest)
    if found is not None:
        _check(found[1], version, env)
    return Subject(
        version=version.version,
        digest=version.bundle_digest,
        manifest=read_manifest(env.store, version.bundle, version.bundle_digest),
        profile=found[0] if found else None,
        reference=found[1] if found else None,
    )


def _check(name: str, version: RegisteredVersion, env: StageEnv) -> None:
    entries = Ledger(env.store, env.lifecycle.name).newest(_ENTRIES)
    acts = acts_about(entries, version.bundle_digest)
    try:
        verdict = read_verdict(env.store, env.lifecycle.name, version.bundle_digest, acts)
    except NotFoundError:
        return  # swept: nothing is left that it could contradict
    promised = verdict.content.get("profile") if verdict else None
    if verdict is None or promised in (None, name):
        return
    # a bundle that was evaluated again, by a newer release, has a newer profile and a newer verdict
    if name not in _named_by_verdicts(env, version.bundle_digest):
        raise IntegrityError(
            "the reference profile is not the one that the verdict names",
            where=verdict.uri,
            fix="run the evaluate stage of that version again with force, or restore the file from a backup",
        )


def _named_by_verdicts(env: StageEnv, bundle: str) -> set[str]:
    """Digests of the profiles that verdicts on a bundle name."""
    found = (
        json.loads(env.store.get(entry.key)) for entry in env.store.list(f"{env.lifecycle.name}/verdicts")
    )
    return {
        str(verdict.get("profile"))
        for verdict in found
        if (verdict.get("challenger") or {}).get("digest") == bundle
    }


def _state(before: Sequence[Measure], subject: Subject, window: Asked) -> dict[str, Any] | None:
    """Of the detector, after the newest day that it counted for this version in this log."""
    states = [
        one.concept.state
        for one in before
        if one.bundle == subject.digest and one.series == window.series and one.concept and one.concept.state
    ]
    return max(states, key=lambda state: str(state.get("last", "")), default=None)


def _cutoff(subject: Subject) -> date | None:
    cutoff = subject.manifest.get("cutoff")
    return date.fromisoformat(str(cutoff)[:10]) if cutoff else None


def _report(made: Measure, env: StageEnv) -> None:
    """A page that cannot be made must not cost what was measured: the ledger may have told of it already."""
    try:
        env.store.put(report_key(made), render_report(env.store, env.lifecycle.name).encode())
    except Exception:
        env.log.exception("no report was written")


def _log(made: Measure, env: StageEnv) -> None:
    window = made.window
    env.log.info(
        "version %s, predictions from %s to %s: %d rows",
        made.version,
        window.start.isoformat(timespec="seconds"),
        window.end.isoformat(timespec="seconds"),
        window.rows,
    )
    for finding in made.findings:
        env.log.info("%-8s %s: %s", finding.severity, finding.kind, finding.text)
    if made.policy:
        env.log.info("policy: %s: %s", made.policy.state, made.policy.reason)


def _reference(made: Measure, key: str, env: StageEnv) -> Reference:
    content = canonical_json(made.to_json())
    return Reference(
        "measure",
        env.store.uri(key),
        digest(content),
        rows=made.window.rows,
        bytes=len(content),
        meta={"version": made.version, "report": env.store.uri(report_key(made))},
    )


def _facts(made: Measure) -> dict[str, Any]:
    """Small figures for people; `drifted` names columns."""
    quality = made.quality
    return {
        "version": made.version,
        "rows": made.window.rows,
        "enough": made.window.enough,
        "drifted": list(made.drift.drifted) if made.drift else [],
        "worse": bool(quality and quality.worse),
        "loss": round(quality.loss, 5) if quality else None,
        "labelled": quality.labelled if quality else 0,
        "findings": [[one.kind, one.severity, one.text] for one in made.findings],
    }

"""A trace as JSON, for scripts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from windtunnel.lineage.answers import Answer
    from windtunnel.lineage.replay import Replay
    from windtunnel.lineage.skew import Skew
    from windtunnel.lineage.trace import Trace, VersionTrace


def to_json(trace: Trace, replays: Mapping[int, Replay], skew: Skew | None) -> dict[str, Any]:
    """The whole trace; NaN becomes null."""
    return {
        "prediction_id": trace.id.text,
        "lifecycle": trace.lifecycle,
        "time": trace.id.time.isoformat(),
        "answers": [_answer_json(answer, replays.get(place)) for place, answer in enumerate(trace.answers)],
        "versions": {name: _version_json(version) for name, version in trace.versions.items()},
        "offline": None
        if skew is None
        else {
            "compared": skew.compared,
            "differences": [
                {
                    "row": d.row,
                    "feature": d.feature,
                    "served": _finite(d.served),
                    "offline": _finite(d.offline),
                }
                for d in skew.differences
            ],
        },
    }


def _answer_json(answer: Answer, replayed: Replay | None) -> dict[str, Any]:
    return {
        "role": answer.role,
        "version": answer.version,
        "digest": answer.digest,
        "time": answer.time.isoformat(),
        "key": answer.key,
        "event_time": answer.event_time.isoformat() if answer.event_time else None,
        "latency_seconds": answer.latency_seconds,
        "writer": answer.writer,
        "features": list(answer.names),
        "rows": [
            {
                "entities": answer.entities[row],
                "features": [_finite(value) for value in answer.inputs[row].tolist()],
                "missing": answer.missing[row],
                "stale": answer.stale[row],
                "prediction": float(answer.predictions[row]),
            }
            for row in range(len(answer.predictions))
        ],
        "replay": None
        if replayed is None
        else {
            "predictions": [_finite(value) for value in replayed.predictions.tolist()],
            "exact": replayed.exact,
            "agrees": replayed.agrees,
            "difference": _finite(replayed.difference),
        },
    }


def _version_json(version: VersionTrace) -> dict[str, Any]:
    return {
        "version": version.version,
        "bundle": version.bundle,
        "manifest": version.manifest,
        "views": version.views,
        "verdict": version.verdict.content if version.verdict else None,
        "verdict_uri": version.verdict.uri if version.verdict else None,
        "acts": [vars(act) for act in version.acts],
        "snapshot": version.snapshot,
        "snapshot_uri": version.snapshot_uri or None,
        "lost": [{"link": lost.link, **lost.error.to_json()} for lost in version.lost],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

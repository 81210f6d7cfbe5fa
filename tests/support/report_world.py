"""A lifecycle with a past: weeks of windows, drift, a refusal, a retraining that was promoted, and recovery.

Everything is written as the stages write it, by the same functions where there are any.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from measured_days import LIFECYCLE, NUMBERS, START, measure_of

from windtunnel.digests import canonical_json, digest
from windtunnel.features.freshness import ViewFreshness, write_freshness
from windtunnel.ledger import Ledger
from windtunnel.monitoring.measures import Measure, write_measure

if TYPE_CHECKING:
    from windtunnel.objects import ObjectStore


def write_past(store: ObjectStore, windows: int = 36, drift_from: int = 22, retrained: int = 30) -> Measure:
    """Write it all; the newest measure. Drift begins at a window, the new champion serves from another on."""
    old, new = _bundle(store, "6", "2013-10-17"), _bundle(store, "8", "2022-12-30")
    ledger = Ledger(store, LIFECYCLE)
    verdict = write_verdict(
        store, ("6", old), None, "promote", ["log_loss is 0.04012 better than the base rate's"]
    )
    _act(ledger, "promotion", "6", old, START - timedelta(days=3), evidence=verdict)
    for day in range(windows):
        end = START + timedelta(days=day + 1)
        if day == drift_from + 1:
            _act(
                ledger,
                "drift",
                "6",
                old,
                end,
                reason="drift for 2 windows in a row: carrier, dest, wind_gust",
            )
            _act(ledger, "retraining", "6", old, end, reason="drift for 2 windows in a row")
            reasons = [
                "log_loss is 0.00210 worse than champion version 6's: not shown to be within the margin"
            ]
            write_verdict(store, ("7", _bundle(store, "7", "2022-12-24")), ("6", old), "refuse", reasons)
            ledger.append(
                {
                    "action": "refusal",
                    "version": "7",
                    "run_id": f"asset_triggered__{end:%Y-%m-%dT%H:%M:%S}",
                    "reasons": reasons,
                    "because": "drift for 2 windows in a row",
                    "at": end.isoformat(),
                }
            )
        if day == retrained:
            _act(ledger, "retrained", "8", new, end, because="worse quality for 3 windows in a row")
            evidence = write_verdict(
                store,
                ("8", new),
                ("6", old),
                "promote",
                ["log_loss is 0.03120 better than champion version 6's, between -0.04110 and -0.02130"],
            )
            _act(ledger, "promotion", "8", new, end, replaced="6", evidence=evidence)
        if day == retrained + 3:
            _act(ledger, "recovered", "8", new, end, reason="2 good windows in a row")
        measure = measure_of(
            day, drifted=drift_from <= day < retrained, version=("8", new) if day >= retrained else ("6", old)
        )
        write_measure(store, measure)
    _records(store, windows)
    for view in ("route", "carrier", "weather"):
        published = measure.window.end
        write_freshness(
            store,
            LIFECYCLE,
            ViewFreshness(
                view, published - timedelta(hours=3), "2023-02-06", 9000, 10**6, 4.2, 93600.0, published
            ),
        )
    return measure


def _bundle(store: ObjectStore, version: str, cutoff: str) -> str:
    snapshot = {
        "kind": "Snapshot",
        "training": ["2022-10-01", cutoff],
        "evaluation": [cutoff, "2022-12-31"],
        "label_kind": "binary",
        "unlabelled": 312,
    }
    content = canonical_json(snapshot)
    store.put(f"{LIFECYCLE}/snapshots/{digest(content).removeprefix('sha256:')}/manifest.json", content)
    manifest = canonical_json(
        {
            "kind": "Bundle",
            "lifecycle": LIFECYCLE,
            "runtime": "onnx",
            "input": {"missing": "allowed"},
            "output": {"kind": "binary"},
            "parity": {"max_abs_difference": 2.4e-7},
            "features": [{"name": one, "source": f"weather:{one}"} for one in NUMBERS],
            "snapshot": digest(content),
            "spec": "sha256:" + "cd" * 32,
            "code": "3f2a9c01d2e4" + version,
            "cutoff": cutoff,
            "estimator": "HistGradientBoostingClassifier",
            "libraries": {"numpy": "2.4.6", "scikit-learn": "1.9.1"},
        }
    )
    name = digest(manifest)
    store.put(f"{LIFECYCLE}/bundles/{name.removeprefix('sha256:')}/manifest.json", manifest)
    return name


def write_verdict(
    store: ObjectStore,
    challenger: tuple[str, str],
    champion: tuple[str, str] | None,
    decision: str,
    reasons: list[str],
) -> str:
    """A verdict as `evaluate` writes it; its URI."""
    better = -0.031 if decision == "promote" else 0.002
    metrics = {
        "challenger": {
            "average_precision": 0.41,
            "auc": 0.722,
            "log_loss": 0.431,
            "brier": 0.139,
            "calibration_error": 0.011,
        },
        "champion": {
            "average_precision": 0.38,
            "auc": 0.701,
            "log_loss": 0.462,
            "brier": 0.147,
            "calibration_error": 0.034,
        },
        "logistic": {
            "average_precision": 0.36,
            "auc": 0.690,
            "log_loss": 0.470,
            "brier": 0.149,
            "calibration_error": 0.013,
        },
        "base_rate": {
            "average_precision": 0.21,
            "auc": 0.5,
            "log_loss": 0.512,
            "brier": 0.165,
            "calibration_error": 0.0,
        },
    }
    if champion is None:
        del metrics["champion"]
    bins = [{"rows": 600, "predicted": 0.04 + 0.07 * b, "observed": 0.045 + 0.067 * b} for b in range(10)]
    content = canonical_json(
        {
            "kind": "Verdict",
            "lifecycle": LIFECYCLE,
            "decision": decision,
            "reasons": reasons,
            "notes": ["note: log_loss is 0.03900 better than a logistic regression's on this window"],
            "challenger": {"version": challenger[0], "digest": challenger[1], "cutoff": "2022-12-24"},
            "champion": {"version": champion[0], "digest": champion[1]} if champion else None,
            "window": ["2022-12-24", "2022-12-30"],
            "metrics": metrics,
            "reliability": {"challenger": bins, "logistic": bins},
            "gate": {
                "decision": decision,
                "metric": "log_loss",
                "mode": "refresh",
                "rows": 6012,
                "difference": better,
                "interval": [better - 0.01, better + 0.01],
                "level": 0.9,
                "detectable": 0.0061,
                "slices_too_small": 3,
                "guardrails": [
                    {
                        "name": f"origin={one}",
                        "rows": 2004,
                        "difference": better,
                        "p_value": 0.9,
                        "passed": True,
                    }
                    for one in ("EWR", "JFK", "LGA")
                ],
            },
        }
    )
    key = f"{LIFECYCLE}/verdicts/{digest(content).removeprefix('sha256:')}.json"
    store.put(key, content)
    return store.uri(key)


def _act(ledger: Ledger, action: str, version: str, bundle: str, at: datetime, **more: Any) -> None:
    entry = {
        "action": action,
        "version": version,
        "bundle_digest": bundle,
        "at": at.isoformat(),
        "by": "stage/monitor",
    }
    ledger.append({**entry, "run_id": f"scheduled__{at:%Y-%m-%dT%H:%M:%S}+00:00", **more})


def _records(store: ObjectStore, days: int) -> None:
    stages = (
        ("extract", 4.0),
        ("transform", 9.0),
        ("materialize", 6.0),
        ("train", 48.0),
        ("evaluate", 7.0),
        ("monitor", 3.0),
    )
    for day in range(days):
        at = START + timedelta(days=day)
        for place, (stage, seconds) in enumerate(stages):
            failed = stage == "train" and day == 9
            record = {
                "stage": stage,
                "run_id": f"scheduled__{at:%Y-%m-%d}",
                "try": 1,
                "started": (at + timedelta(minutes=place)).isoformat(),
                "ended": (at + timedelta(minutes=place, seconds=seconds)).isoformat(),
                "seconds": seconds,
                "cpu_seconds": seconds * 1.3,
                "max_memory_bytes": int(seconds * 12e6),
                "rows": 9000,
                "bytes": 10**6,
                "outcome": "failed" if failed else "success",
                "reason": "out_of_memory" if failed else "",
                "error": "",
                "facts": {},
                "outputs": {},
                "cost": seconds / 3600 * 0.12,
            }
            store.put(f"{LIFECYCLE}/runs/scheduled__{at:%Y-%m-%d}/{stage}.1.json", canonical_json(record))

"""What the ledger is told of a verdict that refuses: by evaluate, and by rollout, which measures nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from windtunnel.ledger import Ledger

if TYPE_CHECKING:
    from windtunnel.objects import ObjectStore
    from windtunnel.stages.base import StageRequest


def record_refusal(
    store: ObjectStore, verdict: dict[str, Any], uri: str, name: str, request: StageRequest
) -> None:
    """One ledger entry per verdict, whoever is first: after a refusal Airflow skips the rollout stage."""
    entry = {
        "action": "refusal",
        "run_id": request.run_id,
        "version": verdict["challenger"]["version"],
        "bundle_digest": verdict["challenger"]["digest"],
        "champion": verdict["champion"]["version"] if verdict["champion"] else None,
        "verdict": uri,
        "reasons": verdict["reasons"],
    }
    if because := request.params.get("reason"):
        entry["because"] = str(because)
    ledger = Ledger(store, verdict["lifecycle"])
    ledger.append(entry, identity=f"refusal:{name}", since=store.modified(store.key(uri)))

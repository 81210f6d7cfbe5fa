"""The mirror: acts of a ServedModel's history → the ledger, and MLflow's alias → what serves.

What is mirrored is true already, so this may be repeated, may come late, and may be done by several at once:
the controller in a loop of its own, and the rollout stage and the command line at their ends. An act's
identity is made of what never changes about it, so each stands in the ledger once, in order, also after a
ServedModel was restored from a backup.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from windtunnel.digests import canonical_json, digest
from windtunnel.rollout.history import acts, recorded

if TYPE_CHECKING:
    from windtunnel.ledger import Ledger
    from windtunnel.spec.servedmodel import Act, ServedModel


class Aliases(Protocol):
    """MLflow's alias `champion` of a lifecycle's registered model.

    Both raise StoreError when MLflow does not answer, and PermanentError when it refuses."""

    def champion_version(self, name: str) -> str | None: ...
    def set_champion(self, name: str, version: str) -> None: ...


def record(model: ServedModel, ledger: Ledger) -> int:
    """Write every act that the ledger does not have yet; returns the number of the last act that it has.

    Raises StoreError when the object store does not answer: some may be written then, and a repeat finds
    them.
    """
    waiting = unrecorded(model)
    if not waiting:
        return recorded(model)
    lifecycle = model.spec.lifecycle
    since = min(act.at for act in waiting)
    ledger.append_all(
        [(identity_of(lifecycle, act), entry_of(act)) for act in waiting],
        # whoever acted with a clock that is ahead: his entries may have been written "before" it
        since=since if since <= datetime.now(UTC) else None,
    )
    return waiting[-1].number


def unrecorded(model: ServedModel) -> tuple[Act, ...]:
    """Acts that the ledger may not have, as far as the status tells."""
    return tuple(act for act in acts(model) if act.number > recorded(model))


def follow(model: ServedModel, aliases: Aliases) -> bool:
    """Let the alias name what serves; returns whether it was written. Raises as `Aliases` does."""
    version = model.spec.champion.version
    if aliases.champion_version(model.spec.lifecycle) == version:
        return False
    aliases.set_champion(model.spec.lifecycle, version)
    return True


def identity_of(lifecycle: str, act: Act) -> str:
    """What no other act has. Only fields that every release knows and nobody sets anew take part."""
    content = {
        "action": act.action,
        "version": act.version,
        "digest": act.digest,
        "run_id": act.run_id,
        "by": act.by,
        "at": act.at.astimezone(UTC).isoformat(),
    }
    return f"{lifecycle}:{act.number}:{digest(canonical_json(content))}"


def entry_of(act: Act) -> dict[str, Any]:
    """The ledger's entry of an act."""
    return {
        "action": act.action,
        "act": act.number,
        "version": act.version,
        "bundle": act.bundle,
        "bundle_digest": act.digest,
        "replaced": act.replaced,
        "run_id": act.run_id,
        "at": act.at.astimezone(UTC).isoformat(),
        "by": act.by,
        "reason": act.reason,
        "evidence": act.evidence,
    }

"""What was decided about a model version: its acts in the ledger, and the verdict behind them."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from windtunnel.digests import digest
from windtunnel.errors import IntegrityError, NotFoundError, RequestError
from windtunnel.spec.servedmodel import SEATED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from windtunnel.objects import ObjectStore

_AT_ONCE = 16


@dataclass(frozen=True)
class Act:
    """One entry of the ledger about the version."""

    number: int
    action: str
    at: str
    by: str
    run_id: str
    replaced: str | None
    reasons: tuple[str, ...]
    evidence: str
    """URI of what it stands on; may be empty."""


@dataclass(frozen=True)
class Verdict:
    """The gate's decision, as it was written."""

    uri: str
    content: dict[str, Any]


def acts_about(entries: Sequence[dict[str, Any]], name: str) -> list[Act]:
    """The acts about the bundle with this digest, the oldest first; `entries` are the ledger's."""
    return [_act(entry) for entry in entries if _first(entry, "digest", "bundle_digest") == name]


def read_verdict(store: ObjectStore, lifecycle: str, name: str, acts: Sequence[Act]) -> Verdict | None:
    """The verdict about a bundle: what gave it the seat, else what its last act stands on, else (it has not
    been through a rollout) the newest one about it. None when there is none.

    Raises IntegrityError when it was changed, NotFoundError when an act names it and it is gone, StoreError.
    """
    seated = [act for act in acts if act.action in SEATED]
    for act in [*reversed(seated), *reversed(acts)]:
        if act.evidence and (found := _at(store, act.evidence)):
            return found
    return _newest(store, lifecycle, name)


def _at(store: ObjectStore, uri: str, follow: bool = True) -> Verdict | None:
    """The verdict at a URI, or that which the document there names; None for evidence of another kind."""
    try:
        key = store.key(uri)
    except RequestError:
        return None
    if not key.endswith(".json"):
        return None
    try:
        content = store.get(key)
    except NotFoundError:
        raise NotFoundError(
            "what the decision stands on is no longer there: it was swept",
            where=store.uri(key),
            fix="restore it from a backup; what the ledger says of it is told here",
        ) from None
    found = _parsed(content, store.uri(key))
    if found.get("kind") == "Verdict":
        promised = key.rpartition("/")[2].removesuffix(".json")
        if digest(content) != f"sha256:{promised}":
            raise IntegrityError(
                "the verdict was changed after it was written",
                where=store.uri(key),
                fix="restore it from a backup; do not believe what it says now",
            )
        return Verdict(store.uri(key), found)
    named = found.get("verdict")
    return _at(store, named, follow=False) if follow and isinstance(named, str) and named else None


def _newest(store: ObjectStore, lifecycle: str, name: str) -> Verdict | None:
    listed = sorted(store.list(f"{lifecycle}/verdicts"), key=lambda entry: entry.modified, reverse=True)
    for verdict in _each(store, [entry.key for entry in listed]):
        if (verdict.content.get("challenger") or {}).get("digest") == name:
            return verdict
    return None


def _each(store: ObjectStore, keys: Sequence[str]) -> Iterator[Verdict]:
    """Several at a time, and no more of them than are asked for. One that is swept meanwhile is left out."""

    def read(key: str) -> Verdict | None:
        try:
            return _at(store, key, follow=False)
        except NotFoundError:
            return None

    with ThreadPoolExecutor(max_workers=_AT_ONCE, thread_name_prefix="verdicts") as pool:
        for begin in range(0, len(keys), _AT_ONCE):
            yield from filter(None, pool.map(read, keys[begin : begin + _AT_ONCE]))


def _parsed(content: bytes, where: str) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise IntegrityError("it is no JSON object", where=where, fix="restore it from a backup")
    return found


def _act(entry: dict[str, Any]) -> Act:
    reasons = _first(entry, "reasons", "reason") or ()
    return Act(
        number=int(entry["number"]),
        action=str(entry.get("action", "")),
        at=str(_first(entry, "at", "written") or ""),
        by=str(entry.get("by") or ""),
        run_id=str(_first(entry, "run_id", "runId") or ""),
        replaced=_first(entry, "replaced"),
        reasons=(reasons,) if isinstance(reasons, str) else tuple(map(str, reasons)),
        evidence=str(_first(entry, "evidence", "verdict") or ""),
    )


def _first(entry: dict[str, Any], *names: str) -> Any:
    """The first of these that has a value; entries of older releases have other names."""
    return next((entry[name] for name in names if entry.get(name)), None)

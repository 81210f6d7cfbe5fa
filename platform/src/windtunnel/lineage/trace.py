"""One prediction, traced back: who answered, what that version is, why it serves, what it was trained on.

A link that is lost, because it was swept or changed, does not end the trace: what is known is told, and what
is lost is told with it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from windtunnel.digests import canonical_json, digest
from windtunnel.errors import IntegrityError, NotFoundError, PermanentError, WindtunnelError
from windtunnel.ledger import Ledger
from windtunnel.lineage.answers import answers_of
from windtunnel.lineage.judgement import acts_about, read_verdict
from windtunnel.prediction_log.reading import find
from windtunnel.registry.bundle import bundle_folder, read_manifest

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from windtunnel.lineage.answers import Answer
    from windtunnel.lineage.judgement import Act, Verdict
    from windtunnel.objects import ObjectStore
    from windtunnel.prediction_log.ids import PredictionId

    Found = TypeVar("Found")


@dataclass(frozen=True)
class Lost:
    """A link of the chain that cannot be followed, and why."""

    link: str
    error: WindtunnelError


@dataclass
class VersionTrace:
    """All that is known of a model version; None or empty where it is not known."""

    version: str
    digest: str
    bundle: str
    """URI of the bundle."""
    manifest: dict[str, Any] | None = None
    verdict: Verdict | None = None
    acts: list[Act] = field(default_factory=list)
    snapshot_uri: str = ""
    snapshot: dict[str, Any] | None = None
    lost: list[Lost] = field(default_factory=list)

    @property
    def defaults(self) -> dict[str, float]:
        """What stands for a missing value, of the features that have a default."""
        views = (self.manifest or {}).get("online", {}).get("views", [])
        stored = [of for view in views for of in view["features"]]
        return {str(of["name"]): float(of["default"]) for of in stored if of.get("default") is not None}

    @property
    def views(self) -> dict[str, str]:
        """Feature views that the model reads, each with the digest of its definition: join keys, types, ttl,
        defaults.
        """
        online = (self.manifest or {}).get("online", {}).get("views", [])
        return {str(view["name"]): digest(canonical_json(view)) for view in online}


@dataclass(frozen=True)
class Trace:
    """A prediction and where it comes from."""

    id: PredictionId
    lifecycle: str
    answers: list[Answer]
    """Whose answer the caller got first; then shadows."""
    versions: dict[str, VersionTrace]
    """By digest of the bundle."""

    @property
    def lost(self) -> list[Lost]:
        """Links that cannot be followed, of all versions."""
        return [lost for version in self.versions.values() for lost in version.lost]


def trace(store: ObjectStore, prediction: PredictionId, lifecycle: str | None) -> Trace | None:
    """Trace a prediction; None when it is not in the log. Without a lifecycle all are looked through.

    Raises IntegrityError when its rows in the log were changed, DataError when a file there cannot be read,
    StoreError.
    """
    rows = find(store, prediction.text, lifecycle)
    if not rows:
        return None
    name = rows[0].object_key.partition("/")[0]
    answers = answers_of(rows)
    versions = {
        answer.digest: trace_version(store, name, answer.version, answer.digest) for answer in answers
    }
    for answer in answers:
        _compare(answer, versions[answer.digest])
    return Trace(prediction, name, answers, versions)


def trace_version(store: ObjectStore, lifecycle: str, version: str, name: str) -> VersionTrace:
    """What is known of the version with the bundle of this digest. Raises StoreError."""
    folder = bundle_folder(lifecycle, name)
    traced = VersionTrace(version, name, store.uri(folder))
    traced.manifest = _link(traced, "bundle", lambda: _manifest(store, traced))
    entries = _link(traced, "ledger", Ledger(store, lifecycle).verified_entries) or []
    traced.acts = acts_about(entries, name)
    traced.verdict = _link(traced, "verdict", lambda: read_verdict(store, lifecycle, name, traced.acts))
    promised = (traced.manifest or {}).get("snapshot") or (
        traced.verdict.content.get("snapshot") if traced.verdict else None
    )
    if promised:
        key = f"{lifecycle}/snapshots/{promised.removeprefix('sha256:')}"
        traced.snapshot_uri = store.uri(key)
        traced.snapshot = _link(traced, "snapshot", lambda: _snapshot(store, key, promised))
    return traced


def _link(traced: VersionTrace, link: str, read: Callable[[], Found]) -> Found | None:
    try:
        return read()
    except PermanentError as error:
        traced.lost.append(Lost(link, error))
        return None


def _manifest(store: ObjectStore, traced: VersionTrace) -> dict[str, Any]:
    try:
        return read_manifest(store, traced.bundle, traced.digest)
    except NotFoundError:
        raise NotFoundError(
            "the bundle is no longer there: it was swept, or this is not the store that it was written to",
            where=traced.bundle,
            fix="restore it from a backup to this place; its digest proves that it is the one",
        ) from None


def _snapshot(store: ObjectStore, folder: str, promised: str) -> dict[str, Any]:
    where = store.uri(folder)
    try:
        content = store.get(f"{folder}/manifest.json")
    except NotFoundError:
        raise NotFoundError(
            "the snapshot is no longer there: it was swept",
            where=where,
            fix="the snapshot stage makes it again of the same days, while their partitions are kept",
        ) from None
    if digest(content) != promised:
        raise IntegrityError(
            f"the manifest has digest {digest(content)[:19]}…, promised was {promised[:19]}…",
            where=where,
            fix="it was changed since: restore it from a backup",
        )
    manifest: dict[str, Any] = json.loads(content)
    gone = [name for name in manifest.get("files", ()) if not store.exists(f"{folder}/{name}")]
    if gone:
        raise NotFoundError(
            f"of the snapshot {', '.join(gone)} is gone", where=where, fix="see its retention"
        )
    return manifest


def _compare(answer: Answer, traced: VersionTrace) -> None:
    """Note what the log and the bundle say differently."""
    if traced.manifest is None:
        return
    names = [str(feature["name"]) for feature in traced.manifest["features"]]
    if list(answer.names) != names:
        error = IntegrityError(
            f"the log has features {', '.join(answer.names)}; the bundle has {', '.join(names)}",
            where=answer.object_key,
            fix="the file was changed since it was written: restore it from a backup",
        )
        traced.lost.append(Lost("features", error))

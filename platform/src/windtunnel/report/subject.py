"""What a report is about, as it is gathered from the object store. Everything after this is pure."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from windtunnel.digests import digest, hex_of
from windtunnel.errors import IntegrityError, NotFoundError, PermanentError
from windtunnel.features.freshness import read_freshness
from windtunnel.ledger import Ledger
from windtunnel.monitoring.measures import read_measures
from windtunnel.spec.servedmodel import SEATED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from windtunnel.features.freshness import ViewFreshness
    from windtunnel.monitoring.measures import Measure
    from windtunnel.objects import ObjectStore

MEASURES, ENTRIES, RECORDS, VERDICTS = 60, 200, 400, 12
"""How far back a report looks: newest measures, entries of the ledger, stage records, verdicts."""
_AT_ONCE = 16

Found = TypeVar("Found")


@dataclass(frozen=True)
class Champion:
    """Who has the seat, by the ledger's last word."""

    version: str
    digest: str
    since: str
    """A moment as the ledger has it; may be empty."""
    act: str


@dataclass(frozen=True)
class Subject:
    """All that a report tells of one lifecycle, the oldest first everywhere."""

    lifecycle: str
    made: datetime
    measures: tuple[Measure, ...] = ()
    entries: tuple[dict[str, Any], ...] = ()
    records: tuple[dict[str, Any], ...] = ()
    verdicts: tuple[dict[str, Any], ...] = ()
    champion: Champion | None = None
    manifest: dict[str, Any] | None = None
    """Of the champion's bundle."""
    profile: dict[str, Any] | None = None
    """The champion's reference profile."""
    snapshot: dict[str, Any] | None = None
    """Manifest of the snapshot that the champion was trained on."""
    freshness: dict[str, ViewFreshness] = field(default_factory=dict)
    lost: tuple[str, ...] = ()
    """What could not be read, and why: the rest is told all the same."""

    @property
    def last(self) -> Measure | None:
        return self.measures[-1] if self.measures else None

    @property
    def verdict(self) -> dict[str, Any] | None:
        """The newest."""
        return self.verdicts[-1] if self.verdicts else None


def gather(store: ObjectStore, lifecycle: str, now: datetime | None = None) -> Subject:
    """Read what there is. Raises NotFoundError for a lifecycle of which the store knows nothing, StoreError.

    What was changed or swept is left out and named in `lost`.
    """
    if lifecycle not in store.folders():
        raise NotFoundError(
            f"nothing is known of a lifecycle {lifecycle!r}",
            where=store.url,
            fix=f"a first run does it: windtunnel run {lifecycle}",
        )
    lost: list[str] = []

    def attempt(what: str, read: Callable[[], Found]) -> Found | None:
        try:
            return read()
        except PermanentError as error:
            lost.append(f"{what}: {error}")
        except (AttributeError, KeyError, TypeError, ValueError) as error:  # of another shape
            lost.append(f"{what}: {type(error).__name__}: {error}")
        return None

    entries = attempt("the ledger", lambda: Ledger(store, lifecycle).newest(ENTRIES)) or []
    if odd := sum(not isinstance(entry, dict) for entry in entries):
        lost.append(f"the ledger: {odd} entries are no JSON objects")
        entries = [entry for entry in entries if isinstance(entry, dict)]
    champion = _champion(entries)
    manifest = profile = snapshot = None
    if champion:
        # Keys as windtunnel.registry.bundle makes them, which takes numpy to import.
        folder = f"{lifecycle}/bundles/{hex_of(champion.digest)}"
        bundle = champion.digest
        manifest = attempt("the champion's bundle", lambda: _sealed(store, f"{folder}/manifest.json", bundle))
        profile = attempt(
            "the champion's reference profile", lambda: _json(store, f"{folder}/reference.json")
        )
    if promised := str((manifest or {}).get("snapshot") or ""):
        key = f"{lifecycle}/snapshots/{hex_of(promised)}/manifest.json"
        snapshot = attempt("the snapshot behind the champion", lambda: _sealed(store, key, promised))
    return Subject(
        lifecycle=lifecycle,
        made=now or datetime.now(UTC),
        measures=tuple(attempt("measures", lambda: read_measures(store, lifecycle, MEASURES)) or ()),
        entries=tuple(entries),
        records=tuple(
            sorted(
                attempt("stage records", lambda: _newest(store, f"{lifecycle}/runs", RECORDS)) or (),
                key=lambda record: str(record.get("started", "")),
            )
        ),
        verdicts=tuple(attempt("verdicts", lambda: _newest(store, f"{lifecycle}/verdicts", VERDICTS)) or ()),
        champion=champion,
        manifest=manifest,
        profile=profile,
        snapshot=snapshot,
        freshness=attempt("freshness", lambda: read_freshness(store, lifecycle)) or {},
        lost=tuple(lost),
    )


def _champion(entries: Sequence[dict[str, Any]]) -> Champion | None:
    for entry in reversed(entries):
        if entry.get("action") in SEATED and entry.get("bundle_digest"):
            return Champion(
                version=str(entry.get("version", "")),
                digest=str(entry["bundle_digest"]),
                since=str(entry.get("at") or entry.get("written") or ""),
                act=str(entry["action"]),
            )
    return None


def _newest(store: ObjectStore, folder: str, most: int) -> list[dict[str, Any]]:
    """The JSON objects that were written last, the oldest of them first."""
    listed = [entry for entry in store.list(folder) if entry.key.endswith(".json")]
    chosen = sorted(listed, key=lambda entry: entry.modified)[-most:]
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="report") as pool:
        found = pool.map(lambda entry: _json(store, entry.key), chosen)
        return [content for content in found if content is not None]


def _json(store: ObjectStore, key: str) -> dict[str, Any] | None:
    """A JSON object; None for what is not there, or is none."""
    try:
        content = json.loads(store.get(key))
    except (NotFoundError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _sealed(store: ObjectStore, key: str, promised: str) -> dict[str, Any]:
    """A JSON object that its digest names. Raises IntegrityError, NotFoundError, TypeError, ValueError."""
    content = store.get(key)
    if digest(content) != promised:
        raise IntegrityError(
            "the content is not what its digest promises",
            where=store.uri(key),
            fix="it was changed since it was written: restore it from a backup",
        )
    found = json.loads(content)
    if not isinstance(found, dict):
        raise TypeError(f"{key} holds no JSON object")
    return found

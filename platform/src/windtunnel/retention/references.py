"""Which bundles and snapshots of a lifecycle are still needed, and by whom.

A bundle is needed while it serves or may serve again (the ServedModel and its history), while a run that used
it is young (its stage records), and while a prediction of it is in the log: so `windtunnel why` finds what
stands behind each prediction that it finds. A snapshot is needed by the bundles that stay.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final

from windtunnel.errors import DataError, NotFoundError
from windtunnel.features.daily import at_once
from windtunnel.ledger import Ledger
from windtunnel.prediction_log.reading import digests_of_files
from windtunnel.registry.bundle import bundle_folder, read_manifest
from windtunnel.rollout.history import former_champions
from windtunnel.spec.servedmodel import SEATED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from windtunnel.objects import ObjectStore
    from windtunnel.retention.contents import Unit
    from windtunnel.spec.servedmodel import ServedModel

_NAMING_STAGES: Final = ("snapshot.", "train.", "evaluate.", "rollout.", "score.")
"""How records of stages begin that name bundles or snapshots."""
_LATE: Final = timedelta(days=1)
"""A prediction is filed under the moment of its answer; clocks differ, and an act is told of late."""


@dataclass(frozen=True)
class Needed:
    """Digests in hex. `all_kept` says why none may go, and is empty when some may."""

    bundles: frozenset[str]
    snapshots: frozenset[str]
    all_kept: str = ""

    def holds(self, unit: Unit) -> bool:
        """Whether a unit must stay, however old it is."""
        if unit.kind not in ("bundles", "snapshots"):
            return False
        return bool(self.all_kept) or unit.name in (
            self.bundles if unit.kind == "bundles" else self.snapshots
        )


def serving(model: ServedModel | None) -> set[str]:
    """Digests of what serves, of what is on its way to it, and of what a rollback may go back to."""
    if model is None:
        return set()
    seats = [model.spec.champion, model.spec.challenger, *former_champions(model)]
    return {seat.digest for seat in seats if seat is not None}


def answered_since(entries: Iterable[Mapping[str, Any]], oldest: datetime) -> set[str]:
    """Digests of bundles that may have answered at `oldest` or later, as the ledger's acts tell: until the
    last act about them, or until another one took their seat. What still serves, `serving` knows.
    """
    last: dict[str, datetime] = {}
    digests: dict[str, str] = {}
    for entry in entries:
        name = str(entry.get("bundle_digest") or entry.get("digest") or "")
        if not name or (entry.get("action") == "refusal" and "act" not in entry):
            continue  # what the gate refuses never answered
        at = datetime.fromisoformat(str(entry.get("at") or entry["written"]))
        replaced = digests.get(str(entry.get("replaced")), name)
        digests[str(entry["version"])] = name
        for ended in (name, replaced):
            last[ended] = max(last.get(ended, at), at)
    return {name for name, at in last.items() if at + _LATE >= oldest}


def needed(
    store: ObjectStore,
    lifecycle: str,
    model: ServedModel | None,
    units: Sequence[Unit],
    *,
    young: datetime,
    kept: Sequence[Unit],
) -> Needed:
    """What is needed, of `units`; `kept` are those among them that stay anyway, records written after `young`
    are believed to be about what is in use.

    Raises IntegrityError when the ledger's chain is broken or a bundle's manifest was changed, DataError,
    StoreError: nothing may go then.
    """
    entries = Ledger(store, lifecycle).verified_entries()
    if model is None and any(entry.get("action") in SEATED for entry in entries):
        return Needed(
            frozenset(),
            frozenset(),
            "the ledger knows of champions, and there is no ServedModel: is it lost?",
        )
    named = serving(model) | _used_lately(store, units, young) | _scored(store, kept)
    if (oldest := _oldest_prediction(kept)) is not None:
        named |= answered_since(entries, oldest)
    bundles = {_hex(name) for name in named} | {unit.name for unit in kept if unit.kind == "bundles"}
    there = sorted(bundles & {unit.name for unit in units if unit.kind == "bundles"})
    of_bundles = at_once(lambda name: _snapshot_of(store, lifecycle, name), there)
    snapshots = {_hex(name) for name in named} | {_hex(name) for name in of_bundles if name}
    return Needed(frozenset(bundles), frozenset(snapshots))


def _used_lately(store: ObjectStore, units: Sequence[Unit], young: datetime) -> set[str]:
    """Digests of what stages gave, found in the cache or not."""
    runs = [unit for unit in units if unit.kind == "records" and not unit.keys and unit.newest >= young]
    keys = [
        entry.key
        for entries in at_once(lambda unit: store.list(unit.place), runs)
        for entry in entries
        if entry.key.rpartition("/")[2].startswith(_NAMING_STAGES)
    ]
    outputs = [_json(store, key).get("outputs") or {} for key in keys]
    return {str(output.get("digest")) for named in outputs for output in named.values()}


def _scored(store: ObjectStore, kept: Sequence[Unit]) -> set[str]:
    """Digests of the bundles whose batch predictions are kept: one file tells of each version."""
    folders = [unit for unit in kept if unit.kind == "scores"]
    by_version = {
        entry.key.rpartition("/")[2].partition("-")[0]: entry
        for entries in at_once(lambda unit: store.list(unit.place), folders)
        for entry in entries
    }
    return digests_of_files(store, by_version.values())


def _oldest_prediction(kept: Sequence[Unit]) -> datetime | None:
    days = [unit.day for unit in kept if unit.kind == "predictions" and unit.day is not None]
    return datetime.combine(min(days), time(), UTC) if days else None


def _snapshot_of(store: ObjectStore, lifecycle: str, name: str) -> str:
    """The digest of the snapshot that a bundle was trained on; empty for a bundle that lost its manifest."""
    try:
        manifest = read_manifest(store, store.uri(bundle_folder(lifecycle, name)), f"sha256:{name}")
    except NotFoundError:
        return ""
    return str(manifest.get("snapshot") or "")


def _json(store: ObjectStore, key: str) -> Mapping[str, Any]:
    try:
        content = json.loads(store.get(key))
    except NotFoundError:
        return {}  # swept meanwhile
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise DataError("this is no stage record", where=store.uri(key), fix="move it elsewhere")
    return content


def _hex(name: str) -> str:
    return name.removeprefix("sha256:")

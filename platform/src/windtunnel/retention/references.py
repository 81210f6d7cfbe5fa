"""Which bundles and snapshots of a lifecycle are still needed, and by whom.

A bundle is needed while it serves, may serve again or is on its way to (the ServedModel, its history, the
verdicts that let it pass), and while a prediction of it is in the log: so `windtunnel why` finds what stands
behind each prediction that it finds. A snapshot is needed by the bundles that stay. What a run is using is
young (see registry.renewal), and no matter of this module.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from windtunnel.digests import hex_of
from windtunnel.errors import DataError, NotFoundError
from windtunnel.features.daily import at_once
from windtunnel.ledger import Ledger
from windtunnel.prediction_log.keys import short
from windtunnel.registry.bundle import bundle_folder, read_manifest
from windtunnel.retention.contents import belongs
from windtunnel.rollout.history import acts, former_champions
from windtunnel.spec.servedmodel import SEATED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from windtunnel.objects import ObjectStore
    from windtunnel.retention.contents import Unit
    from windtunnel.spec.lifecycle import Lifecycle
    from windtunnel.spec.servedmodel import ServedModel

_JUDGING: Final = "evaluate"
"""The stage whose records tell what passed the gate."""


@dataclass(frozen=True)
class Needed:
    """Digests in hex, of what is there. `all_kept` says why none may go, and is empty when some may."""

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


def serving(model: ServedModel | None, since: datetime) -> set[str]:
    """Digests of what serves, of what is on its way to it, of what a rollback may go back to, and of what
    acts since that moment are about: its last predictions may not be in the log yet."""
    if model is None:
        return set()
    seats = [model.spec.champion, model.spec.challenger, *former_champions(model)]
    recent = {act.digest for act in acts(model) if act.at >= since}
    return {seat.digest for seat in seats if seat is not None} | recent


def needed(
    store: ObjectStore,
    lifecycle: Lifecycle,
    model: ServedModel | None,
    units: Sequence[Unit],
    kept: Sequence[Unit],
    now: datetime,
) -> Needed:
    """What is needed, of `units`; `kept` are those among them that are not old enough to go.

    Raises IntegrityError when the ledger's chain is broken or a bundle's manifest was changed, DataError,
    StoreError: nothing may go then.
    """
    retention, name = lifecycle.spec.retention, lifecycle.name
    entries = Ledger(store, name).verified_entries()
    if model is None and any(entry.get("action") in SEATED for entry in entries):
        return _all("the ledger knows of champions, and there is no ServedModel: is it lost?")
    # Also of what goes now: it goes after bundles, and a sweep may end in between.
    log = {unit.place: unit.tells for unit in units if unit.kind in ("predictions", "scores")}
    if unnamed := sorted(place for place, tells in log.items() if "" in tells):
        return _all(f"the name of a file in {unnamed[0]} does not tell which bundle answered")
    answered = {told for tells in log.values() for told in tells}
    lately = now - timedelta(days=retention.unreferenced_days)
    judged = now - timedelta(days=retention.record_days)
    named = {hex_of(digest) for digest in serving(model, lately) | _passed(store, name, kept, judged)}
    there = {unit.name for unit in units if unit.kind == "bundles"}
    wanted = {one for one in there if one in named or short(one) in answered}
    young_ones = {unit.name for unit in kept if unit.kind == "bundles"}
    manifests = dict(at_once(lambda one: (one, _manifest(store, name, one)), sorted(wanted | young_ones)))
    if lost := sorted(one for one in wanted if manifests[one] is None):
        return _all(f"bundle {lost[0]} is needed and has no manifest: restore it, or delete the rest of it")
    snapshots = {hex_of(str(manifest.get("snapshot") or "")) for manifest in manifests.values() if manifest}
    return Needed(frozenset(wanted | young_ones), frozenset(snapshots - {""}))


def _all(why: str) -> Needed:
    return Needed(frozenset(), frozenset(), why)


def _passed(store: ObjectStore, lifecycle: str, kept: Sequence[Unit], since: datetime) -> set[str]:
    """Digests of the bundles that a gate let pass since then: a rollout may still wait for its approval."""
    runs = [
        unit for unit in kept if unit.kind == "records" and _JUDGING in unit.tells and unit.newest >= since
    ]
    listed = at_once(lambda unit: store.list(unit.place), runs)
    keys = [
        entry.key
        for unit, entries in zip(runs, listed, strict=True)
        for entry in entries
        if entry.key.startswith(f"{unit.place}{_JUDGING}.") and belongs(entry.key, unit, lifecycle)
    ]
    found = at_once(lambda key: _verdict_in(store, key), keys)
    return {str(verdict["bundle"]) for verdict in found if verdict.get("decision") == "promote"}


def _verdict_in(store: ObjectStore, key: str) -> Mapping[str, Any]:
    """What a stage record says of its verdict; empty for a try that came to none."""
    try:
        outputs = json.loads(store.get(key))["outputs"]
        meta = outputs["verdict"]["meta"] if outputs else {}
        return {"decision": meta.get("decision"), "bundle": meta.get("bundle")}
    except NotFoundError:
        return {}  # swept meanwhile
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            "this is no record of an evaluation", where=store.uri(key), fix="move it elsewhere"
        ) from error


def _manifest(store: ObjectStore, lifecycle: str, name: str) -> Mapping[str, Any] | None:
    try:
        return read_manifest(store, store.uri(bundle_folder(lifecycle, name)), f"sha256:{name}")
    except NotFoundError:
        return None

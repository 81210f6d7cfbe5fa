"""Takes units away, so that a sweep which is killed halfway leaves nothing that looks whole."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from windtunnel.features.daily import at_once
from windtunnel.registry.renewal import MANIFEST
from windtunnel.retention.contents import belongs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from windtunnel.objects import ObjectStore
    from windtunnel.retention.contents import Kind, Unit

_ORDER: Final[dict[Kind, int]] = {"bundles": 0, "snapshots": 1}
"""First what others could begin to use again; whether anybody does was asked just before."""
_SEALS: Final[dict[Kind, str]] = {
    "bundles": f"/{MANIFEST}",
    "snapshots": f"/{MANIFEST}",
    "partitions": ".json",
    "features": ".json",
}
"""What makes the rest of a unit whole, a manifest or a sidecar: it goes first."""


@dataclass
class Tally:
    """Objects and bytes, by kind."""

    objects: Counter[Kind] = field(default_factory=Counter)
    bytes: Counter[Kind] = field(default_factory=Counter)

    def add(self, unit: Unit) -> None:
        self.objects[unit.kind] += unit.objects
        self.bytes[unit.kind] += unit.bytes

    def to_json(self) -> dict[str, Any]:
        return {
            kind: {"objects": count, "bytes": self.bytes[kind]}
            for kind, count in sorted(self.objects.items())
        }


def tally(units: Iterable[Unit]) -> Tally:
    counted = Tally()
    for unit in units:
        counted.add(unit)
    return counted


def sweep(store: ObjectStore, lifecycle: str, units: Iterable[Unit]) -> list[Unit]:
    """Delete the units of a lifecycle; returns those that are gone. One that was written to since it was
    listed stays; so does what somebody else has put beside it. Where a bundle stays so, all snapshots do
    until the next sweep: one of them may be its own.

    Raises StoreError: what is gone by then is gone, and a repeat goes on with the rest.
    """
    ordered: dict[int, list[Unit]] = {}
    for unit in units:
        ordered.setdefault(_ORDER.get(unit.kind, len(_ORDER)), []).append(unit)
    gone: list[Unit] = []
    for _, alike in sorted(ordered.items()):
        if alike[0].kind == "snapshots" and len(gone) < len(ordered.get(_ORDER["bundles"], ())):
            continue
        taken = at_once(lambda unit: _take(store, lifecycle, unit), alike)
        gone += [unit for unit, is_gone in zip(alike, taken, strict=True) if is_gone]
    return gone


def _take(store: ObjectStore, lifecycle: str, unit: Unit) -> bool:
    keys = unit.keys
    if keys:
        written = [moment for key in keys if (moment := store.modified(key)) is not None]
    else:
        entries = [entry for entry in store.list(unit.place) if belongs(entry.key, unit, lifecycle)]
        keys, written = [entry.key for entry in entries], [entry.modified for entry in entries]
    if any(moment > unit.newest for moment in written):
        return False
    seals = [key for key in keys if key.endswith(_SEALS.get(unit.kind, "/"))]
    for key in seals:
        store.delete(key)
    at_once(store.delete, [key for key in keys if key not in seals])
    return True

"""`windtunnel status`: the last run of each lifecycle on this machine, and how fresh its views are."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from windtunnel.cli.console import out
from windtunnel.cli.freshness import tell_freshness
from windtunnel.cli.picture import told_by
from windtunnel.cli.verdict import tell_verdict
from windtunnel.features.freshness import read_freshness
from windtunnel.ledger import Ledger
from windtunnel.records import read_records
from windtunnel.rollout.history import seat
from windtunnel.spec.failures import recorded_reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windtunnel.local.home import Home
    from windtunnel.objects import ObjectStore


def tell_status(names: Sequence[str], home: Home) -> None:
    if not home.store.is_dir():
        out.print(f"Nothing ran in {home.directory} yet; `windtunnel run NAME` does it.", markup=False)
        return
    store = home.open_store()
    for name in names:
        _tell_lifecycle(name, home, store)


def _tell_lifecycle(name: str, home: Home, store: ObjectStore) -> None:
    records = read_records(store, name)
    if not records:
        out.print(f"[bold]{name}[/]  has not run here yet; `windtunnel run {name}` does it")
        return
    run_id = records[-1]["run_id"]
    began = _local_time(records[-1])
    out.print(f"[bold]{name}[/]  last run [bold]{run_id}[/]  [dim]{began:%Y-%m-%d}[/]")
    out.print(_table([record for record in records if record["run_id"] == run_id]))
    _tell_views(name, store)
    out.print(f"Champion: {_champion(name, home)}", markup=False, soft_wrap=True)
    for last in Ledger(store, name).newest(1):
        shown = {key: value for key, value in last.items() if key not in ("previous", "id")}
        out.print(
            f"Ledger: {last['number']} entries, the last: {json.dumps(shown)}", markup=False, soft_wrap=True
        )
    verdicts = [r for r in records if r["stage"] == "evaluate" and r["outcome"] == "success"]
    if verdicts:
        tell_verdict(verdicts[-1]["facts"])


def _tell_views(name: str, store: ObjectStore) -> None:
    now = datetime.now(UTC)
    views = {
        view: {**found.to_json(), "age_seconds": found.age_seconds(now), "stale": found.is_stale(now)}
        for view, found in read_freshness(store, name).items()
    }
    if views:
        out.print("\n[bold]Freshness[/] of the online store")
        tell_freshness(views)
        out.print()


def _table(records: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column("stage", overflow="fold")
    for column in ("started", "outcome"):
        table.add_column(column, no_wrap=True)
    for column in ("seconds", "CPU s", "MiB", "rows"):
        table.add_column(column, justify="right", no_wrap=True)
    for record in records:
        good = record["outcome"] == "success"
        outcome = (
            Text("cached", "dim") if record["cached"] else Text(record["outcome"], "green" if good else "red")
        )
        table.add_row(
            _name(record),
            f"{_local_time(record):%H:%M:%S}",
            outcome,
            f"{record['seconds']:.1f}",
            f"{record['cpu_seconds']:.1f}",
            f"{record['max_memory_bytes'] / 2**20:.0f}",
            f"{record['rows']:,}",
        )
        reason = recorded_reason(record)
        if reason is not None:
            first_line = record["error"].partition("\n")[0]
            table.add_row("", Text(f"{reason}: {first_line}", "red"))
    return table


def _local_time(record: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(record["started"]).astimezone()


def _name(record: dict[str, Any]) -> str:
    """Such as `materialize.route [2]`; records of older versions name no view."""
    name = ".".join(part for part in (record["stage"], record.get("view")) if part)
    return name if record["map_index"] is None else f"{name} [{record['map_index']}]"


def _champion(name: str, home: Home) -> str:
    model = home.served_model(name)
    if model is None:
        return "none yet"
    act = seat(model)
    since = f", {told_by(act)} at {act.at:%Y-%m-%d %H:%M:%S}" if act else ""
    before = f"; before it: version {model.spec.previous.version}" if model.spec.previous else ""
    return f"version {model.spec.champion.version}{since}{before}"

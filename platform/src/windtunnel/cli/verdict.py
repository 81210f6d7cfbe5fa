"""Metrics and verdicts in words and tables."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from windtunnel.cli.console import out


def tell_verdict(facts: dict[str, Any]) -> None:
    """The decision, its reasons, and the metrics behind it."""
    decision = str(facts.get("decision", "unknown"))
    colour = "green" if decision == "promote" else "yellow"
    out.print(f"\nVerdict: [bold {colour}]{decision}[/]")
    for reason in facts.get("reasons", ()):
        out.print(f"  - {reason}", markup=False, soft_wrap=True)
    tell_metrics(facts.get("metrics", {}))


def tell_metrics(metrics: dict[str, dict[str, Any]]) -> None:
    """One row per metric; one column for the challenger and for each that it is compared with."""
    if not metrics:
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="dim")
    table.add_column("")
    columns = sorted(metrics, key=lambda who: (who != "challenger", who))
    for who in columns:
        table.add_column(who.replace("_", " "), justify="right")
    for name in dict.fromkeys(name for who in columns for name in metrics[who]):
        table.add_row(f"  {name}", *(_shown(metrics[who].get(name)) for who in columns))
    out.print(table)


def tell_facts(title: str, facts: dict[str, Any]) -> None:
    """Small figures, one in a line; nothing when there are none."""
    if not facts:
        return
    out.print(f"\n[bold]{title}[/]")
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        out.print(f"  {name:<{width}}  {_shown(value)}", markup=False, soft_wrap=True)


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(item)}" for name, item in value.items() if item is not None)
    return f"{value:.4g}" if isinstance(value, float) else str(value)

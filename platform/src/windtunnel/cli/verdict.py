"""Metrics and verdicts in words."""

from __future__ import annotations

from typing import Any

from windtunnel.cli.console import out


def tell_verdict(facts: dict[str, Any]) -> None:
    """The decision, its reasons, and the metrics behind it."""
    decision = str(facts.get("decision", "unknown"))
    colour = "green" if decision == "promote" else "yellow"
    out.print(f"\nVerdict: [bold {colour}]{decision}[/]")
    for reason in facts.get("reasons", ()):
        out.print(f"  - {reason}", markup=False, soft_wrap=True)
    tell_facts("metrics", facts.get("metrics", {}))


def tell_facts(title: str, facts: dict[str, Any]) -> None:
    """Small figures, nested ones by their path; nothing when there are none."""
    flat = dict(_flatten(facts))
    if not flat:
        return
    out.print(f"\n[bold]{title}[/]")
    width = max(len(name) for name in flat)
    for name, value in flat.items():
        out.print(f"  {name:<{width}}  {value}", markup=False, soft_wrap=True)


def _flatten(facts: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    flat: list[tuple[str, str]] = []
    for key, value in facts.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            flat += _flatten(value, f"{name}.")
        elif isinstance(value, float):
            flat.append((name, f"{value:.5g}"))
        elif isinstance(value, str | int) and len(str(value)) <= 100:
            flat.append((name, str(value)))
    return flat

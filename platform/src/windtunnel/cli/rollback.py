"""`windtunnel rollback`: a former champion takes the seat again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape

from windtunnel.cli.acting import bundle_check, confirm, finish, utc_now, wait_until_served
from windtunnel.cli.console import out
from windtunnel.cli.words import ago, share
from windtunnel.rollout.history import seat
from windtunnel.rollout.rollback import RollbackPlan, plan, roll_back

if TYPE_CHECKING:
    from windtunnel.cli.targets import Target
    from windtunnel.spec.servedmodel import ServedModel


def roll_back_to(target: Target, to: str | None, reason: str, yes: bool) -> None:
    """Plan, ask, do, wait. Whoever has not seen the plan (`yes`) is not taken to know which champion goes."""
    model = target.get()
    planned = plan(model, to)
    if not planned.moves and planned.challenger is None:
        out.print(f"[bold]{target.lifecycle}[/]  [dim]{target.label}[/]")
        out.print(f"Version {planned.target.version} serves already, and there is no challenger.")
        return
    if not confirm(target, _lines(model, planned), "Roll back?", yes):
        return
    seen = None if yes else model.spec.champion.version
    done = roll_back(
        target.served_models,
        target.name,
        to if yes else planned.target.version,
        target.by,
        utc_now(),
        reason=reason,
        expected=seen,
        check=bundle_check(target),
    )
    finish(target, done.served_model)
    serves = done.served_model.spec.champion.version
    if not done.changed:
        out.print(f"Somebody was faster: version {serves} is the champion already.")
    elif done.act is not None and done.act.action == "taken_back":
        out.print(f"Version {done.act.version} is no challenger any more; version {serves} goes on serving.")
    else:
        out.print(f"[green]✓[/] version {serves} is the champion again")
    wait_until_served(target, serves)


def _lines(model: ServedModel, planned: RollbackPlan) -> list[str]:
    spec, lines = model.spec, []
    if planned.moves:
        act = seat(model)
        who = escape(act.by) if act and act.by else "unknown"
        since = f" [dim]({act.action} by {who}, {ago(act.at)})[/]" if act else ""
        warm = model.status is not None and planned.target.version in model.status.warm
        how = "is loaded in every pod: within a second" if warm else "is loaded first: a few seconds"
        lines.append(f"champion    [bold]{spec.champion.version} → {planned.target.version}[/]{since}")
        if model.status is not None and model.status.champion is not None:
            lines.append(f"            version {planned.target.version} {how}; no request fails meanwhile")
    if planned.challenger is not None:
        lines.append(
            f"challenger  [bold]{planned.challenger.version}[/] goes, with {share(spec)}; its rollout ends"
        )
    return lines

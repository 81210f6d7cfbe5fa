"""`windtunnel monitor`: what serves, looked at now, in Airflow or on this machine.

On this machine the loop is closed here, by the training that the lifecycle asks for.
"""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from windtunnel.cli.airflow_run import run_in_airflow
from windtunnel.cli.console import out
from windtunnel.cli.run import run_here, tell_outcome
from windtunnel.errors import RequestError
from windtunnel.prediction_log.keys import SCORES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from windtunnel.cli.airflow_api import TaskRun
    from windtunnel.cli.airflow_run import Result
    from windtunnel.local.home import Home

_COLOURS = {"critical": "bold red", "warning": "yellow", "info": "dim"}
_STATES = {"quiet": "green", "watching": "yellow", "retrain": "bold red"}


def window_params(start: str | None, end: str | None, version: str | None, *, scores: bool) -> dict[str, str]:
    """The params of the stage and of the DAG, of what was asked for. Raises RequestError.

    A day as `end` is meant as a whole.
    """
    first, last = _moment(start, "--from"), _moment(end, "--to")
    if last and end and _is_day(end):
        last += timedelta(days=1)
    if first and last and first >= last:
        raise RequestError(f"--from {start} lies after --to {end}", fix="let it be earlier")
    asked = {
        "start": first.isoformat() if first else None,
        "end": last.isoformat() if last else None,
        "version": version,
        "folder": SCORES if scores else None,
    }
    return {name: value for name, value in asked.items() if value}


def monitor_here(directory: Path, home: Home, params: Mapping[str, str]) -> int:
    """The monitor stage on this machine, and the training that it asks for. Exit code as of `run`."""
    again = f"windtunnel monitor {directory.name}"
    outcome, code = run_here(directory, home, again, None, None, dag="monitor", params=params)
    if outcome is None:
        return code
    facts = outcome.results["monitor"].facts
    tell_measure(directory.name, facts)
    if not facts.get("retrain"):
        return code
    out.print(f"\n[bold]Training[/] because of {facts['reason']}", soft_wrap=True)
    began = time.monotonic()
    end = date.fromisoformat(facts["end"]) if facts.get("end") else None
    reasons = {"reason": facts["reason"], "measure": facts["measure"]}
    again = f"windtunnel run {directory.name}"
    trained, code = run_here(directory, home, again, None, end, dag="train", params=reasons)
    if trained:
        tell_outcome(trained, home, time.monotonic() - began)
    return code


def monitor_in_airflow(name: str, url: str, environ: Mapping[str, str], params: Mapping[str, str]) -> int:
    """Start `<name>__monitor` and follow it. Exit code: 0, 1 when it failed, 130 when interrupted: the run
    goes on then.
    """
    return run_in_airflow(name, url, environ, "monitor", params, _tell_run)


def _tell_run(lifecycle: str, tasks: Sequence[TaskRun], result: Result) -> None:
    facts = result(tasks[-1].task_id, -1)["facts"]
    tell_measure(lifecycle, facts)
    if facts.get("retrain"):
        out.print(f"  {lifecycle}__train starts because of this", markup=False)


def tell_measure(lifecycle: str, facts: Mapping[str, Any]) -> None:
    """What was found, and what the policy makes of it."""
    state = str(facts.get("state", "unknown"))
    out.print()
    if "version" in facts:
        labelled = f", {facts['labelled']:,} of them labelled" if facts.get("labelled") else ""
        out.print(
            f"[bold]{lifecycle}[/]  version {facts['version']}: {facts['rows']:,} predictions{labelled}"
        )
    else:
        out.print(f"[bold]{lifecycle}[/]")
    for kind, severity, text in facts.get("findings", ()):
        out.print(f"  {severity:<8} {kind}: {text}", style=_COLOURS[severity], markup=False, soft_wrap=True)
    colour = _STATES.get(state, "yellow")
    words = state.replace("_", " ")
    out.print(f"[{colour}]{words}[/]: ", end="")
    out.print(str(facts.get("reason", "")), markup=False, soft_wrap=True)
    out.print(f"  windtunnel report {lifecycle}   shows it in pictures", markup=False, style="dim")


def _moment(text: str | None, option: str) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise RequestError(
            f"{text!r} is no moment", where=option, fix="write a day, 2026-01-31, or 2026-01-31T12:00, in UTC"
        ) from None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True

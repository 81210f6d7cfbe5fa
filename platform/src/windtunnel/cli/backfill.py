"""`windtunnel backfill`: fills the features of past days, in Airflow or on this machine."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from windtunnel.cli.airflow_run import run_in_airflow
from windtunnel.cli.console import out
from windtunnel.cli.freshness import tell_freshness
from windtunnel.cli.run import run_here
from windtunnel.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from windtunnel.cli.airflow_api import TaskRun
    from windtunnel.cli.airflow_run import Result
    from windtunnel.local.home import Home


def check_days(start: date, end: date, today: date, what: str = "a backfill") -> None:
    """Raises RequestError when they are not in order, or still to come (in any time zone)."""
    if start > end:
        raise RequestError(
            f"--from {start} lies after --to {end}", fix="both days are included; give the earlier one first"
        )
    if end > today + timedelta(days=1):
        raise RequestError(f"--to {end} is still to come", fix=f"{what} ends today or earlier")


def backfill_here(directory: Path, home: Home, start: date, end: date) -> int:
    """The features stages on this machine; exit code as of `windtunnel run`."""
    again = f"windtunnel backfill {directory.name} --from {start} --to {end}"
    outcome, code = run_here(directory, home, again, start, end, dag="features")
    if outcome:
        _tell_published(directory.name, outcome.results["publish"].facts)
    return code


def backfill_in_airflow(name: str, url: str, environ: Mapping[str, str], start: date, end: date) -> int:
    """Start `<name>__features` over these days and follow it. Exit code: 0, 1 when a stage failed, 130 when
    interrupted: the run goes on then.
    """
    conf = {"start": start.isoformat(), "end": end.isoformat()}
    return run_in_airflow(name, url, environ, "features", conf, _tell_run)


def _tell_run(lifecycle: str, tasks: Sequence[TaskRun], result: Result) -> None:  # noqa: ARG001
    _tell_published(lifecycle, result("publish", -1)["facts"])


def _tell_published(lifecycle: str, facts: Mapping[str, Any]) -> None:
    out.print()
    tell_freshness(facts["views"])
    if facts.get("news") is False:
        out.print(
            "\nThese days are older than what is served: newer values stayed as they are, and no training "
            "was started.",
            soft_wrap=True,
        )
    out.print(f"[green]✓[/] the features of [bold]{lifecycle}[/] are filled", soft_wrap=True)

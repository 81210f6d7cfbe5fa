"""`windtunnel score`: batch predictions over days, in Airflow or on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from windtunnel.cli.airflow_run import run_in_airflow
from windtunnel.cli.console import out
from windtunnel.cli.run import run_here

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date
    from pathlib import Path

    from windtunnel.cli.airflow_api import TaskRun
    from windtunnel.cli.airflow_run import Result
    from windtunnel.local.home import Home


def score_here(directory: Path, home: Home, start: date, end: date, version: str | None) -> int:
    """The score stage on this machine; exit code as of `windtunnel run`."""
    again = f"windtunnel score {directory.name} --from {start} --to {end}"
    again += f" --version {version}" if version else ""
    params = {"version": version} if version else {}
    outcome, code = run_here(directory, home, again, start, end, dag="score", params=params)
    if outcome:
        result = outcome.results["score"]
        tell_scores(
            directory.name,
            [{"facts": result.facts, "outputs": {"scores": {"uri": result.outputs["scores"].uri}}}],
        )
    return code


def score_in_airflow(
    name: str, url: str, environ: Mapping[str, str], start: date, end: date, version: str | None
) -> int:
    """Start `<name>__score` over these days and follow it, shard by shard. Exit code: 0, 1 when a shard
    failed, 130 when interrupted: the run goes on then.
    """
    conf = {"start": start.isoformat(), "end": end.isoformat()}
    if version:
        conf["version"] = version
    return run_in_airflow(name, url, environ, "score", conf, _tell_run)


def _tell_run(lifecycle: str, tasks: Sequence[TaskRun], result: Result) -> None:
    shards = [task.map_index for task in tasks if task.task_id == "score"]
    tell_scores(lifecycle, [result("score", shard) for shard in shards])


def tell_scores(lifecycle: str, results: Sequence[Mapping[str, Any]]) -> None:
    """What the shards' results say together."""
    facts = [result["facts"] for result in results]
    rows = sum(int(of["rows"]) for of in facts)
    if not rows:
        out.print(f"[yellow]nothing was asked of [bold]{lifecycle}[/bold] on these days[/]")
        return
    told = [of for of in facts if of["rows"]]
    mean = sum(of["mean_prediction"] * of["rows"] for of in told) / rows
    out.print()
    out.print(
        f"[green]✓[/] {rows:,} rows of [bold]{lifecycle}[/] scored by version {told[0]['version']}, "
        f"mean prediction {mean:.5g}",
        soft_wrap=True,
    )
    out.print(f"  {results[0]['outputs']['scores']['uri']}", markup=False, soft_wrap=True)
    out.print(
        f"  windtunnel why {told[0]['first_id']} {lifecycle}   tells of one of them",
        soft_wrap=True,
        markup=False,
    )

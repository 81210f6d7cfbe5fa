"""A run in Airflow from a terminal: logged in, checked, started, followed, and what failed told."""

from __future__ import annotations

import difflib
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from windtunnel.cli.airflow_api import PATIENCE, AirflowApi
from windtunnel.cli.console import err, out
from windtunnel.cli.follow import follow
from windtunnel.cli.run import EXIT_INTERRUPTED
from windtunnel.errors import (
    EXIT_OK,
    EXIT_UNEXPECTED,
    ConflictError,
    NotFoundError,
    RequestError,
    WindtunnelError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from windtunnel.cli.airflow_api import TaskRun
    from windtunnel.spec.stages import Dag

    Result = Callable[[str, int], Any]
    """What a task returned, by its id and map index (-1: it is not mapped)."""

USERNAME = "WINDTUNNEL_AIRFLOW_USERNAME"
PASSWORD = "WINDTUNNEL_AIRFLOW_PASSWORD"
# An address that does not answer is most likely wrong: nobody wants to wait a minute for that.
_FIRST_PATIENCE = 5.0
_SHOWN_FAILURES = 3
_SHOWN_LINES = 12


def run_in_airflow(
    name: str,
    url: str,
    environ: Mapping[str, str],
    dag: Dag,
    conf: Mapping[str, Any],
    tell: Callable[[str, Sequence[TaskRun], Result], None],
) -> int:
    """Start `<name>__<dag>` with these params and follow it; `tell` shows what came of it. Exit code: 0, 1
    when a stage failed, 130 when interrupted: the run goes on then.
    """
    lifecycle = PurePath(name).name
    dag_id = f"{lifecycle}__{dag}"
    api = _log_in(url, environ)
    _check_dag(api, lifecycle, dag_id)
    run_id = api.trigger(dag_id, conf)
    # Of monitoring either may be left out.
    days = " to ".join(str(conf[name]) for name in ("start", "end") if name in conf)
    about = f"{days}  " if days else ""
    out.print(f"[bold]{lifecycle}[/]  {about}in {api.run_url(dag_id, run_id)}", soft_wrap=True)
    try:
        state, tasks = follow(api, dag_id, run_id, out)
        if state != "success":
            _tell_failures(api, dag_id, run_id, tasks)
            return EXIT_UNEXPECTED
        tell(lifecycle, tasks, lambda task, index: api.result(dag_id, run_id, task, index))
        return EXIT_OK
    except KeyboardInterrupt:
        err.print("\nNobody watches any more, but the run goes on in Airflow.")
    except WindtunnelError:
        err.print("\nThe run may go on in Airflow.")
        _tell_where(api, dag_id, run_id)
        raise
    _tell_where(api, dag_id, run_id)
    return EXIT_INTERRUPTED


def _log_in(url: str, environ: Mapping[str, str]) -> AirflowApi:
    username, password = environ.get(USERNAME, ""), environ.get(PASSWORD, "")
    if not username or not password:
        raise RequestError(
            f"{USERNAME} and {PASSWORD} must both be set",
            where="environment",
            fix="they are no options, because everybody on a machine can read the arguments of a command",
        )
    return AirflowApi(url, username, password, patience=_FIRST_PATIENCE)


def _check_dag(api: AirflowApi, lifecycle: str, dag_id: str) -> None:
    """Raises NotFoundError with the nearest lifecycle, ConflictError for one that would not run."""
    try:
        dag = api.dag(dag_id)
    except NotFoundError:
        raise _no_such_lifecycle(api, lifecycle) from None
    if dag.get("is_paused"):
        raise ConflictError(
            f"{dag_id} is paused, so a run would wait for ever",
            where=api.url,
            fix="somebody paused it in Airflow; switch it on there, then ask again",
        )
    api.patience = PATIENCE


def _no_such_lifecycle(api: AirflowApi, lifecycle: str) -> WindtunnelError:
    ids = api.dag_ids()
    broken = f"{lifecycle}__broken"
    if broken in ids:
        return ConflictError(
            f"the lifecycle {lifecycle!r} is broken there: {api.dag(broken).get('description', '')}",
            where=api.url,
            fix=f"mend it; `windtunnel validate {lifecycle}` tells every problem",
        )
    known = [dag_id.removesuffix("__features") for dag_id in ids if dag_id.endswith("__features")]
    near = difflib.get_close_matches(lifecycle, known, n=1)
    fix = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known) or 'none yet'}"
    return NotFoundError(f"there is no lifecycle {lifecycle!r} in Airflow", where=api.url, fix=fix)


def _tell_failures(api: AirflowApi, dag_id: str, run_id: str, tasks: list[TaskRun]) -> None:
    failed = [task for task in tasks if task.state == "failed"]
    for task in failed[:_SHOWN_FAILURES]:
        of = f" [{task.slice}]" if task.slice else ""
        err.print(f"\n{task.task_id}{of} failed, try {task.try_number}", style="bold red", markup=False)
        why = api.error(dag_id, run_id, task)
        if why:
            err.print(f"  {why}", markup=False, soft_wrap=True)
            continue
        for line in api.log(dag_id, run_id, task)[-_SHOWN_LINES:]:
            err.print(f"  │ {line}", style="dim", markup=False, soft_wrap=True)
    if len(failed) > _SHOWN_FAILURES:
        err.print(f"\n… and {len(failed) - _SHOWN_FAILURES} more")
    _tell_where(api, dag_id, run_id)
    err.print("What is done stays done: the same command again takes it from the cache.", soft_wrap=True)


def _tell_where(api: AirflowApi, dag_id: str, run_id: str) -> None:
    err.print(f"  look at it: {api.run_url(dag_id, run_id)}", markup=False, soft_wrap=True)

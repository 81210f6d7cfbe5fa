"""The commands about what serves, in a cluster or on this machine: look at it, roll it back, promote."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from windtunnel.cli.places import find_lifecycle, known_lifecycles
from windtunnel.cli.targets import Where, in_cluster, open_target
from windtunnel.errors import PermanentError
from windtunnel.local.home import Home

app = typer.Typer()

_MODEL_HELP = "Name of a lifecycle or its ServedModel, or the path of a lifecycle's directory."
ModelArgument = Annotated[str, typer.Argument(help=_MODEL_HELP, show_default=False)]
NamespaceOption = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        "-n",
        envvar="WINDTUNNEL_NAMESPACE",
        help="Namespace of the cluster [dim](default: the context's)[/]",
        show_default=False,
    ),
]
ContextOption = Annotated[
    str | None,
    typer.Option(
        envvar="WINDTUNNEL_CONTEXT",
        help="Context of the kubeconfig [dim](default: the current one)[/]",
        show_default=False,
    ),
]
HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home",
        help="What serves on this machine instead, in the directory of its local runs.",
        show_default=False,
    ),
]
NameArgument = Annotated[
    str, typer.Argument(help="Name of a lifecycle, or the path of its directory.", show_default=False)
]
AirflowOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        envvar="WINDTUNNEL_AIRFLOW_URL",
        help="Do it in the cluster, by the Airflow at this address, and follow it. Its login comes from "
        "the environment: WINDTUNNEL_AIRFLOW_USERNAME and WINDTUNNEL_AIRFLOW_PASSWORD.",
        show_default=False,
    ),
]
LifecyclesOption = Annotated[
    Path | None,
    typer.Option(
        "--lifecycles",
        envvar="WINDTUNNEL_LIFECYCLES",
        help="Directory of the lifecycles [dim](default: dags/lifecycles, else lifecycles)[/]",
        show_default=False,
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]
ReasonOption = Annotated[str, typer.Option(help="Why, for the ledger.", metavar="TEXT", show_default=False)]


StoreOption = Annotated[
    str | None,
    typer.Option(
        envvar="WINDTUNNEL_STORE",
        metavar="URL",
        help="Object store of the lifecycle: s3://BUCKET or s3://BUCKET/PREFIX (credentials and endpoint by "
        "AWS_* variables), or a directory [dim](default: that of --home)[/]",
        show_default=False,
    ),
]


@app.command()
def status(
    name: Annotated[
        str | None, typer.Argument(help=_MODEL_HELP + " Without it, all.", show_default=False)
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on looking, until Ctrl-C.")] = False,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    home: HomeOption = None,
    lifecycles: LifecyclesOption = None,
) -> None:
    """What serves: champion, challenger, traffic, guard and evidence, rollout, pods, what was done last.

    In a cluster, if a namespace or context is named, or NAME never ran on this machine. Else of this machine:
    what ran last, with which outcome, how fresh the features are, what serves, the last verdict. A view that
    misses its objective (features.freshness of lifecycle.yaml) is red.

    [green]$ windtunnel status[/]                                      this machine\n
    [green]$ windtunnel status flight_delay -n windtunnel --watch[/]   a cluster, live
    """
    where = Where(namespace, context, home)
    if in_cluster(name, where, os.environ):
        from windtunnel.cli.watching import show

        raise typer.Exit(show(name, where, os.environ, watch=watch))
    here = Home.chosen(home, os.environ)
    if watch:
        if name is None:
            raise PermanentError(
                "there is nothing to watch",
                where="status",
                fix="name what serves, `windtunnel status NAME --watch`, or a cluster's namespace by -n",
            )
        from windtunnel.cli.watching import show

        raise typer.Exit(show(name, Where(None, None, here.directory), os.environ, watch=True))
    from windtunnel.cli.status import tell_status

    directories = [find_lifecycle(name, lifecycles)] if name else known_lifecycles(lifecycles)
    tell_status([directory.name for directory in directories], here)


@app.command()
def rollback(
    name: ModelArgument,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="VERSION",
            help="A former champion [dim](default: the one before)[/]; the present champion ends a rollout.",
            show_default=False,
        ),
    ] = None,
    reason: ReasonOption = "",
    yes: YesOption = False,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    home: HomeOption = None,
) -> None:
    """Give the seat back to a former champion, and end whatever rollout goes on.

    No pod restarts and no request fails; a version that is kept warm serves within a second. It says first
    what it will do. A second rollback within two minutes has to name its version: it is nearly always the
    same alarm.

    [green]$ windtunnel rollback flight_delay[/]\n
    [green]$ windtunnel rollback flight_delay --to 4 --reason "late flights are missed" --yes[/]

    Exit code: 0 done, or done already; 2 refused, nothing was changed; 75 the cluster did not answer.
    """
    from windtunnel.cli.rollback import roll_back_to

    roll_back_to(open_target(name, Where(namespace, context, home), os.environ), to, reason, yes)


@app.command()
def promote(
    name: ModelArgument,
    version: Annotated[
        str | None,
        typer.Argument(
            help="Version that gets the seat at once; without it, the present step of the rollout is "
            "approved.",
            show_default=False,
        ),
    ] = None,
    reason: ReasonOption = "",
    yes: YesOption = False,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    home: HomeOption = None,
) -> None:
    """Let a rollout go on by your word, or give a version the seat.

    Without a version: the rollout leaves its pause, or goes to its next step without waiting for more
    evidence; the guard goes on watching. With a version (the challenger, a former champion, or any that is
    registered: MLFLOW_TRACKING_URI says where): it is the champion at once. It says first what it will do.

    [green]$ windtunnel promote flight_delay[/]\n
    [green]$ windtunnel promote flight_delay 7 --reason "the fix for the holidays"[/]

    Exit code: 0 done, or done already; 2 refused, nothing was changed; 75 the cluster did not answer.
    """
    from windtunnel.cli.promote import approve, promote_version

    target = open_target(name, Where(namespace, context, home), os.environ)
    if version is None:
        approve(target, yes)
    else:
        promote_version(target, version, reason, yes)


@app.command()
def monitor(
    name: NameArgument,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="MOMENT",
            help="First prediction, a day or a moment in UTC [dim](default: by monitoring.window or "
            "monitoring.rows of lifecycle.yaml)[/]",
            show_default=False,
        ),
    ] = None,
    end: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="MOMENT",
            help="Last day, included, or the moment until which to look [dim](default: now)[/]",
            show_default=False,
        ),
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="Model version [dim](default: the champion)[/]", show_default=False)
    ] = None,
    scores: Annotated[
        bool, typer.Option("--scores", help="Look at batch scoring instead of answered requests.")
    ] = False,
    airflow: AirflowOption = None,
    home: HomeOption = None,
    lifecycles: LifecyclesOption = None,
) -> None:
    """Look whether the model still sees what it was trained on, and still answers as well.

    Predictions, their features and the labels that have come are measured against the model's evaluation;
    what was found is told, and stays as a measure with a page of pictures. Where the lifecycle says so
    (monitoring.retrain), drift that lasts starts a training, whose model has to pass the gate like any other:
    in a cluster by itself, on this machine at once.

    [green]$ windtunnel monitor flight_delay[/]                    the newest predictions on this machine\n
    [green]$ windtunnel monitor flight_delay --scores --from 2013-02-01 --to 2013-02-07[/]\n
    [green]$ windtunnel monitor flight_delay --airflow http://127.0.0.1:8080[/]

    Exit code: 0 done, whatever was found; 1 a stage failed, 2 a wrong request, 75 a store or Airflow did not
    answer, 130 Ctrl-C.
    """
    from windtunnel.cli.monitor import monitor_here, monitor_in_airflow, window_params

    params = window_params(start, end, version, scores=scores)
    if airflow:
        raise typer.Exit(monitor_in_airflow(name, airflow, os.environ, params))
    here = Home.chosen(home, os.environ)
    raise typer.Exit(monitor_here(find_lifecycle(name, lifecycles), here, params))


@app.command()
def report(
    name: ModelArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where to write it; - is standard output [dim](default: NAME.html)[/]",
            show_default=False,
        ),
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser of this machine.")] = False,
    store: StoreOption = None,
    home: HomeOption = None,
) -> None:
    """How a model is, on one HTML page that needs nothing else: the verdict first, then quality and drift
    over time, slices, calibration, champion against challenger, what was done, the model card, cost.

    Every monitor run leaves the same page beside its measure.

    [green]$ windtunnel report flight_delay --open[/]\n
    [green]$ windtunnel report flight_delay -o report.html --store s3://windtunnel[/]

    Exit code: 0; 2 nothing is known of the lifecycle, or the file cannot be written; 75 the store did not
    answer.
    """
    from windtunnel.cli.report import write_report
    from windtunnel.cli.stores import open_named

    # A home that is named is meant, whatever store the environment names.
    here = Home.chosen(home, os.environ)
    write_report(name, open_named(None if home else store, here), output, show=show)


@app.command()
def retain(
    name: NameArgument,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would go; nothing is deleted.")
    ] = False,
    home: HomeOption = None,
    lifecycles: LifecyclesOption = None,
) -> None:
    """Delete from the object store of this machine what the lifecycle needs no more.

    That is what nothing refers to any more, and what is older than `retention` of lifecycle.yaml says. What
    serves, may serve again or answered a prediction that is still in the log stays, however old it is. In a
    cluster the DAG windtunnel__retain does the same every night.

    [green]$ windtunnel retain flight_delay --dry-run[/]   what would go\n
    [green]$ windtunnel retain flight_delay[/]

    Exit code: 0 done; 2 something there is not what it was written as, nothing was deleted; 75 a store did
    not answer, 130 Ctrl-C.
    """
    from windtunnel.cli.retain import retain_here

    here = Home.chosen(home, os.environ)
    raise typer.Exit(retain_here(find_lifecycle(name, lifecycles), here, dry_run=dry_run))

"""The commands. Each parses its arguments, calls what does the work, and prints."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

import windtunnel
from windtunnel.cli.operating import AirflowOption, LifecyclesOption, NameArgument, StoreOption
from windtunnel.cli.operating import HomeOption as NamedHomeOption
from windtunnel.cli.operating import app as operating_app
from windtunnel.cli.places import find_lifecycle, known_lifecycles, lifecycles_directory
from windtunnel.errors import SpecError
from windtunnel.local.home import DEFAULT_HOME, Home

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
    help="""Declare a model's lifecycle once; run every stage of it, here or in a cluster.

    A lifecycle is a directory with lifecycle.yaml, features.py and train.py. Begin with one of your own:

    [green]$ windtunnel init my_model[/]   write a small one that runs at once\n
    [green]$ windtunnel run my_model[/]    all stages, on this machine, under ./.windtunnel\n
    [green]$ windtunnel status[/]          what ran, what serves, what the last verdict was\n
    [green]$ windtunnel rollback my_model[/]   back to the champion before\n
    [green]$ windtunnel monitor my_model[/]   is it still what it was when it was judged?\n
    [green]$ windtunnel validate[/]        check every lifecycle without running anything\n
    [green]$ windtunnel backfill my_model --from 2026-01-01 --to 2026-01-31[/]   features of past days
    """,
)

app.add_typer(operating_app)

OptionalNameArgument = Annotated[
    str | None,
    typer.Argument(
        help="Name of a lifecycle, or the path of its directory; without it, all.", show_default=False
    ),
]
HomeOption = Annotated[
    Path,
    typer.Option(
        "--home", help="Directory for everything that a local run writes.", envvar="WINDTUNNEL_HOME"
    ),
]
DayOption = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], show_default=False)]


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        typer.echo(windtunnel.__version__)
        raise typer.Exit


@app.command()
def run(
    name: NameArgument,
    from_stage: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="STAGE",
            show_default=False,
            help="Do this stage and the later ones anew: extract, transform, materialize, publish, snapshot, "
            "train, evaluate, rollout or score. The earlier ones come from the cache.",
        ),
    ] = None,
    start: DayOption = None,
    end: DayOption = None,
    home: HomeOption = DEFAULT_HOME,
    lifecycles: LifecyclesOption = None,
) -> None:
    """Run all stages of a lifecycle on this machine, in order, each in a process of its own.

    The stages are those of the cluster, on a directory, SQLite and a local MLflow. What was done before with
    the same inputs and code is taken from the cache, so a second run takes seconds. [bold]--start[/] and
    [bold]--end[/] (both included) choose the days; without them a run takes the days that all sources have,
    and when there are none, the lifecycle's own load_sources.py is asked for them.

    [green]$ windtunnel run flight_delay[/]\n
    [green]$ windtunnel run flight_delay --from train[/]   after an edit of train.py, or to force it
    """
    from windtunnel.cli.run import run_lifecycle

    directory = find_lifecycle(name, lifecycles)
    first, last = (day.date() if day else None for day in (start, end))
    raise typer.Exit(run_lifecycle(directory, Home.at(home), first, last, from_stage))


@app.command()
def backfill(
    name: NameArgument,
    start: Annotated[
        datetime,
        typer.Option("--from", formats=["%Y-%m-%d"], metavar="DAY", help="First day.", show_default=False),
    ],
    end: Annotated[
        datetime,
        typer.Option(
            "--to", formats=["%Y-%m-%d"], metavar="DAY", help="Last day, included.", show_default=False
        ),
    ],
    airflow: AirflowOption = None,
    home: HomeOption = DEFAULT_HOME,
    lifecycles: LifecyclesOption = None,
) -> None:
    """Fill the features of past days, offline and online, without disturbing what is served.

    Extract, transform, materialize and publish, in slices of days (sliceDays and materializeSliceDays of
    lifecycle.yaml): in the cluster each slice in a pod of its own, several at a time; on this machine one
    after the other. An older value never replaces a newer one, and days older than the newest ones start no
    training. What was done before is taken from the cache, so after a failure the same command goes on.

    [green]$ windtunnel backfill flight_delay --from 2013-01-01 --to 2013-03-31[/]   on this machine\n
    [green]$ kubectl -n windtunnel port-forward svc/windtunnel-airflow-api-server 8080 &[/]\n
    [green]$ windtunnel backfill flight_delay --from 2013-01-01 --to 2013-03-31 --airflow http://127.0.0.1:8080[/]

    Ctrl-C ends a backfill on this machine; in the cluster the run goes on, and the link to it is shown.
    Exit code: 0 done, 1 a stage failed, 2 a wrong request, 75 a store or Airflow did not answer, 130 Ctrl-C.
    """
    from windtunnel.cli.backfill import backfill_here, backfill_in_airflow, check_days

    first, last = start.date(), end.date()
    check_days(first, last, datetime.now(UTC).date())
    if airflow:
        raise typer.Exit(backfill_in_airflow(name, airflow, os.environ, first, last))
    raise typer.Exit(backfill_here(find_lifecycle(name, lifecycles), Home.at(home), first, last))


@app.command()
def validate(name: OptionalNameArgument = None, lifecycles: LifecyclesOption = None) -> None:
    """Check lifecycles without running them: YAML, fields, values, the code and Feast definitions they name.

    All problems come at once, each with file and line. Exit code 2 when there are any.
    """
    from windtunnel.cli.validate import validate_lifecycles

    directories = [find_lifecycle(name, lifecycles)] if name else known_lifecycles(lifecycles)
    if not directories:
        raise SpecError(
            "there are no lifecycles",
            where=str(lifecycles_directory(lifecycles)),
            fix="`windtunnel init NAME` writes a first one",
        )
    raise typer.Exit(validate_lifecycles(directories))


@app.command()
def init(
    name: Annotated[str, typer.Argument(help="Its name.", show_default=False)],
    lifecycles: LifecyclesOption = None,
) -> None:
    """Write a small lifecycle of your own that runs at once, on data which it makes up itself.

    It is meant to be changed: replace load_sources.py by your data, then features.py, then train.py.
    """
    from windtunnel.cli.init import init_lifecycle

    init_lifecycle(name, lifecycles_directory(lifecycles))


@app.command()
def score(
    name: NameArgument,
    start: Annotated[
        datetime,
        typer.Option("--from", formats=["%Y-%m-%d"], metavar="DAY", help="First day.", show_default=False),
    ],
    end: Annotated[
        datetime,
        typer.Option(
            "--to", formats=["%Y-%m-%d"], metavar="DAY", help="Last day, included.", show_default=False
        ),
    ],
    version: Annotated[
        str | None,
        typer.Option(help="Model version [dim](default: the champion)[/]", show_default=False),
    ] = None,
    airflow: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="WINDTUNNEL_AIRFLOW_URL",
            help="Do it in the cluster, by the Airflow at this address, in scoring.shards shards, and follow "
            "it. Its login comes from the environment: WINDTUNNEL_AIRFLOW_USERNAME and "
            "WINDTUNNEL_AIRFLOW_PASSWORD.",
            show_default=False,
        ),
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    lifecycles: LifecyclesOption = None,
) -> None:
    """Predict for everything that was asked on past days, by the bundle and the code that answer requests.

    What comes out is a prediction log as serving writes it, under scores/ of the lifecycle; each row has an
    id that `windtunnel why` explains. The features of those days must be there (`windtunnel backfill`).

    [green]$ windtunnel score flight_delay --from 2013-02-01 --to 2013-02-07[/]   on this machine\n
    [green]$ windtunnel score flight_delay --from 2013-02-01 --to 2013-02-07 --airflow http://127.0.0.1:8080[/]

    Exit code: 0 done, 1 a stage failed, 2 a wrong request, 75 a store or Airflow did not answer, 130 Ctrl-C.
    """
    from windtunnel.cli.backfill import check_days
    from windtunnel.cli.score import score_here, score_in_airflow

    first, last = start.date(), end.date()
    check_days(first, last, datetime.now(UTC).date(), "scoring")
    if airflow:
        raise typer.Exit(score_in_airflow(name, airflow, os.environ, first, last, version))
    raise typer.Exit(score_here(find_lifecycle(name, lifecycles), Home.at(home), first, last, version))


@app.command()
def why(
    prediction_id: Annotated[
        str,
        typer.Argument(help="The answer's parameters.prediction_id.", show_default=False),
    ],
    name: Annotated[
        str | None,
        typer.Argument(
            help="Lifecycle that answered; without it, all are looked through.", show_default=False
        ),
    ] = None,
    replay: Annotated[
        bool,
        typer.Option("--replay", help="Answer again, by the bundle and the logged features, and compare."),
    ] = False,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline",
            help="Compare the features that were served with those that training would have seen at that "
            "moment; reads the lifecycle's features.py.",
        ),
    ] = False,
    row: Annotated[int, typer.Option(help="Row of a request of several.", metavar="N")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    store: StoreOption = None,
    home: NamedHomeOption = None,
    lifecycles: LifecyclesOption = None,
) -> None:
    """Why a prediction came out as it did: from its id to the answer, the model version, the verdict that let
    it serve, the training snapshot, the features and the code. Every link is verified by its digest.

    [green]$ windtunnel why 019abf3c-4e2a-7c1d-8a55-0e4b6f1d2c3b[/]\n
    [green]$ windtunnel why 019abf3c-4e2a-7c1d-8a55-0e4b6f1d2c3b flight_delay --replay --store s3://windtunnel[/]

    Exit code: 0; 2 the id is not in the log, a link is lost or changed, or the replay differs; 75 the store
    did not answer.
    """
    from windtunnel.cli.why import Why

    # A home that is named is meant, whatever store the environment names.
    where = (None if home else store, Home.chosen(home, os.environ))
    question = Why(prediction_id, name, *where, row=row, lifecycles=lifecycles)
    raise typer.Exit(question.tell(again=replay, offline=offline, as_json=as_json))

"""The commands. Each parses its arguments, calls what does the work, and prints."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

import windtunnel
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
    [green]$ windtunnel validate[/]        check every lifecycle without running anything
    """,
)

NameArgument = Annotated[
    str, typer.Argument(help="Name of a lifecycle, or the path of its directory.", show_default=False)
]
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
LifecyclesOption = Annotated[
    Path | None,
    typer.Option(
        "--lifecycles",
        envvar="WINDTUNNEL_LIFECYCLES",
        help="Directory of the lifecycles [dim](default: dags/lifecycles, else lifecycles)[/]",
        show_default=False,
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
            help="Do this stage and the later ones anew: extract, transform, materialize, snapshot, train, "
            "evaluate, rollout or score. The earlier ones come from the cache.",
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
def validate(name: OptionalNameArgument = None, lifecycles: LifecyclesOption = None) -> None:
    """Check lifecycles without running them: YAML, fields, values, and that the code which they name exists.

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
def status(
    name: OptionalNameArgument = None, home: HomeOption = DEFAULT_HOME, lifecycles: LifecyclesOption = None
) -> None:
    """What ran last on this machine, with which outcome, what serves, and what the last verdict was."""
    from windtunnel.cli.status import tell_status

    directories = [find_lifecycle(name, lifecycles)] if name else known_lifecycles(lifecycles)
    tell_status([directory.name for directory in directories], Home.at(home))

"""`windtunnel run`: the run with its progress, its errors, and what to say at the end."""

from __future__ import annotations

import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from windtunnel.cli.console import err, out, tell_error, tell_lines
from windtunnel.cli.progress import LiveProgress, PlainProgress
from windtunnel.cli.verdict import tell_facts, tell_verdict
from windtunnel.errors import EXIT_OK, EXIT_PERMANENT, EXIT_TEMPORARY, EXIT_UNEXPECTED
from windtunnel.local.runner import Outcome, Runner, StepFailedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import date
    from pathlib import Path

    from windtunnel.local.home import Home
    from windtunnel.spec.stages import Dag

EXIT_INTERRUPTED = 130
SHOWN_LINES = 12


def run_lifecycle(
    directory: Path, home: Home, start: date | None, end: date | None, from_stage: str | None
) -> int:
    """Exit code: 0, 1 for an exception of the user's code, 2 or 75 for one of ours, 130 when interrupted."""
    began = time.monotonic()
    outcome, code = run_here(
        directory, home, f"windtunnel run {directory.name}", start, end, from_stage=from_stage
    )
    if outcome:
        tell_outcome(outcome, home, time.monotonic() - began)
    return code


def run_here(
    directory: Path,
    home: Home,
    again: str,
    start: date | None,
    end: date | None,
    *,
    from_stage: str | None = None,
    dag: Dag | None = None,
    params: Mapping[str, Any] | None = None,
) -> tuple[Outcome | None, int]:
    """Run the stages, or those of one DAG, with progress; a failure is told here, `again` is the command to
    go on with; `params` are more params of the stages. Outcome (None when it failed) and exit code.
    """
    progress = LiveProgress(out) if out.is_terminal else PlainProgress(out)
    try:
        with _ends_as_by_ctrl_c(), progress:
            return Runner(directory, home, progress).run(start, end, from_stage, dag, params), EXIT_OK
    except StepFailedError as failure:
        _tell_failure(again, failure)
        ours = failure.ended.code in (EXIT_PERMANENT, EXIT_TEMPORARY)
        return None, failure.ended.code if ours else EXIT_UNEXPECTED
    except KeyboardInterrupt:
        err.print("interrupted; what was finished stays in the cache, so the next run goes on from there")
        return None, EXIT_INTERRUPTED


@contextmanager
def _ends_as_by_ctrl_c() -> Iterator[None]:
    """A polite kill and a closed terminal interrupt the run too: the stage's process, which is in a session
    of its own, would outlive it otherwise. What `nohup` ignores stays ignored.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    caught = [number for number, handler in before.items() if handler is signal.SIG_DFL]
    for number in caught:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, signal.SIG_DFL)


def _tell_failure(again: str, failure: StepFailedError) -> None:
    err.print()
    tell_lines(failure.ended.lines[-SHOWN_LINES:])
    err.print(f"\nThe step [bold]{escape(failure.step)}[/] failed.")
    tell_error(failure.error)
    err.print(f"  its log: {failure.log_file}", soft_wrap=True, markup=False)
    err.print(f"  then:    {again}   (what is done stays done)", soft_wrap=True, markup=False)


def tell_outcome(outcome: Outcome, home: Home, seconds: float) -> None:
    """What a run made, where it is, and what one does next."""
    name = outcome.lifecycle
    about = f"{outcome.days[0]} to {outcome.days[1]}  " if outcome.days else ""
    out.print()
    out.print(f"[bold]{name}[/]  {about}in {seconds:.0f} s  [dim]{outcome.run_id}[/]")
    if "train" in outcome.results:
        tell_facts("train", outcome.results["train"].facts)
    if "evaluate" in outcome.results:
        tell_verdict(outcome.results["evaluate"].facts)
    out.print("\n[bold]Where things are[/]")
    model = home.served_model(name)
    _tell_places(
        {
            "champion": f"version {model.spec.champion.version}, {model.spec.champion.bundle}"
            if model
            else "none",
            "object store": str(home.store / name),
            "logs": str(home.logs(outcome.run_id)),
        }
    )
    out.print("\n[bold]What next[/]")
    _tell_places(
        {
            "see the runs": f"mlflow ui --backend-store-uri {home.tracking_uri}",
            "what ran, what serves": f"windtunnel status {name}",
            "after an edit": f"windtunnel run {name}   (only what the edit touches runs again)",
        }
    )


def _tell_places(places: dict[str, str]) -> None:
    for label, place in places.items():
        out.print(f"  {label:<22} {place}", soft_wrap=True, markup=False)

"""Run a lifecycle: source data, then every step in a child process, its result the next one's input."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from windtunnel.errors import PermanentError, WindtunnelError, from_json
from windtunnel.local import load_sources
from windtunnel.local.home import Home, python
from windtunnel.local.partitions import Days, choose_days, missing_sources
from windtunnel.local.plan import OF_NO_DAYS, Step, forced_stages, plan
from windtunnel.local.process import Ended, run_child
from windtunnel.local.silent_death import record_silent_death, silent_death
from windtunnel.spec import Lifecycle, load_lifecycle
from windtunnel.spec.stages import StageResult

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from windtunnel.spec.stages import Dag

SOURCES_STEP = "sources"


class Reporter(Protocol):
    """Who watches a run; called in order, from one thread."""

    def planned(self, names: Sequence[str]) -> None: ...
    def started(self, name: str) -> None: ...
    def line(self, name: str, text: str) -> None: ...
    def ended(self, name: str, seconds: float, result: StageResult | None) -> None: ...
    def failed(self, name: str, seconds: float) -> None: ...
    def skipped(self, name: str, reason: str) -> None: ...


@dataclass
class Outcome:
    """A run that went through; `results` by stage (of several views the last one's). `days` is None for
    what is about no days: monitoring and retention.
    """

    lifecycle: str
    run_id: str
    days: Days | None
    results: dict[str, StageResult] = field(default_factory=dict)


class StepFailedError(Exception):
    """A step failed: which, why, its exit code, and its last lines."""

    def __init__(self, step: str, error: WindtunnelError, ended: Ended, log_file: Path) -> None:
        super().__init__(str(error))
        self.step = step
        self.error = error
        self.ended = ended
        self.log_file = log_file


class Runner:
    """Runs the lifecycle in `directory` on a home."""

    def __init__(self, directory: Path, home: Home, reporter: Reporter) -> None:
        self._directory = directory.resolve()
        self._home = home
        self._reporter = reporter
        self._run_id = datetime.now(UTC).strftime("local-%Y%m%dT%H%M%S")
        self._environment = home.environment(self._directory.parent, os.environ)

    def run(
        self,
        start: date | None,
        end: date | None,
        from_stage: str | None,
        dag: Dag | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> Outcome:
        """Every stage, or those of one DAG: `features` is a backfill; `monitor` and `retain` need no days.
        `params` go to each of its stages.

        Raises StepFailedError, SpecError, RequestError, NotFoundError; Ctrl-C ends the child.
        """
        lifecycle = load_lifecycle(self._directory)
        forced = forced_stages(from_stage)
        self._home.prepare()
        days = None if dag in OF_NO_DAYS else self._days(lifecycle, start, end)
        steps = [
            replace(step, params={**step.params, **(params or {})}) for step in plan(lifecycle, days, dag)
        ]
        self._reporter.planned([step.name for step in steps])
        outcome = Outcome(lifecycle.name, self._run_id, days)
        for step in steps:
            reason = "" if dag == "score" else self._reason_to_skip(step, outcome)
            if reason:
                self._reporter.skipped(step.name, reason)
                continue
            outcome.results[step.stage.name] = self._run_step(step, outcome, step.stage.name in forced)
        return outcome

    def _days(self, lifecycle: Lifecycle, start: date | None, end: date | None) -> Days:
        self._load_sources(lifecycle, start, end)
        return choose_days(self._home.open_store(), lifecycle, start, end)

    def _reason_to_skip(self, step: Step, outcome: Outcome) -> str:
        """Why a step is not run; empty when it is."""
        if step.stage.name == "rollout" and outcome.results["evaluate"].facts.get("decision") == "refuse":
            return "the gate refused"
        if step.stage.name == "score" and self._home.served_model(outcome.lifecycle) is None:
            return "there is no champion"
        return ""

    def _load_sources(self, lifecycle: Lifecycle, start: date | None, end: date | None) -> None:
        """Call the lifecycle's own loader, when it has one and partitions are missing, or may be: a call
        that did not come to its end is made again.
        """
        wanted = (start, end) if start and end else None
        loader = self._directory / load_sources.FILE_NAME
        unfinished = self._home.directory / f"{lifecycle.name}.loading"
        if not loader.is_file() or not (
            unfinished.exists() or missing_sources(self._home.open_store(), lifecycle, wanted)
        ):
            return
        unfinished.touch()
        days = [day.isoformat() for day in wanted] if wanted else []
        command = [python(), "-m", load_sources.__name__, str(self._directory), *days]
        ended, log_file = self._child(SOURCES_STEP, command)
        if ended.code != 0:
            error = PermanentError(f"load_sources.py ended with code {ended.code}", where=str(loader))
            self._fail(SOURCES_STEP, error, ended, log_file)
        unfinished.unlink()
        self._reporter.ended(SOURCES_STEP, ended.seconds, None)

    def _run_step(self, step: Step, outcome: Outcome, force: bool) -> StageResult:
        request = step.request(outcome.lifecycle, self._run_id, outcome.results, force=force)
        with tempfile.TemporaryDirectory(prefix="windtunnel-") as folder:
            asked, answered = Path(folder) / "request.json", Path(folder) / "result.json"
            asked.write_text(json.dumps(request.to_json()), encoding="utf-8")
            command = [
                python(),
                *("-m", "windtunnel.stages", step.stage.name),
                *("--request", str(asked), "--result", str(answered)),
            ]
            ended, log_file = self._child(step.name, command)
            answer = json.loads(answered.read_text(encoding="utf-8")) if answered.exists() else {}
        if ended.code != 0 or "error" in answer or not answer:
            if "error" not in answer:
                record_silent_death(self._home.open_store(), self._directory, request, ended)
            error = from_json(answer["error"]) if "error" in answer else silent_death(ended)
            self._fail(step.name, error, ended, log_file)
        result = StageResult.from_json(answer)
        self._reporter.ended(step.name, ended.seconds, result)
        return result

    def _child(self, name: str, command: Sequence[str]) -> tuple[Ended, Path]:
        log_file = self._home.logs(self._run_id) / f"{name}.log"
        self._reporter.started(name)
        ended = run_child(
            command,
            environment=self._environment,
            directory=self._home.directory,
            log_file=log_file,
            on_line=lambda text: self._reporter.line(name, text),
        )
        return ended, log_file

    def _fail(self, name: str, error: WindtunnelError, ended: Ended, log_file: Path) -> NoReturn:
        self._reporter.failed(name, ended.seconds)
        raise StepFailedError(name, error, ended, log_file)

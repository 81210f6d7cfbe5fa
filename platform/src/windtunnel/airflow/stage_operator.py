"""StageOperator: runs one stage of a lifecycle in the stage environment of its pod."""

from __future__ import annotations

import json
import os
import tempfile
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import AssetAlias, BaseOperator
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    AirflowTaskTimeout,
    DownstreamTasksSkipped,
)

from windtunnel import cgroup
from windtunnel.airflow import run_params
from windtunnel.airflow.attempt import Attempt, FailedError
from windtunnel.airflow.ending import Ending, Failure
from windtunnel.airflow.log_lines import LineLevels
from windtunnel.airflow.stage_process import StageProcess, stage_environment
from windtunnel.errors import RequestError
from windtunnel.spec.failures import Reason
from windtunnel.spec.stages import STAGES, Reference, StageRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Asset, Context

STAGE_PYTHON = "/opt/stage/bin/python"
_TAIL_LINES = 40


class StageOperator(BaseOperator):
    """Starts `python -m windtunnel.stages STAGE`, passes on its log, returns its StageResult as JSON.

    `stage_params` are the stage's own (a slice, a shard) and may be mapped, `view` is the feature view that
    all of them are about; `results` are those of the stages whose outputs it takes, by stage;
    `window_params` says what it is told of the run's days, `asked_params` which params of the run it gets as
    they are, where they are given. A gate skips what follows it when its stage
    decides `refuse`. With outlets it ends as skipped, its work done, when its stage's facts say
    `news: false`: those who wait for its assets hear nothing of a task that is skipped. Through an outlet
    that is an alias it tells of the asset `drift`, when its stage's facts say `retrain: true`.
    """

    template_fields: Sequence[str] = ("stage_params", "results")
    template_fields_renderers = {"stage_params": "json", "results": "json"}  # noqa: RUF012 - as Airflow declares it
    ui_color = "#e6f0f8"

    def __init__(
        self,
        *,
        lifecycle: str,
        stage: str,
        lifecycles: str,
        stage_class: str,
        stage_params: Mapping[str, Any] | None = None,
        view: str | None = None,
        results: Mapping[str, Any] | None = None,
        window_params: Sequence[str] = (),
        asked_params: Sequence[str] = (),
        gate: bool = False,
        drift: Asset | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.lifecycle = lifecycle
        self.stage = stage
        self.lifecycles = lifecycles
        self.stage_class = stage_class
        self.stage_params = stage_params
        self.view = view
        self.results = results
        self.window_params = window_params
        self.asked_params = asked_params
        self.gate = gate
        self.drift = drift
        self._process: StageProcess | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        attempt = Attempt(self._bare_request(context), self.lifecycles)
        try:
            request = attempt.request = self._request(attempt.request, context)
            answer = self._run(request)
        except FailedError as failed:
            attempt.record(failed.failure)
            permanent = failed.failure.permanent
            raise (AirflowFailException if permanent else AirflowException)(failed.failure.message) from None
        if self.outlets and answer["facts"].get("news") is False:
            self._keep_quiet(context, answer, request.params)
        self._announce(context, request.params, answer["facts"])
        if self.gate and answer["facts"].get("decision") == "refuse":
            self._refuse(context, answer)
        return answer

    def on_kill(self) -> None:
        """Ends the stage and all that it started. A signal handler calls this while `execute` still reads."""
        if self._process is not None:
            self.log.warning("ending %s", self.stage)
            self._process.stop()

    def _bare_request(self, context: Context) -> StageRequest:
        """What names the try; nothing in it can be wrong."""
        task = context["ti"]
        params: dict[str, Any] = {"view": self.view} if self.view else {}
        if task.map_index is not None and task.map_index >= 0:
            params["map_index"] = task.map_index
        return StageRequest(self.lifecycle, self.stage, task.run_id, task.try_number, params)

    def _request(self, bare: StageRequest, context: Context) -> StageRequest:
        """Raises FailedError."""
        stage = STAGES[self.stage]
        params: dict[str, Any] = {"force": run_params.is_forced(self.stage, stage.dag, context["params"])}
        try:
            if self.window_params:
                run_params.check_known(stage.dag, context["dag_run"].conf)
                window = run_params.told_window(stage.dag, context)
                params |= {name: window[name] for name in self.window_params if name in window}
            given = {name: context["params"].get(name) for name in self.asked_params}
            params |= {name: value for name, value in given.items() if value is not None}
            if stage.dag == "train":
                params |= run_params.why(context)
        except RequestError as error:
            raise FailedError(Failure(Reason.USER_EXCEPTION, str(error), permanent=True)) from None
        return replace(
            bare,
            params={**params, **(self.stage_params or {}), **bare.params},
            inputs={name: self._input(name, source) for name, source in stage.inputs.items()},
        )

    def _input(self, name: str, source: str) -> Reference:
        result = (self.results or {}).get(source)
        try:
            return Reference.from_json(result["outputs"][name])  # type: ignore[index]
        except (KeyError, TypeError):
            what = f"{self.stage} takes {name!r} from {source}, whose result lacks it; run {source} again"
            raise FailedError(Failure(Reason.PLATFORM_ERROR, what, permanent=True)) from None

    def _run(self, request: StageRequest) -> dict[str, Any]:
        """Run the child to its end; raises FailedError."""
        with tempfile.TemporaryDirectory(prefix="windtunnel-request-") as directory:
            asked, answered = Path(directory, "request.json"), Path(directory, "result.json")
            asked.write_text(json.dumps(request.to_json()), encoding="utf-8")
            ending = self._follow(asked, answered)
        if ending.failure is not None:
            raise FailedError(ending.failure)
        answer = dict(ending.answer or {})
        self.log.info(
            "%s %s: %s",
            self.stage,
            "had this result already" if answer.get("cached") else "is done",
            json.dumps(answer.get("facts", {})),
        )
        return answer

    def _follow(self, asked: Path, answered: Path) -> Ending:
        killed_before = cgroup.oom_kills()
        process = self._process = self._start(asked, answered)
        tail: deque[str] = deque(maxlen=_TAIL_LINES)
        timed_out = ""
        try:
            self._pass_on(process, tail)
        except AirflowTaskTimeout:
            timed_out = _words(self.execution_timeout.total_seconds() if self.execution_timeout else 0)
            process.stop()
            self._pass_on(process, tail)
        finally:
            code = process.close()
        return Ending(
            stage=self.stage,
            stage_class=self.stage_class,
            code=code,
            answer=_read(answered),
            timed_out=timed_out,
            stopped=process.stopped,
            oom_kills=cgroup.oom_kills() - killed_before,
            memory_limit=cgroup.memory_limit(),
            tail=tuple(tail),
        )

    def _start(self, asked: Path, answered: Path) -> StageProcess:
        python = os.environ.get("WINDTUNNEL_STAGE_PYTHON") or STAGE_PYTHON
        command = [
            python,
            "-m",
            "windtunnel.stages",
            self.stage,
            "--request",
            str(asked),
            "--result",
            str(answered),
        ]
        own = {
            # The lifecycle that this DAG was made from, also when it came by a DAG bundle.
            "WINDTUNNEL_LIFECYCLES": self.lifecycles,
            "PATH": f"{Path(python).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        }
        try:
            return StageProcess(command, stage_environment(os.environ, own))
        except OSError as error:
            what = (
                f"the stage environment cannot be started: {python}: {error.strerror}; the pod of stage "
                f"class {self.stage_class!r} must run the stage image"
            )
            raise FailedError(Failure(Reason.PLATFORM_ERROR, what, permanent=True)) from None

    def _pass_on(self, process: StageProcess, tail: deque[str]) -> None:
        levels = LineLevels()
        for line in process.lines():
            level, text = levels(line)
            tail.append(text)
            self.log.log(level, "%s", text)

    def _announce(self, context: Context, params: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        """Tell those who wait for this stage's assets which days they now hold, or that drift lasts."""
        for outlet in self.outlets:
            event = context["outlet_events"][outlet]
            if not isinstance(outlet, AssetAlias):
                event.extra = {name: params[name] for name in ("start", "end")}
            elif self.drift is not None and facts.get("retrain"):
                # What an alias is not told, nobody hears.
                told = {name: facts[name] for name in ("reason", "measure", "end") if facts.get(name)}
                event.add(self.drift, extra=told)
                self.log.warning("a training starts because of this: %s", facts.get("reason"))

    def _keep_quiet(self, context: Context, answer: dict[str, Any], params: Mapping[str, Any]) -> None:
        """The stage did its work, but nobody who waits for its assets should start because of it."""
        days = f"{params.get('start')} to {params.get('end')}"
        # What is raised has no return value.
        context["ti"].xcom_push(key="return_value", value=answer)
        raise AirflowSkipException(
            f"{self.stage} is done; it ends as skipped because {days} are older than what was published "
            "before: a backfill starts no training"
        )

    def _refuse(self, context: Context, answer: dict[str, Any]) -> None:
        """The stage did its work, so it succeeded; what it refused is skipped."""
        reasons = answer["facts"].get("reasons") or ["no reason given"]
        self.log.warning("refused, so nothing is rolled out: %s", "; ".join(map(str, reasons)))
        # Raising is the only way to skip, and what is raised has no return value.
        context["ti"].xcom_push(key="return_value", value=answer)
        raise DownstreamTasksSkipped(tasks=sorted(self.downstream_task_ids))  # type: ignore[no-untyped-call]


def _read(path: Path) -> dict[str, Any] | None:
    try:
        answer = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return answer if isinstance(answer, dict) else None


def _words(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min" if minutes and not rest else f"{round(seconds)} s"

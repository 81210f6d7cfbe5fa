"""StageOperator: runs one stage of a lifecycle in the stage environment of its pod."""

from __future__ import annotations

import json
import os
import tempfile
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    AirflowTaskTimeout,
    DownstreamTasksSkipped,
)

from windtunnel.airflow import cgroup, run_params
from windtunnel.airflow.ending import Ending
from windtunnel.airflow.log_lines import LineLevels
from windtunnel.airflow.stage_process import StageProcess, stage_environment
from windtunnel.errors import RequestError
from windtunnel.spec.stages import STAGES, Reference, StageRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context

STAGE_PYTHON = "/opt/stage/bin/python"
_TAIL_LINES = 40


class StageOperator(BaseOperator):
    """Starts `python -m windtunnel.stages STAGE`, passes on its log, returns its StageResult as JSON.

    `stage_params` are the stage's own (a slice, a shard) and may be mapped, `view` is the feature view that
    all of them are about; `results` are those of the stages whose outputs it takes, by stage;
    `window_params` says what it is told of the run's days, `asked_params` which params of the run it gets as
    they are, where they are given. A gate skips what follows it when its stage
    decides `refuse`. With outlets it ends as skipped, its work done, when its stage's facts say
    `news: false`: those who wait for its assets hear nothing of a task that is skipped.
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
        self._process: StageProcess | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        request = self._request(context)
        answer = self._run(request)
        if self.outlets and answer["facts"].get("news") is False:
            self._keep_quiet(context, answer, request.params)
        self._announce(context, request.params)
        if self.gate and answer["facts"].get("decision") == "refuse":
            self._refuse(context, answer)
        return answer

    def on_kill(self) -> None:
        """Ends the stage and all that it started. A signal handler calls this while `execute` still reads."""
        if self._process is not None:
            self.log.warning("ending %s", self.stage)
            self._process.stop()

    def _request(self, context: Context) -> StageRequest:
        stage = STAGES[self.stage]
        task = context["ti"]
        params: dict[str, Any] = {"force": run_params.is_forced(self.stage, stage.dag, context["params"])}
        try:
            if self.window_params:
                run_params.check_known(stage.dag, context["dag_run"].conf)
                window = run_params.window_of(context).to_json()
                params |= {name: window[name] for name in self.window_params}
            given = {name: context["params"].get(name) for name in self.asked_params}
            params |= {name: value for name, value in given.items() if value is not None}
        except RequestError as error:
            raise AirflowFailException(str(error)) from None
        params |= dict(self.stage_params or {})
        if self.view:
            params["view"] = self.view
        if task.map_index is not None and task.map_index >= 0:
            params["map_index"] = task.map_index
        return StageRequest(
            lifecycle=self.lifecycle,
            stage=self.stage,
            run_id=task.run_id,
            try_number=task.try_number,
            params=params,
            inputs={name: self._input(name, source) for name, source in stage.inputs.items()},
        )

    def _input(self, name: str, source: str) -> Reference:
        result = (self.results or {}).get(source)
        try:
            return Reference.from_json(result["outputs"][name])  # type: ignore[index]
        except (KeyError, TypeError):
            raise AirflowFailException(
                f"{self.stage} takes {name!r} from {source}, whose result lacks it; run {source} again"
            ) from None

    def _run(self, request: StageRequest) -> dict[str, Any]:
        """Run the child to its end; raises what decides over a retry."""
        with tempfile.TemporaryDirectory(prefix="windtunnel-request-") as directory:
            asked, answered = Path(directory, "request.json"), Path(directory, "result.json")
            asked.write_text(json.dumps(request.to_json()), encoding="utf-8")
            ending = self._follow(asked, answered)
        failure = ending.failure
        if failure is None and ending.answer is not None:
            self.log.info(
                "%s %s: %s",
                self.stage,
                "had this result already" if ending.answer.get("cached") else "is done",
                json.dumps(ending.answer.get("facts", {})),
            )
            return dict(ending.answer)
        message = failure.message if failure else f"{self.stage} has no result"
        permanent = failure is not None and failure.permanent
        raise (AirflowFailException if permanent else AirflowException)(message)

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
            raise AirflowFailException(
                f"the stage environment cannot be started: {python}: {error.strerror}; the pod of stage "
                f"class {self.stage_class!r} must run the stage image"
            ) from None

    def _pass_on(self, process: StageProcess, tail: deque[str]) -> None:
        levels = LineLevels()
        for line in process.lines():
            level, text = levels(line)
            tail.append(text)
            self.log.log(level, "%s", text)

    def _announce(self, context: Context, params: Mapping[str, Any]) -> None:
        """Tell those who wait for this stage's assets which days they now hold."""
        for asset in self.outlets:
            context["outlet_events"][asset].extra = {name: params[name] for name in ("start", "end")}

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

"""Which version answers, and the answer itself.

The champion is one reference: a swap is an assignment, a request keeps the version that it began with, and
the old one is freed when its last request has ended.
"""

from __future__ import annotations

import asyncio
import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from windtunnel.errors import NotFoundError, RequestError, TemporaryError, WindtunnelError
from windtunnel.serving import protocol
from windtunnel.serving.challenger_link import Fault
from windtunnel.serving.model import ROWS_ON_LOOP
from windtunnel.serving.prediction_id import prediction_id
from windtunnel.serving.question import Question
from windtunnel.serving.routing import request_key
from windtunnel.serving.rows import as_sent, complete
from windtunnel.serving.time_limit import TimeLimit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from windtunnel.prediction_log.columns import Role
    from windtunnel.serving.challenger import Challenger
    from windtunnel.serving.inputs import Batch
    from windtunnel.serving.metrics import Metrics
    from windtunnel.serving.model import FloatArray, LoadedVersion, VersionInterface
    from windtunnel.serving.prediction_log import PredictionLog
    from windtunnel.serving.predictions import PredictionHistogram
    from windtunnel.serving.rows import Rows


class Answered(NamedTuple):
    """An answer, and who gave it."""

    role: str
    """champion, challenger, or fallback: the champion in the challenger's stead."""
    response: protocol.InferResponse


class ModelFault(WindtunnelError):
    """The model itself failed on a valid request (HTTP 500)."""


@dataclass(frozen=True)
class Failure:
    """Why the version that should serve does not."""

    version: str
    reason: str
    """The error's kind."""
    message: str

    def to_json(self) -> dict[str, str]:
        return {"version": self.version, "reason": self.reason, "message": self.message}


class Dataplane:
    """Answers for one lifecycle."""

    def __init__(self, metrics: Metrics, challenger: Challenger, log: PredictionLog) -> None:
        self._metrics = metrics
        self.challenger = challenger
        self.log = log
        self._time_limit = TimeLimit()
        self._predictions: PredictionHistogram | None = None
        """Of the champion."""
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="predict")
        self.lifecycle: str | None = None
        """Known once the ServedModel has been seen."""
        self.champion: LoadedVersion | None = None
        self.failure: Failure | None = None
        self.generation: int | None = None
        """metadata.generation of the ServedModel that has been acted on."""
        self.warm: Sequence[dict[str, Any]] = ()
        """Former champions, as the metadata tells of them."""

    def swap(self, loaded: LoadedVersion) -> None:
        """Let a version answer from now on."""
        old, self.champion = self.champion, loaded
        self._time_limit = TimeLimit()
        self._predictions = self._metrics.predictions.of(
            loaded.lifecycle, loaded.version, "champion", loaded.prediction_edges
        )
        self.challenger.beside(loaded)
        if old is not None:
            self._metrics.lets_go(old, "champion")
        self._metrics.holds(loaded, "champion")

    def versions_in_use(self) -> set[str]:
        """Champion, challenger, and former champions that are wanted warm."""
        of = [self.challenger.describe(), *self.warm]
        serving = {self.champion.version} if self.champion else set()
        return serving | {one["version"] for one in of if one}

    def select(self, name: str, version: str | None) -> LoadedVersion:
        """The loaded version that a path names. Raises NotFoundError or, before the first load,
        TemporaryError."""
        champion = self.champion
        if name != self.lifecycle:
            raise NotFoundError(
                f"there is no model {name[:80]!r} here", fix=f"this server has {self.lifecycle!r}"
            )
        if champion is None:
            reason = f": {self.failure.message}" if self.failure else ""
            raise TemporaryError(f"no version of {name!r} is loaded yet{reason}", fix="try again")
        if version is not None and version != champion.version:
            raise NotFoundError(
                f"version {version[:80]!r} of {name!r} is not served",
                fix=f"ask for {champion.version!r}, or for none",
            )
        return champion

    def infer(
        self, champion: LoadedVersion, request: protocol.InferRequest, *, pinned: bool = False
    ) -> Answered | Awaitable[Answered]:
        """The answer, at once where nothing has to be waited for; `pinned` when the caller asks for this
        version. Raises, itself or when awaited, RequestError, StoreError, or ModelFault."""
        if request.outputs:
            request.check_outputs(champion.output)
        began = time.perf_counter()
        batch = champion.plan.read(request)
        question = Question(request, batch, prediction_id(), _now(request, batch), began)
        split = self.challenger.split
        if (
            split is not None
            and not pinned
            # what was read as a former champion's input may be no input beside the present one
            and champion is self.champion
            and split.takes(request_key(request, batch, question.id))
        ):
            return self._by_challenger(champion, question)
        if batch.entities is not None or len(batch.matrix) > ROWS_ON_LOOP:
            return self._after_reading(champion, question)
        rows = as_sent(champion, batch)
        return self._copied(champion, question, rows, self._at_once(champion, question, rows, "champion"))

    async def _after_reading(self, champion: LoadedVersion, question: Question) -> Answered:
        rows = await complete(champion, question.batch, question.now, self._metrics)
        answer = await self._by_champion(champion, question, rows, "champion")
        return self._copied(champion, question, rows, answer)

    def _copied(
        self, champion: LoadedVersion, question: Question, rows: Rows, answer: protocol.InferResponse
    ) -> Answered:
        """The champion's answer, now that a copy of what was asked is offered to the challenger."""
        if self.challenger.live is not None and champion is self.champion:
            self.challenger.live.offer(question, rows)
        return Answered("champion", answer)

    async def _by_challenger(self, champion: LoadedVersion, question: Question) -> Answered:
        """As `infer`; the champion answers when the challenger does not."""
        rows: Rows | None = None
        counts = self.challenger.counts
        try:
            live = self.challenger.ask()
            if question.request.outputs and live.interface.output != champion.output:
                raise Fault("error", f"it has no output {champion.output!r}")
            if live.shares_inputs:
                asked = rows = await complete(champion, question.batch, question.now, self._metrics)
            else:
                asked = await live.read(question)
            values = await live.ask(asked.matrix, self._time_limit.limit(len(asked.matrix)))
        except Fault as fault:
            answered = await self._fall_back(champion, question, rows)
            # only now: where the champion can do no better it is no fault
            self.challenger.answered(counts, fault)
            return answered
        self.challenger.answered(counts)
        response = self._response(live.interface, question, asked, values, "challenger")
        return Answered("challenger", response)

    async def _fall_back(self, champion: LoadedVersion, question: Question, rows: Rows | None) -> Answered:
        if rows is None:
            rows = await complete(champion, question.batch, question.now, self._metrics)
        return Answered("fallback", await self._by_champion(champion, question, rows, "fallback"))

    async def _by_champion(
        self, champion: LoadedVersion, question: Question, rows: Rows, role: Role
    ) -> protocol.InferResponse:
        if len(rows.matrix) <= ROWS_ON_LOOP:
            return self._at_once(champion, question, rows, role)
        started = time.perf_counter()
        values = await asyncio.get_running_loop().run_in_executor(
            self._threads, _predict, champion, rows.matrix
        )
        return self._predicted(champion, question, rows, values, role, time.perf_counter() - started)

    def _at_once(
        self, champion: LoadedVersion, question: Question, rows: Rows, role: Role
    ) -> protocol.InferResponse:
        started = time.perf_counter()
        values = _predict(champion, rows.matrix)
        return self._predicted(champion, question, rows, values, role, time.perf_counter() - started)

    def _predicted(
        self,
        champion: LoadedVersion,
        question: Question,
        rows: Rows,
        values: list[float],
        role: Role,
        seconds: float,
    ) -> protocol.InferResponse:
        """The champion's answer of these values, checked and counted."""
        _check_answers(values, rows.nulls)
        self._time_limit.measured(len(values), seconds)
        if self.challenger.live is not None:
            names = (champion.lifecycle, champion.version, "champion")
            self._metrics.predict_seconds.labels(*names).observe(seconds)
        if champion is self.champion and self._predictions is not None:
            self._predictions.observe(values)
        return self._response(champion, question, rows, values, role)

    def _response(
        self, version: VersionInterface, question: Question, rows: Rows, values: list[float], role: Role
    ) -> protocol.InferResponse:
        self.log.record(version, question, rows, values, role, time.perf_counter() - question.began)
        answerer = "champion" if role == "fallback" else role
        self._metrics.of(version.lifecycle, version.version, answerer).rows(len(values), rows.missing)
        parameters: dict[str, Any] = {"prediction_id": question.id, "role": answerer}
        if role == "fallback":
            parameters["fallback"] = True
        if rows.stale is not None:
            parameters["stale_features"] = rows.stale
        parameters["missing_features"] = rows.missing
        return protocol.InferResponse(
            model_name=version.lifecycle,
            model_version=version.version,
            id=question.request.id,
            parameters=parameters,
            outputs=[protocol.OutputTensor(version.output, [len(values)], "FP64", values)],
        )

    def describe(self, name: str, version: str | None) -> dict[str, Any]:
        """Model metadata. Before the first load it has no versions, and says why."""
        if name != self.lifecycle or version is not None or self.champion is not None:
            loaded: LoadedVersion | None = self.select(name, version)
        else:
            loaded = None
        parameters = {
            "champion": loaded.version if loaded else None,
            "digest": loaded.digest if loaded else None,
            "generation": self.generation,
            "failure": self.failure.to_json() if self.failure else None,
            "challenger": self.challenger.describe(),
            "warm": list(self.warm),
        }
        if loaded is None:
            return {
                "name": name,
                "versions": [],
                "platform": "",
                "inputs": [],
                "outputs": [],
                "parameters": parameters,
            }
        return {
            "name": name,
            "versions": [loaded.version],
            "platform": loaded.runtime,
            "inputs": loaded.plan.describe(),
            "outputs": [{"name": loaded.output, "datatype": "FP64", "shape": [-1]}],
            "parameters": parameters,
        }


def _now(request: protocol.InferRequest, batch: Batch) -> float | None:
    """As of when online features are read, where they are: whoever else answers this reads the same."""
    if batch.entities is None:
        return None
    said = request.event_time()
    return time.time() if said is None else said


def _predict(loaded: LoadedVersion, matrix: FloatArray) -> list[float]:
    """Raises ModelFault."""
    try:
        values: list[float] = loaded.predictor.predict(matrix).tolist()
    except Exception as error:
        raise ModelFault(f"the model failed: {error}", where=f"version {loaded.version}") from error
    return values


def _check_answers(answers: list[float], nulls: int) -> None:
    for row, answer in enumerate(answers):
        if not math.isfinite(answer):
            if nulls:
                raise RequestError(
                    f"the model gives no number for row {row}, and features are missing in this request",
                    where="inputs",
                    fix="send every feature; this model cannot do without",
                )
            raise ModelFault(f"the model answered {answer} for row {row}")

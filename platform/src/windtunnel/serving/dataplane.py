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
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from windtunnel.errors import NotFoundError, RequestError, TemporaryError, WindtunnelError
from windtunnel.serving import protocol
from windtunnel.serving.prediction_id import prediction_id

if TYPE_CHECKING:
    from windtunnel.features.online_reader import OnlineFeatures
    from windtunnel.serving.inputs import Batch
    from windtunnel.serving.metrics import Metrics
    from windtunnel.serving.model import FloatArray, LoadedVersion

_ROWS_ON_LOOP: Final = 256
"""Larger batches are computed in a thread, so that they don't hold up single rows."""
_FP32_MAX: Final = float(np.finfo(np.float32).max)


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

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="predict")
        self.lifecycle: str | None = None
        """Known once the ServedModel has been seen."""
        self.champion: LoadedVersion | None = None
        self.failure: Failure | None = None
        self.generation: int | None = None
        """metadata.generation of the ServedModel that has been acted on."""

    def swap(self, loaded: LoadedVersion) -> None:
        """Let a version answer from now on."""
        old, self.champion = self.champion, loaded
        if old is not None:
            self._metrics.model_info.remove(old.lifecycle, old.version, "champion", old.digest)
        self._metrics.model_info.labels(loaded.lifecycle, loaded.version, "champion", loaded.digest).set(1)

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

    async def infer(self, loaded: LoadedVersion, body: bytes) -> protocol.InferResponse:
        """Raises RequestError, StoreError, or ModelFault."""
        request = protocol.parse(body)
        batch = loaded.plan.read(request)
        parameters: dict[str, Any] = {"prediction_id": prediction_id(), "role": "champion"}
        defaulted = 0
        if batch.entities is not None:
            online = await self._read_online(loaded, batch, request.event_time())
            parameters["stale_features"] = online.stale
            defaulted = online.missing - int(np.isnan(online.values).sum())
        matrix = batch.matrix
        nulls = int(np.isnan(matrix).sum())
        missing = nulls + defaulted
        if loaded.single_precision and np.any(np.abs(matrix) > _FP32_MAX):
            raise RequestError(
                "a number is too large for this model", where="inputs", fix="send less than 3.4e38"
            )
        answers = (await self._predict(loaded, matrix)).tolist()
        _check_answers(answers, nulls)
        self._metrics.of(loaded.lifecycle, loaded.version).rows(len(answers), missing)
        parameters["missing_features"] = missing
        return protocol.InferResponse(
            model_name=loaded.lifecycle,
            model_version=loaded.version,
            id=request.id,
            parameters=parameters,
            outputs=[protocol.OutputTensor(loaded.output, [len(answers)], "FP64", answers)],
        )

    async def _read_online(self, loaded: LoadedVersion, batch: Batch, now: float | None) -> OnlineFeatures:
        """Complete the batch from the online store."""
        assert loaded.reader is not None, "a plan without reader knows no join keys"
        assert batch.entities is not None
        started = time.perf_counter()
        online = await loaded.reader.read(batch.entities, now)
        self._metrics.online_read_seconds.labels(loaded.lifecycle).observe(time.perf_counter() - started)
        batch.matrix[:, loaded.online_columns] = online.values
        return online

    async def _predict(self, loaded: LoadedVersion, matrix: FloatArray) -> FloatArray:
        try:
            if len(matrix) <= _ROWS_ON_LOOP:
                return loaded.predictor.predict(matrix)
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, loaded.predictor.predict, matrix
            )
        except Exception as error:
            raise ModelFault(f"the model failed: {error}", where=f"version {loaded.version}") from error

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

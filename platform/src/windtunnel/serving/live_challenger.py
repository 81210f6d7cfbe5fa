"""A challenger whose process answers: asked for routed requests, given copies to score, and counted."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import numpy as np

from windtunnel.errors import WindtunnelError
from windtunnel.serving.challenger_link import Fault
from windtunnel.serving.rows import Rows, complete
from windtunnel.serving.shadow import Copy, ShadowCopies

if TYPE_CHECKING:
    from windtunnel.serving.challenger_link import ChallengerLink
    from windtunnel.serving.challenger_metrics import ChallengerCounts
    from windtunnel.serving.frames import Answer
    from windtunnel.serving.metrics import Metrics
    from windtunnel.serving.model import FloatArray, LoadedVersion, VersionInterface
    from windtunnel.serving.prediction_log import Record
    from windtunnel.serving.question import Question

_SHADOW_SECONDS: Final = 10.0
"""Seconds that copies may take; nobody waits for them."""


class LiveChallenger:
    """One life of the process; on the event loop only."""

    def __init__(
        self,
        interface: VersionInterface,
        link: ChallengerLink,
        counts: ChallengerCounts,
        metrics: Metrics,
        record: Record,
    ) -> None:
        self.interface = interface
        self._link = link
        self._counts = counts
        self._metrics = metrics
        self._record = record
        self._copies: ShadowCopies | None = None
        self._scoring: asyncio.Task[None] | None = None
        self._predict_seconds = metrics.predict_seconds.labels(
            interface.lifecycle, interface.version, "challenger"
        )
        self.shares_inputs = False
        """The matrix that the champion gets is the challenger's as well."""

    def beside(self, champion: LoadedVersion) -> None:
        """The version that answers all other requests, from now on."""
        of = self._metrics.predictions.of
        names = (self.interface.lifecycle, self.interface.version)
        self._routed_predictions = of(*names, "challenger", champion.prediction_edges)
        self._shadow_predictions = of(*names, "shadow", champion.prediction_edges)
        self.shares_inputs = self.interface.inputs == champion.inputs
        columns = {name: position for position, name in enumerate(champion.plan.features)}
        features = self.interface.plan.features
        self._unknown = [name for name in features if name not in columns]
        self._columns = [columns[name] for name in features if name in columns]
        if self._copies is not None:
            # those that wait were read as the former champion's input
            one_by_one = self._copies.one_by_one
            self.shadow(False)
            self.shadow(True, one_by_one=one_by_one)

    def shadow(self, wanted: bool, *, one_by_one: bool = False) -> None:
        """Whether it scores copies from now on; `one_by_one` where it has routed requests to answer too."""
        if wanted and self._copies is not None and self._copies.one_by_one == one_by_one:
            return
        if self._scoring is not None:
            self._scoring.cancel()
        self._copies = self._scoring = None
        if wanted:
            self._copies = ShadowCopies(self._score, self._counts.drops.inc, one_by_one)
            self._scoring = asyncio.create_task(self._copies.run())

    def offer(self, question: Question, rows: Rows) -> None:
        """The champion answered this: a copy to score, where copies are scored."""
        if self._copies is not None:
            read_again = question.batch.entities is not None and not self.shares_inputs
            kept = question.request.apart(inputs=read_again)
            self._copies.offer(Copy(question._replace(request=kept), rows))

    async def read(self, question: Question) -> Rows:
        """What this version makes of a request that the champion has read, where their inputs differ. Raises
        Fault when it cannot."""
        batch = question.batch
        if batch.entities is None:
            # The caller means the champion's features, in its order.
            if self._unknown:
                raise Fault(
                    "error", f"it wants features that the champion has not: {', '.join(self._unknown)}"
                )
            matrix = batch.matrix[:, self._columns]
            nulls = int(np.isnan(matrix).sum())
            return Rows(matrix, nulls, nulls, None)
        try:
            own = self.interface.plan.read(question.request)
            return await complete(self.interface, own, question.now, self._metrics)
        except WindtunnelError as error:
            raise Fault("error", f"it cannot read what the champion can: {error}") from error

    async def ask(self, matrix: FloatArray, seconds: float) -> list[float]:
        """Answers [rows] to a routed request. Raises Fault, at the latest after `seconds`."""
        started = time.perf_counter()
        self._check_numbers(matrix)
        (answer,) = await self._link.predict([matrix], seconds)
        self._counts.seconds.observe(time.perf_counter() - started)
        values = self._checked(answer, len(matrix))
        self._routed_predictions.observe(values)
        return values

    async def _score(self, copies: list[Copy]) -> None:
        """Count what it makes of copies."""
        read: list[Copy] = []
        for question, rows in copies:
            try:
                own = rows if self.shares_inputs else await self.read(question)
                self._check_numbers(own.matrix)
                read.append(Copy(question, own))
            except Fault as fault:
                self._counts.faulted("shadow", fault)
        if not read or self._link.ended.done():
            return
        try:
            answers = await self._link.predict([own.matrix for _, own in read], _SHADOW_SECONDS)
        except Fault as fault:
            if fault.reason == "overloaded":
                self._counts.drops.inc(len(read))
            else:
                # which of them it was, nobody knows
                self._counts.faulted("shadow", fault)
            return
        for (question, own), answer in zip(read, answers, strict=True):
            try:
                values = self._checked(answer, len(own.matrix))
                self._shadow_predictions.observe(values)
            except Fault as fault:
                self._counts.faulted("shadow", fault)
            else:
                self._counts.asked("shadow")
                self._record(self.interface, question, own, values, "shadow", answer.seconds)

    def _check_numbers(self, matrix: FloatArray) -> None:
        if not self.interface.holds(matrix):
            raise Fault("error", "a number is too large for it")

    def _checked(self, answer: Answer, rows: int) -> list[float]:
        self._predict_seconds.observe(answer.seconds)
        if answer.values is None:
            raise Fault("error", answer.message)
        if len(answer.values) != rows:
            raise Fault("error", f"{len(answer.values)} answers to {rows} rows")
        if not np.isfinite(answer.values).all():
            raise Fault("not_a_number", "an answer is not a finite number")
        values: list[float] = answer.values.tolist()
        return values

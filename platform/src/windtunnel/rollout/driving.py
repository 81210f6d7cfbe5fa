"""Drives a rollout: looks at the ServedModel, makes the next move by a compare-and-swap, waits.

Nothing is remembered here that a repeat would need, so it may die anywhere.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from windtunnel.errors import ConflictError, TemporaryError
from windtunnel.rollout.moves import Hold, Over, Promote, Refuse, Write
from windtunnel.rollout.promotion import promote
from windtunnel.rollout.steps import next_move, refuse
from windtunnel.spec.servedmodel import object_name

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from windtunnel.rollout.moves import Plan
    from windtunnel.rollout.promotion import Candidate, Promoted
    from windtunnel.rollout.served_models import ServedModels
    from windtunnel.spec.servedmodel import ServedModel

POLL_SECONDS: Final = 1.0
REPORT_SECONDS: Final = 15.0
_AWAY_SECONDS: Final = 600.0
"""That the API server may be away before a repeat of the stage has to wait for it."""
_CROWDED_SECONDS: Final = 0.1


@dataclass(frozen=True)
class Refused:
    """The version does not get the seat; the act that says so stands in the ServedModel."""

    reason: str
    served_model: ServedModel


class Driver:
    """One run's rollout. `sleep` takes seconds; `clock` counts them; `now` is the time of day, UTC."""

    def __init__(
        self,
        served_models: ServedModels,
        candidate: Candidate,
        plan: Plan,
        log: logging.Logger,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._served_models = served_models
        self._candidate = candidate
        self._plan = plan
        self._name = object_name(candidate.lifecycle)
        self._log = log
        self._sleep = sleep
        self._clock = clock
        self._now = now
        self._told = ("", 0.0)
        self._lost: ConflictError | None = None
        self._found = False
        """Whether there was a ServedModel to look at."""

    def drive(self) -> Promoted | Refused:
        """Until the version has the seat or is refused.

        Raises what `promote` raises, and TemporaryError while the API server is away for long or too many
        acts wait for the ledger: a repeat goes on from there.
        """
        answered = self._clock()
        while True:
            try:
                ended = self._move()
                answered = self._clock()
            except TemporaryError as error:
                if self._clock() - answered > _AWAY_SECONDS:
                    raise
                self._tell("away", f"waiting: {error}")
                ended = None
                self._sleep(POLL_SECONDS)
            if ended is not None:
                return ended

    def refuse(self, reason: str, message: str) -> Refused:
        """Write down that the version is refused before its rollout has begun."""
        while True:
            current = self._served_models.get(self._name)
            if current is None:
                raise self._deleted()
            refused = self._write_refusal(current, refuse(current, self._plan, reason, message, self._now()))
            if refused is not None:
                return refused
            self._sleep(_CROWDED_SECONDS)

    def _deleted(self) -> ConflictError:
        """Who has shown nothing yet gets no seat because the ServedModel went."""
        return ConflictError(
            "it was deleted in between", where=f"ServedModel {self._name}", fix="start a new run"
        )

    def _move(self) -> Promoted | Refused | None:
        """One look, one move; None: look again."""
        current = self._served_models.get(self._name)
        if current is None and self._found:
            raise self._deleted()
        if current is None:
            # the first champion: nobody is there to be compared with
            return promote(self._served_models, self._candidate, self._now())
        self._found = True
        move = next_move(current, self._plan, self._now())
        if isinstance(move, Over):
            return Refused(move.act.reason, current)
        if isinstance(move, Refuse):
            return self._write_refusal(current, move)
        if isinstance(move, Promote):
            return self._promote(move)
        self._lost = None
        if isinstance(move, Hold):
            self._tell(move.state, move.says)
            self._sleep(POLL_SECONDS)
        else:
            self._write(current, move)
        return None

    def _promote(self, move: Promote) -> Promoted | None:
        if self._lost is not None:
            raise self._lost
        if move.rolled_out:
            self._tell(move.says, move.says)
        candidate = self._candidate
        if move.rolled_out:
            reason = "; ".join(filter(None, (move.says, candidate.reason)))
            candidate = replace(candidate, rolled_out=True, reason=reason)
        try:
            return promote(self._served_models, candidate, self._now())
        except ConflictError as error:
            # what stands there now has the answer: taken back, overtaken, or really another's seat
            self._lost = error
            return None

    def _write(self, current: ServedModel, move: Write) -> None:
        if self._swap(current, dict(move.changes)) is not None:
            self._told = ("", 0.0)
            self._log.info("%s", move.says)

    def _write_refusal(self, current: ServedModel, move: Refuse) -> Refused | None:
        written = self._swap(current, dict(move.changes))
        return Refused(f"{move.reason}: {move.message}", written) if written is not None else None

    def _swap(self, current: ServedModel, changes: dict[str, object]) -> ServedModel | None:
        wanted = current.model_copy(update={"spec": current.spec.model_copy(update=changes)})
        try:
            return self._served_models.replace(wanted, current.metadata.resource_version or "")
        except ConflictError:
            # somebody wrote in between, or it was us and the answer got lost: look again
            self._sleep(_CROWDED_SECONDS)
            return None

    def _tell(self, state: str, says: str) -> None:
        """Log a state when it changes, and every REPORT_SECONDS."""
        told, when = self._told
        if state != told or self._clock() - when >= REPORT_SECONDS:
            self._log.info("%s", says)
            self._told = (state, self._clock())

"""Brings what was done to a ServedModel into the ledger, and lets MLflow's alias name what serves.

The only part of the controller that needs the object store and MLflow. It runs in a thread of its own, so
that neither of them, dead or slow, holds up the guard or the keeper; what waits, waits in the ServedModel.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from windtunnel.controller.status import View
from windtunnel.errors import NotFoundError, TemporaryError, WindtunnelError
from windtunnel.ledger import Ledger
from windtunnel.rollout.mirror import follow, record, unrecorded
from windtunnel.spec.servedmodel import ServedModel, ServedModelStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from windtunnel.objects import ObjectStore
    from windtunnel.rollout.mirror import Aliases

log = logging.getLogger(__name__)

IDLE_SECONDS: Final = 60.0
"""A change of the spec ends this at once."""
FIRST_RETRY_SECONDS: Final = 1.0
LAST_RETRY_SECONDS: Final = 30.0
ALIAS_SECONDS: Final = 300.0
"""After this MLflow is asked again what its alias names: somebody may have moved it."""


class Recorder:
    """`look` is for one thread; `view` and `recorded` may be read by another one at any time."""

    def __init__(
        self, store: ObjectStore, aliases: Aliases | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.view: View | None = None
        """For the condition Recorded; None until the first look."""
        self.recorded = 0
        """Number of the last act that stands in the ledger."""
        self._store = store
        self._aliases = aliases
        self._clock = clock
        self._ledger: Ledger | None = None
        self._followed: tuple[str, float] | None = None
        """(version that the alias names, when that was seen)"""
        self._failures = 0

    def look(self, value: Mapping[str, Any]) -> float:
        """Record what is to record; returns the seconds until the next look. Never raises."""
        name = value["metadata"]["name"]
        try:
            model = self._with_recorded(ServedModel.model_validate(value))
        except ValidationError:
            return IDLE_SECONDS  # the keeper says what is wrong with it
        # Neither waits for the other: the next evaluation asks the alias whom to compare with.
        problems = [
            self._tried(name, "Ledger", self._record, model),
            self._tried(name, "Alias", self._follow, model),
        ]
        problem = next((one for one in problems if one is not None), None)
        if problem is None:
            self._failures = 0
            self.view = View("True", "Recorded", f"the ledger has all acts up to {self.recorded}")
            return IDLE_SECONDS
        self.view = problem
        if problem.status == "True":
            return IDLE_SECONDS
        pause = min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** min(self._failures, 10))
        self._failures += 1
        return pause

    def _with_recorded(self, model: ServedModel) -> ServedModel:
        """As the watch gives it, the status may be older than what we know."""
        status = model.status or ServedModelStatus()
        self.recorded = max(self.recorded, status.recorded)
        return model.model_copy(update={"status": status.model_copy(update={"recorded": self.recorded})})

    def _record(self, model: ServedModel) -> None:
        if not unrecorded(model):
            return
        if self._ledger is None:
            self._ledger = Ledger(self._store, model.spec.lifecycle)
        try:
            self.recorded = record(model, self._ledger)
        except WindtunnelError:
            self._ledger = None  # what it remembers may be what is wrong
            raise
        log.info("%s: the ledger has all acts up to %d", model.metadata.name, self.recorded)

    def _follow(self, model: ServedModel) -> None:
        if self._aliases is None:
            return
        version, now = model.spec.champion.version, self._clock()
        if self._followed and self._followed[0] == version and now - self._followed[1] < ALIAS_SECONDS:
            return
        if follow(model, self._aliases):
            log.info("%s: MLflow's alias champion names version %s", model.metadata.name, version)
        self._followed = (version, now)

    def _tried(
        self, name: str, what: str, do: Callable[[ServedModel], None], model: ServedModel
    ) -> View | None:
        """None, or why it was not done."""
        waiting = len(unrecorded(self._with_recorded(model)))
        about = f"{waiting} acts wait: " if what == "Ledger" else ""
        try:
            do(model)
        except NotFoundError as error:
            if what == "Ledger":
                return View("False", "LedgerRefused", f"{about}{error}")
            # Somebody serves what is not registered: nothing to wait for, and nothing is lost by it.
            self._followed = (model.spec.champion.version, self._clock())
            return View("True", "NoAlias", f"the ledger has all acts; MLflow's alias cannot follow: {error}")
        except TemporaryError as error:
            log.warning("%s: %s", name, error)
            return View("False", f"{what}Away", f"{about}{error}")
        except WindtunnelError as error:
            log.error("%s: %s", name, error)
            return View("False", f"{what}Refused", f"{about}{error}")
        except Exception as error:
            log.exception("%s: unexpected error", name)
            return View("False", f"{what}Failed", f"{about}{type(error).__name__}: {error}")
        return None

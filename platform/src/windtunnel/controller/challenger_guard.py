"""Looks after the challenger of one ServedModel: reads what the pods count, and takes it back when it must.

It needs the serving pods and, for the one write, the API server; nothing else. What the keeper saw last of
the pods is enough to go on by while the API server is away.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

from pydantic import ValidationError

from windtunnel.controller.evidence_log import EvidenceLog, found
from windtunnel.controller.status import GuardView
from windtunnel.errors import WindtunnelError
from windtunnel.rollout.counters import read
from windtunnel.rollout.guard import Broken, Guard, Healthy
from windtunnel.rollout.taking_back import take_back, why_taken_back
from windtunnel.spec.servedmodel import ServedModel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from windtunnel.rollout.served_models import ServedModels

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0
"""From one look to the next while a challenger scores requests."""
IDLE_SECONDS: Final = 60.0
"""A change of the spec ends this at once."""


class Scrape(Protocol):
    """See scrape.Scraper."""

    def scrape(self, addresses: Mapping[str, str]) -> dict[str, str]: ...


class ChallengerGuard:
    """`look` is for one thread; `pods` may be set and `view` be read by another one at any time."""

    def __init__(
        self, served_models: ServedModels, scraper: Scrape, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._served_models = served_models
        self._scraper = scraper
        self._clock = clock
        self.pods: Mapping[str, str] = {}
        """Addresses of the serving pods, by name."""
        self.view: GuardView | None = None
        """For the status; None while no challenger scores."""
        self._guard: Guard | None = None
        self._evidence = EvidenceLog(datetime.now(UTC))
        self._is_first = True
        """Whether the next guard is the first of this process: it goes on from what the status says."""
        self._watched: Any = None
        """What the guard's evidence is about; another such thing gets another guard."""
        self._taken_back_in: int | None = None
        """Generation of the ServedModel that our own write made."""

    def look(self, value: Mapping[str, Any]) -> float:
        """Judge the ServedModel's challenger; returns the seconds until the next look. Never raises."""
        started = self._clock()
        try:
            return self._look(ServedModel.model_validate(value))
        except ValidationError:
            return IDLE_SECONDS  # the keeper says what is wrong with it
        except WindtunnelError as error:
            log.warning("%s: %s", value["metadata"]["name"], error)
        except Exception:
            log.exception("%s: unexpected error", value["metadata"]["name"])
        return max(0.0, LOOK_SECONDS - (self._clock() - started))

    def _look(self, model: ServedModel) -> float:
        started, spec = self._clock(), model.spec
        looked_for = spec.guard.enabled or spec.rollout is not None
        if spec.challenger is None or not looked_for or not (spec.traffic or spec.shadow):
            self._guard = self.view = None
            return IDLE_SECONDS
        if self._taken_back_in is not None and (model.metadata.generation or 0) < self._taken_back_in:
            return LOOK_SECONDS  # seen before our own write: the watch is about to tell of it
        watched = (spec.champion, spec.challenger, spec.guard, self._taken_back_in)
        if self._guard is None or watched != self._watched:
            self._watch(model)
            self._watched = watched
        texts = self._scraper.scrape(self.pods)
        readings = {
            pod: read(text, spec.lifecycle, spec.champion.version, spec.challenger.version)
            for pod, text in texts.items()
        }
        guard = self._guard
        assert guard is not None, "there is one since the lines above"
        verdict = guard.look(readings, self._clock())
        evidence = self._evidence.tell(model, guard.evidence, self._clock())
        if isinstance(verdict, Broken):
            self.view = GuardView("False", verdict.reason, verdict.message, spec.challenger, evidence)
            if spec.guard.enabled:
                self._take_back(model, verdict)
        elif isinstance(verdict, Healthy):
            self.view = GuardView("True", "Healthy", verdict.message, spec.challenger, evidence)
        else:
            self.view = GuardView("Unknown", "Waiting", verdict.message, spec.challenger, evidence)
        return max(0.0, LOOK_SECONDS - (self._clock() - started))

    def _watch(self, model: ServedModel) -> None:
        """Begin with a guard of its own for this challenger."""
        before = found(model) if self._is_first else None
        self._evidence = EvidenceLog(datetime.now(UTC), before)
        # whoever gives traffic to a challenger that was taken back knows what it did before
        forgive = why_taken_back(model) is not None
        self._guard = Guard(model.spec.guard, forgive=forgive, before=self._evidence.before)
        self._is_first = False
        self.view = None

    def _take_back(self, model: ServedModel, verdict: Broken) -> None:
        name, challenger = model.metadata.name, model.spec.challenger
        assert challenger is not None, "only a challenger can break the guard"
        log.warning("%s: challenger %s: %s: %s", name, challenger.version, verdict.reason, verdict.message)
        written = take_back(
            self._served_models, name, challenger, verdict.reason, verdict.message, datetime.now(UTC)
        )
        if written is not None:
            self._taken_back_in = written.metadata.generation

"""Keeps one ServedModel as it should be: apply, look, say what was seen."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

from pydantic import ValidationError

from windtunnel.controller.reconcile import desired, is_scaled
from windtunnel.controller.status import Problem, autoscaling_view, failed, guard_view, observed
from windtunnel.errors import PermanentError, WindtunnelError
from windtunnel.spec.servedmodel import Metadata, ServedModel, ServedModelStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from windtunnel.controller.config import ControllerConfig
    from windtunnel.controller.reconcile import Object
    from windtunnel.controller.status import GuardView, PodView, View

log = logging.getLogger(__name__)

PROGRESSING_SECONDS: Final = 1.0
"""Until the next round while something is going on."""
STEADY_SECONDS: Final = 2.0
FAILED_SECONDS: Final = 5.0
_REAPPLY_SECONDS: Final = 60.0
"""What others have changed in the objects is taken back after this."""


class ClusterAccess(Protocol):
    """What a keeper needs of the cluster (see cluster.Cluster)."""

    def served_model(self, name: str) -> Object | None: ...
    def apply(self, wanted: Object) -> None: ...
    def apply_scaled(self, wanted: Object, replicas: int) -> None: ...
    def autoscaler(self, name: str) -> Object | None: ...
    def remove_autoscaler(self, about: Metadata) -> None: ...
    def deployment(self, name: str) -> Object | None: ...
    def pods(self, name: str, lifecycle: str) -> list[PodView]: ...
    def write_status(self, name: str, status: ServedModelStatus) -> None: ...
    def tell(self, about: Metadata, kind: str, reason: str, message: str) -> None: ...


class Looking(Protocol):
    """What looks at the same ServedModel in a thread of its own, beside the keeper."""

    def look(self, value: Mapping[str, Any]) -> float: ...


class Guarding(Looking, Protocol):
    """What a keeper and the guard of its challenger tell each other (see challenger_guard)."""

    pods: Mapping[str, str]

    @property
    def view(self) -> GuardView | None: ...


class Recording(Looking, Protocol):
    """What the recorder tells the keeper (see recorder)."""

    view: View | None
    recorded: int


class Keeper:
    """Not for use by several threads at a time; its guard looks in a thread of its own."""

    def __init__(
        self,
        cluster: ClusterAccess,
        config: ControllerConfig,
        guard: Guarding,
        recorder: Recording,
        by_hand: Looking,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.guard = guard
        self.beside: dict[str, Looking] = {"guard": guard, "recorder": recorder, "by-hand": by_hand}
        """By name; each looks on while the keeper waits for an API server that is away."""
        self.latest: Mapping[str, Any] | None = None
        """The ServedModel as the last round read it; newer than what a watch tells that has fallen silent."""
        self._recorder = recorder
        self._cluster = cluster
        self._config = config
        self._clock = clock
        self._status: ServedModelStatus | None = None
        """As written last; newer than that of the object, which comes by the watch."""
        self._applied: tuple[int | None, float] | None = None
        """(generation, when)"""

    def round(self, value: Mapping[str, Any]) -> float:
        """Do what is to do now for the object; returns the seconds until the next round. Never raises."""
        name = value["metadata"]["name"]
        try:
            latest = self._cluster.served_model(name)
            if latest is None or latest["metadata"].get("uid") != value["metadata"].get("uid"):
                return STEADY_SECONDS  # deleted: the watch is about to tell of it
            value = self.latest = latest
            metadata = Metadata.model_validate(value["metadata"])
            if self._status is None and value.get("status"):
                self._status = ServedModelStatus.model_validate(value["status"])
            known = max(self._recorder.recorded, self._status.recorded if self._status else 0)
            status = self._look(metadata, value).model_copy(update={"recorded": known})
            self._write(metadata, status)
        except PermanentError as error:
            log.error("%s: %s", name, error)
            return FAILED_SECONDS
        except WindtunnelError as error:
            log.warning("%s: %s", name, error)
            return FAILED_SECONDS
        except Exception:
            log.exception("%s: unexpected error", name)
            return FAILED_SECONDS
        return STEADY_SECONDS if status.phase == "Ready" else PROGRESSING_SECONDS

    def _look(self, metadata: Metadata, value: Mapping[str, Any]) -> ServedModelStatus:
        """Apply what is due and return the status that the cluster shows."""
        now = datetime.now(UTC)
        recorded = self._recorder.view
        more = {"Recorded": recorded} if recorded else {}
        prefix = f"{self._config.name_prefix}-"
        if metadata.name.startswith(prefix):
            # Its Service could be that of the database: what it is made of would take the place of the
            # platform's own.
            problem = Problem("NameTaken", f"names that begin with {prefix} are the platform's own")
            return failed(self._status, metadata.generation, problem, now, more=more)
        try:
            model = ServedModel.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            problem = Problem("InvalidSpec", f"{place}: {first['msg']}")
            return failed(self._status, metadata.generation, problem, now, more=more)
        try:
            self._apply(model)
        except PermanentError as error:
            problem = Problem("ApplyFailed", str(error))
            return failed(self._status, metadata.generation, problem, now, self._guard_view(model), more)
        autoscaler = self._cluster.autoscaler(metadata.name) if is_scaled(model) else None
        scaling = autoscaling_view(model, autoscaler)
        more |= {"Autoscaling": scaling} if scaling else {}
        deployment = self._cluster.deployment(metadata.name)
        if deployment is None:
            self._applied = None
        pods = self._cluster.pods(metadata.name, model.spec.lifecycle)
        # those that are not ready as well: a challenger may be why
        self.guard.pods = {pod.name: pod.address for pod in pods if pod.address}
        return observed(model, self._status, deployment, pods, now, self._guard_view(model), more)

    def _guard_view(self, model: ServedModel) -> GuardView | None:
        return guard_view(model, self.guard.view)

    def _apply(self, model: ServedModel) -> None:
        generation = model.metadata.generation
        known, when = self._applied or (None, 0.0)
        if self._applied and known == generation and self._clock() - when < _REAPPLY_SECONDS:
            return
        if not is_scaled(model):
            # it would go on scaling what the spec fixes
            self._cluster.remove_autoscaler(model.metadata)
        for wanted in desired(model, self._config):
            if wanted["kind"] == "Deployment" and is_scaled(model):
                self._cluster.apply_scaled(wanted, model.spec.serving.replicas)
            else:
                self._cluster.apply(wanted)
        self._applied = (generation, self._clock())

    def _write(self, metadata: Metadata, status: ServedModelStatus) -> None:
        old = self._status
        if status == old:
            return
        self._cluster.write_status(metadata.name, status)
        self._status = status
        log.info("%s: %s, champion %s, %s ready", metadata.name, status.phase, status.champion, status.ready)
        for kind, reason, message in news(old, status):
            self._cluster.tell(metadata, kind, reason, message)


def news(old: ServedModelStatus | None, new: ServedModelStatus) -> list[tuple[str, str, str]]:
    """Events (kind, reason, message) that are worth telling when a status changes."""
    events = []
    before = old.champion if old else None
    if new.champion and new.champion != before:
        since = f" (before: {before})" if before else ""
        events.append(("Normal", "ChampionServes", f"version {new.champion} serves{since}"))
    was_degraded = old is not None and old.phase == "Degraded"
    degraded = next((condition for condition in new.conditions if condition.type == "Degraded"), None)
    if new.phase == "Degraded" and not was_degraded and degraded is not None:
        events.append(("Warning", degraded.reason, degraded.message))
    if was_degraded and new.phase == "Ready":
        events.append(("Normal", "Recovered", "all pods serve the champion again"))
    broken = _broken(new)
    if broken is not None and broken != _broken(old):
        events.append(("Warning", *broken))
    return events


def _broken(status: ServedModelStatus | None) -> tuple[str, str] | None:
    """Why the challenger was taken back: a reason, and a message that names it."""
    for condition in status.conditions if status else ():
        if (condition.type, condition.status) == ("ChallengerHealthy", "False"):
            version = status.challenger.version if status and status.challenger else ""
            return condition.reason, f"challenger {version} is taken back: {condition.message}"
    return None

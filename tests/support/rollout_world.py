"""A world for rollouts: a ServedModel as an API server keeps it, serving pods that count, and a controller
with the real guard. Time passes when somebody sleeps."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from windtunnel.controller.evidence_log import EvidenceLog
from windtunnel.errors import ConflictError, TemporaryError
from windtunnel.rollout.counters import CHALLENGER, CHAMPION, FAULTS, PREDICTIONS, REQUESTS, SECONDS, Reading
from windtunnel.rollout.guard import Broken, Guard
from windtunnel.rollout.taking_back import take_back
from windtunnel.spec.servedmodel import ChallengerStatus, ModelVersion, ServedModel, ServedModelStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from windtunnel.spec.servedmodel import RolloutEvidence

Answer = TypeVar("Answer")
BEGINNING: Final = datetime(2026, 1, 1, tzinfo=UTC)


def version(number: int) -> ModelVersion:
    return ModelVersion(version=str(number), bundle=f"s3://b/{number}", digest=f"sha256:{number:064d}")


class Killed(BaseException):
    """The stage's pod is gone."""


class ApiServer:
    """ServedModels of which there is one. A call may be the caller's last: before or after it is done."""

    settles = True

    def __init__(self, **spec: Any) -> None:
        self.model = ServedModel.model_validate(
            {
                "metadata": {"name": "demo", "uid": "u", "generation": 1, "resourceVersion": "1"},
                "spec": {"lifecycle": "demo", "champion": version(1), **spec},
            }
        )
        self.calls = 0
        self.kill_at = -1
        """Number of the half call at which the caller dies: 2n before call n, 2n + 1 after it."""
        self.fault: Callable[[], str] = lambda: ""
        """Asked at each call: `before` and `after` it is done the server breaks off; empty: it answers."""
        self.specs = [self.model.spec]
        """All that it ever was."""

    def get(self, name: str) -> ServedModel | None:
        return self._call(lambda: self.model if name == "demo" else None)

    def create(self, model: ServedModel) -> ServedModel:
        raise NotImplementedError

    def replace(self, model: ServedModel, resource_version: str, *, drop_annotation: str = "") -> ServedModel:
        def write() -> ServedModel:
            if resource_version != self.model.metadata.resource_version:
                raise ConflictError("the object has been modified")
            return self.set(model.spec)

        return self._call(write)

    def note_recorded(self, name: str, number: int) -> None:
        raise NotImplementedError

    def set(self, spec: Any) -> ServedModel:
        """Somebody's write."""
        metadata = self.model.metadata
        update = {
            "resource_version": str(int(metadata.resource_version or "0") + 1),
            "generation": (metadata.generation or 0) + 1,
        }
        # through JSON as a real one: what does not validate or survive it shows
        self.model = ServedModel.model_validate(
            self.model.model_copy(
                update={"metadata": metadata.model_copy(update=update), "spec": spec}
            ).to_object()
        )
        self.specs.append(self.model.spec)
        return self.model

    def change(self, **changes: Any) -> ServedModel:
        return self.set(self.model.spec.model_copy(update=changes))

    def write_status(self, status: ServedModelStatus) -> None:
        metadata = self.model.metadata
        number = str(int(metadata.resource_version or "0") + 1)
        self.model = self.model.model_copy(
            update={"status": status, "metadata": metadata.model_copy(update={"resource_version": number})}
        )

    def _call(self, act: Callable[[], Answer]) -> Answer:
        number, self.calls = self.calls, self.calls + 1
        if self.kill_at == 2 * number:
            raise Killed
        fault = self.fault()
        if fault == "before":
            raise TemporaryError("no answer from the API server")
        answer = act()
        if fault == "after":
            raise TemporaryError("the answer broke off")
        if self.kill_at == 2 * number + 1:
            raise Killed
        return answer


@dataclass
class World:
    """Seconds in which requests come, pods count and the controller looks."""

    api: ApiServer
    requests: int = 50
    """In each second."""
    champion: Callable[[int], int] = lambda _asked: 0
    """How many of so many requests fail with the champion,"""
    challenger: Callable[[int], int] = lambda _asked: 0
    """and with the challenger."""
    times: str = "0.001"
    """Bucket of what every prediction takes; `inf` says nothing of it."""
    loads: int = 2
    """Seconds that the pods take for a challenger."""
    is_looked_after: bool = True
    """Whether the controller runs."""
    passed: int = 0
    asked: int = 0
    """Requests that came while a challenger scored."""
    _counts: Counter[tuple[str, ...]] = field(default_factory=Counter)
    _guard: Guard | None = None
    _log: EvidenceLog = field(default_factory=lambda: EvidenceLog(BEGINNING))
    _looked_at: object = None
    _ready_at: int = 0

    @property
    def now(self) -> datetime:
        return BEGINNING + timedelta(seconds=self.passed)

    def sleep(self, seconds: float) -> None:
        for _ in range(max(1, round(seconds))):
            self.second()

    def second(self) -> None:
        self.passed += 1
        spec = self.api.model.spec
        scores = spec.challenger is not None and (spec.traffic or spec.shadow)
        watched = spec.challenger if scores else None
        if watched != self._looked_at:
            self._looked_at, self._ready_at = watched, self.passed + self.loads
            self._counts = Counter()
            self._guard = Guard(spec.guard) if watched else None
            self._log = EvidenceLog(self.now)
        if watched and self.passed >= self._ready_at:
            self._serve(spec.traffic, spec.shadow)
        if self.is_looked_after:
            self._look()

    def _serve(self, traffic: int, shadow: bool) -> None:
        own = round(self.requests * traffic / 100)
        rest = self.requests - own
        self.asked += self.requests
        for who, asked, failing in (
            (CHALLENGER, own + (rest if shadow else 0), self.challenger),
            (CHAMPION, rest, self.champion),
        ):
            self._counts[who, REQUESTS] += asked
            self._counts[who, SECONDS, self.times] += asked
            self._counts[who, PREDICTIONS, "0.5"] += asked
            key = (who, FAULTS) if who == CHAMPION else (who, FAULTS, "error")
            self._counts[key] += failing(asked)

    def _look(self) -> None:
        model = self.api.model
        evidence: RolloutEvidence | None = None
        if self._guard is not None and model.spec.challenger is not None:
            verdict = self._guard.look({"pod": Reading(1.0, Counter(self._counts))}, float(self.passed))
            evidence = self._log.tell(model, self._guard.evidence, float(self.passed))
            if isinstance(verdict, Broken) and model.spec.guard.enabled:
                self._take_back(model.spec.challenger, verdict)
        self._tell(evidence)

    def _take_back(self, challenger: ModelVersion, verdict: Broken) -> None:
        """By a client of its own: what befalls the stage's does not befall this one."""
        api, calls, kill_at, fault = self.api, self.api.calls, self.api.kill_at, self.api.fault
        api.kill_at, api.fault = -1, lambda: ""
        take_back(api, "demo", challenger, verdict.reason, verdict.message, self.now)
        api.calls, api.kill_at, api.fault = calls, kill_at, fault

    def _tell(self, evidence: RolloutEvidence | None) -> None:
        model = self.api.model
        challenger = None
        if model.spec.challenger is not None:
            ready = self._guard is not None and self.passed >= self._ready_at
            challenger = ChallengerStatus(
                version=model.spec.challenger.version,
                state="Ready" if ready else "Loading",
                evidence=evidence,
            )
        self.api.write_status(
            ServedModelStatus(
                phase="Ready",
                champion=model.spec.champion.version,
                ready="1/1",
                challenger=challenger,
                observed_generation=model.metadata.generation,
            )
        )

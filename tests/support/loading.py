"""Loading versions without an object store: at once, or as a test wants it."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from waiting import HANG, until

from windtunnel.serving.inputs import InputPlan
from windtunnel.serving.memory import MIB, Room
from windtunnel.serving.metrics import Metrics
from windtunnel.serving.model import LoadedVersion
from windtunnel.serving.warm import WarmVersions
from windtunnel.spec.servedmodel import ModelVersion

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from windtunnel.serving.model import FloatArray


class Zero:
    def predict(self, features: FloatArray) -> FloatArray:
        return features[:, 0] * 0


def version(name: str) -> ModelVersion:
    return ModelVersion(version=name, bundle=f"s3://b/{name}", digest="sha256:" + name * 64)


def loaded(of: ModelVersion) -> LoadedVersion:
    return LoadedVersion(
        lifecycle="demo",
        version=of.version,
        digest=of.digest,
        runtime="onnx",
        output="value",
        plan=InputPlan({"a": "request"}, {}),
        inputs=("a",),
        single_precision=False,
        reader=None,
        online_columns=(),
        predictor=Zero(),
        prediction_edges=(0.0,),
        memory_bytes=3 * MIB,
    )


class Loading:
    """Loads at once, or fails as it is told to, and notes what it was asked for."""

    def __init__(self, **failures: list[Exception]) -> None:
        self.asked: list[str] = []
        self._failures: Mapping[str, list[Exception]] = failures
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, lifecycle: str, wanted: ModelVersion) -> LoadedVersion:
        assert lifecycle == "demo"
        self.asked.append(wanted.version)
        self.gate.wait(HANG)
        failures = self._failures.get(f"v{wanted.version}")
        if failures:
            raise failures.pop(0)
        return loaded(wanted)


class Told:
    """What is said of the versions, as the metadata has it."""

    def __init__(self) -> None:
        self.last: tuple[dict[str, Any], ...] = ()

    def __call__(self, held: tuple[dict[str, Any], ...]) -> None:
        self.last = held

    def states(self) -> list[tuple[str, str]]:
        return [(one["version"], one["state"]) for one in self.last]

    def wait_for(self, *states: tuple[str, str]) -> None:
        until(lambda: self.states() == list(states), lambda: self.last)


AMPLE = Room(None, 0, lambda _: 0)


@contextmanager
def warm(
    load: Loading, told: Told, room: Room = AMPLE, metrics: Metrics | None = None, pause: float = 0.0
) -> Iterator[WarmVersions]:
    one = WarmVersions(load, room, metrics or Metrics(), told, pause)
    thread = threading.Thread(target=one.run)
    thread.start()
    try:
        yield one
    finally:
        load.gate.set()
        one.stop()
        thread.join(HANG)
        assert not thread.is_alive()

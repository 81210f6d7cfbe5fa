"""From a ServedModel to what is loaded and swapped in: in order, and not twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from loading import AMPLE, Loading, Told, version

from windtunnel.serving.metrics import Metrics
from windtunnel.serving.updater import Updater
from windtunnel.serving.warm import WarmVersions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from windtunnel.serving.dataplane import Dataplane
    from windtunnel.serving.model import LoadedVersion
    from windtunnel.spec.servedmodel import ModelVersion


class Recorded:
    """A dataplane that notes who gets the seat."""

    def __init__(self) -> None:
        self.lifecycle: str | None = None
        self.champion: LoadedVersion | None = None
        self.failure: Any = None
        self.generation: int | None = None
        self.seats: list[str] = []
        self.challenger = self.log = self

    def swap(self, loaded: LoadedVersion) -> None:
        self.champion = loaded
        self.seats.append(loaded.version)

    def want(self, spec: Any) -> None: ...
    def sample(self, share: float) -> None: ...

    def is_wanted(self, version: ModelVersion) -> bool:
        return False


class Scene:
    """An updater whose event loop comes to what it is told only when `settle` says so."""

    def __init__(self, load: Loading) -> None:
        self.dataplane = Recorded()
        metrics = Metrics()
        self.warm = WarmVersions(load, AMPLE, metrics, Told())
        self._later: list[Callable[[], None]] = []
        self.updater = Updater(
            cast("Dataplane", self.dataplane), load, self.warm, metrics, self._later.append
        )
        self._generation = 0

    def act(self, champion: str, former: Sequence[str] = (), keep_warm: int = 1) -> None:
        self._generation += 1
        acts = [*reversed(former), champion]
        history = [
            version(name).model_dump()
            | {"number": number, "action": "promotion", "at": "2026-03-01T00:00:00Z"}
            for number, name in enumerate(acts, 1)
        ]
        self.updater._act(
            {
                "metadata": {"name": "demo", "generation": self._generation},
                "spec": {
                    "lifecycle": "demo",
                    "champion": version(champion).model_dump(),
                    "history": history,
                    "keepWarm": keep_warm,
                },
            }
        )

    def settle(self) -> None:
        for one in self._later:
            one()
        self._later.clear()


def test_a_rollback_to_a_warm_version_loads_nothing() -> None:
    load = Loading()
    scene = Scene(load)
    for champion, former in (("1", ()), ("2", ("1",)), ("1", ("2",)), ("2", ("1",))):
        scene.act(champion, former)
        scene.settle()
    assert scene.dataplane.seats == ["1", "2", "1", "2"]
    assert load.asked == ["1", "2"]


def test_so_many_are_held_as_the_spec_says() -> None:
    load = Loading()
    scene = Scene(load)
    for champion, former in (("1", ""), ("2", "1"), ("3", "21")):
        scene.act(champion, former, keep_warm=2)
    assert scene.warm.take(version("1"))
    assert scene.warm.take(version("2"))
    scene.act("3", "21", keep_warm=1)
    assert not scene.warm.take(version("1"))
    assert scene.warm.take(version("2"))
    scene.act("3", "21", keep_warm=0)
    assert not scene.warm.take(version("2"))
    scene.act("2", "31", keep_warm=0)
    assert load.asked == ["1", "2", "3", "2"]


def test_a_change_that_comes_before_the_last_one_has_settled_is_not_lost() -> None:
    """A warm version is swapped in within microseconds: the event loop may be two changes behind."""
    scene = Scene(Loading())
    scene.act("1")
    scene.settle()
    scene.act("2", "1")
    scene.act("1", "2")
    scene.settle()
    assert scene.dataplane.seats[-1] == "1"
    assert scene.dataplane.generation == 3


def test_a_version_that_cannot_be_loaded_leaves_the_seat_and_the_warm_ones_alone() -> None:
    load = Loading(v3=[ValueError("broken")])
    scene = Scene(load)
    scene.act("1")
    scene.act("2", "1")
    scene.act("3", "21")
    scene.settle()
    assert scene.dataplane.seats == ["1", "2"]
    assert scene.dataplane.failure.version == "3"
    assert scene.warm.take(version("1"))
    scene.act("2", "31")
    scene.settle()
    assert (scene.dataplane.champion and scene.dataplane.champion.version, scene.dataplane.failure) == (
        "2",
        None,
    )
